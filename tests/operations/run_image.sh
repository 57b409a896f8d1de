#!/bin/sh
# run_image.sh ROOT USER NAME=VALUE... COMMAND...: run a command in an image's files as a container
# engine would with --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges, and
# with -v VOLUME:/weights:ro where that variable names a folder; the process that is started becomes
# the command. For root.
set -eu
export ROOT="$1" USER="$2" VOLUME="${VOLUME:-}"
shift 2
exec unshare --mount sh -euc '
    mount --bind "$ROOT" "$ROOT"
    mount --options remount,bind,ro "$ROOT"
    mount --types tmpfs --options nosuid,nodev tmpfs "$ROOT/tmp"
    [ -z "$VOLUME" ] || mount --bind --options ro "$VOLUME" "$ROOT/weights"
    mount --bind /dev "$ROOT/dev"
    mount --bind /proc "$ROOT/proc"
    exec chroot "$ROOT" /usr/bin/env --ignore-environment /usr/bin/setpriv --reuid "$USER" \
        --regid "$USER" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \
        /usr/bin/env "$@"
' sh "$@"
