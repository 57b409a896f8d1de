#!/bin/sh
# build_image.sh FOLDER: build the Dockerfile's targets cpu and gpu without a container engine, into
# FOLDER/cpu/root (the image's files) and FOLDER/cpu/image.json (its configuration), and likewise
# FOLDER/gpu. For root on Debian, with buildah and mmdebstrap.
#
# What differs from `docker build`: the base is Debian's own bookworm, minbase, made here and given
# the name that FROM asks for, where the published 12-slim lacks documentation and locales too; and
# pip reads the configuration that it reads on this machine, with the local files, folders and
# certificates that are named in it. MOUNTS may hold further `-v FROM:TO` for the build.
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/../.."
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot TMPDIR="$folder"
export CONTAINERS_STORAGE_CONF="$folder/storage.conf"
printf '[storage]\ndriver = "vfs"\nrunroot = "%s/run"\ngraphroot = "%s/store"\n' \
    "$folder" "$folder" > "$CONTAINERS_STORAGE_CONF"

base=docker.io/library/debian:12-slim
if ! buildah images -q "$base" >/dev/null 2>&1; then
    mmdebstrap --quiet --variant=minbase bookworm "$folder/base.tar"
    new=$(buildah from scratch)
    buildah add -q "$new" "$folder/base.tar" /
    buildah commit -q --rm "$new" "$base"
    rm "$folder/base.tar"
fi

# pip's configuration as a file: its values from the environment come after the files' own.
mkdir -p "$folder/pip"
"${PYTHON:-python3}" - "$folder/pip" > "$folder/pip/mounts" <<'END'
import pathlib, shutil, subprocess, sys
told = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True)
options = {}
for line in sorted(told.stdout.splitlines(), key=lambda line: line.startswith(":env:")):
    name, _, value = line.partition("=")
    options[name.rpartition(".")[2]] = value.strip("'\"")
folder = pathlib.Path(sys.argv[1])
if "cert" in options:
    shutil.copy(options["cert"], folder / "certificates.pem")
    options["cert"] = "/run/pip/certificates.pem"
words = " ".join(options.values()).split()
# An index of files has them beside it.
named = {pathlib.Path(word[7:]).parent if word.startswith("file://") else pathlib.Path(word)
         for word in words}
for path in sorted(path for path in named if path.is_absolute() and path.exists()):
    print(f"-v {path}:{path}:ro")
lines = (f"{name} = {value}" for name, value in options.items())
(folder / "pip.conf").write_text("\n".join(["[global]", *lines, ""]))
END

for target in cpu gpu; do
    mkdir -p "$folder/$target"
    # shellcheck disable=SC2046,SC2086  # mounts are words
    buildah bud -q --pull=never --network host --target "$target" --format docker \
        -v "$folder/pip:/run/pip:ro" -v "$folder/pip/pip.conf:/etc/pip.conf:ro" \
        $(cat "$folder/pip/mounts") ${MOUNTS:-} \
        --iidfile "$folder/id" .
    buildah inspect --type image "$(cat "$folder/id")" > "$folder/$target/image.json"
    root=$(buildah mount "$(buildah from --pull-never "$(cat "$folder/id")")")
    ln -sfn "$root" "$folder/$target/root"
    echo "the image $target has $(du -sm --apparent-size "$root/" | cut -f 1) MB" >&2
done
