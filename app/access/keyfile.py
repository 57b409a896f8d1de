"""Reading and writing the file of API keys: one key a line, in the form of sha256sum.

    SHA-256 of the key in hex, two spaces, a name

Lines that begin with # are remarks. A key has 256 random bits, so that its plain digest reveals
nothing. The key itself is shown once, when it is made, and is stored nowhere: not in the file, a
log, a metric or an argument.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LINE = re.compile(rf"([0-9a-f]{{64}}) [ *]({_NAME.pattern})")
_HEADER = "# Keys of Quintet: SHA-256 and name. `quintet keys` writes this file.\n"
_KEY_BYTES = 32


class KeysError(Exception):
    """A file of keys that cannot be used, or a name that is not valid; the sentence says why."""


def digest(key: str) -> str:
    """SHA-256 of a key, in hex."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def read_keys(path: Path) -> dict[str, str]:
    """The names of the keys in a file, by digest.

    Raises:
        KeysError: it cannot be read, or a line of it is wrong. The line is not quoted: it may
            contain the key itself.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise KeysError(f"the keys file {path} cannot be read: {why}.") from None
    names: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.rstrip())
        if match is None:
            raise KeysError(
                f"line {number} of the keys file {path} is not a SHA-256 in lower-case hex, two "
                "spaces and a name."
            )
        if match[1] in names or match[2] in names.values():
            raise KeysError(f"line {number} of the keys file {path} is there twice.")
        names[match[1]] = match[2]
    return names


def add_key(path: Path, name: str) -> str:
    """Make a key for `name`, add its digest to the file, which is made if needed, and return it.

    Raises:
        KeysError: the name is taken or not valid, or the file cannot be used.
    """
    if not _NAME.fullmatch(name):
        raise KeysError(
            "a name has 1 to 64 letters, digits, dots, hyphens or underscores, the first of them "
            "a letter or digit."
        )
    key = "quintet-" + secrets.token_urlsafe(_KEY_BYTES)
    with _locked(path):
        names = read_keys(path) if path.exists() else {}
        if name in names.values():
            raise KeysError(f"{path} has a key named {name}; remove it, or choose another name.")
        _write(path, {**names, digest(key): name})
    return key


def remove_key(path: Path, name: str) -> None:
    """
    Raises:
        KeysError: there is no key of that name, or the file cannot be used.
    """
    with _locked(path):
        names = read_keys(path)
        left = {key_digest: each for key_digest, each in names.items() if each != name}
        if len(left) == len(names):
            raise KeysError(f"{path} has no key named {name}.")
        _write(path, left)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Exclude other commands; the lock is on the folder, since the file is replaced."""
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            raise KeysError(f"{path} is no regular file, and nothing is put in its place.")
        folder = os.open(path.resolve().parent, os.O_RDONLY)
    except OSError as error:
        raise KeysError(f"cannot write {path}: {error.strerror}.") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, names: Mapping[str, str]) -> None:
    """Replace the file atomically: a reader sees the old one or the new one. Only its owner may
    read it; the owner does not change."""
    target = path.resolve()
    text = _HEADER + "".join(f"{key_digest}  {name}\n" for key_digest, name in names.items())
    try:
        descriptor, written = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:  # mkstemp's mode is 0600
                file.write(text)
                file.flush()
                if target.exists() and (owner := target.stat()).st_uid != os.geteuid():
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
                os.fsync(file.fileno())
            Path(written).replace(target)
        except OSError:
            Path(written).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise KeysError(f"cannot write {path}: {error.strerror}.") from None
