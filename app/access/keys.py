"""Keys: who may call. The digests of a file (keyfile.py), read again when it changes.

Promises:
1. A key that was added is known, and one that was removed is not, from the next request on.
2. A file that cannot be read, or that changes while it is read, changes nothing yet: the last good
   keys stay, the log says so once, and every request tries again.
3. A file that has been emptied (`> keys`, or an editor that is about to write) changes nothing for
   two seconds, and is then taken at its word: no key is known any more, and the log says so. A file
   that has only remarks left, as `quintet keys remove` leaves it, is taken at its word at once.
4. Comparing takes as long for a key that is nearly right as for one that is all wrong.
"""

import hmac
import logging
import stat
import time
from pathlib import Path
from typing import NamedTuple

from app.access.keyfile import KeysError, add_key, digest, read_keys
from app.errors import MissingKeyError, WrongKeyError

__all__ = ["KeyRing", "KeysError", "add_key"]

log = logging.getLogger("quintet.keys")

# A file that changed less than so long ago may be changing still. It is over the resolution of any
# file system's clock, so that a second change in one tick of it, which leaves the file's size and
# times as they are, is not missed.
_SETTLING_NS = 2_000_000_000


class KeyRing:
    """The keys of a file, by the digests of which callers are known."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            KeysError: the file cannot be read, or is not one of keys.
        """
        self._path = path
        self._seen = _settled(_state(path))
        self._names = read_keys(path)
        self._said = self._read()

    def __len__(self) -> int:
        return len(self._names)

    def name_of(self, authorization: str) -> str:
        """The name of the key in an Authorization header.

        Raises:
            MissingKeyError, WrongKeyError: there is none, or it is not known.
        """
        scheme, _, key = authorization.partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            raise MissingKeyError
        self._read_again()
        shown, found = digest(key), None
        for known, name in self._names.items():  # to the end, found or not
            if hmac.compare_digest(known, shown):
                found = name
        if found is None:
            raise WrongKeyError
        return found

    def _read_again(self) -> None:
        """Follow the file; asking for its state takes a microsecond."""
        state = _state(self._path)
        if state is not None and (state == self._seen or not state.regular):
            return  # a pipe, which the shell's <(...) is, can be read only once
        try:
            names = read_keys(self._path)
        except KeysError as error:
            self._say(logging.ERROR, f"the keys from before stay: {error}")
            return
        if _state(self._path) != state:
            return  # what was read may be half of the old and half of the new
        empty = state is not None and state.size == 0
        if empty and self._names and not _settled(state):
            self._say(
                logging.ERROR,
                f"the keys from before stay for a moment: the keys file {self._path} is empty",
            )
            return
        self._seen = _settled(state)
        changed, self._names = names != self._names, names
        if names:
            self._say(logging.INFO, self._read(), again=changed)
        else:
            self._say(
                logging.WARNING, f"the keys file {self._path} has no keys: every request is refused"
            )

    def _read(self) -> str:
        return f"read {len(self._names)} keys again from {self._path}"

    def _say(self, level: int, sentence: str, *, again: bool = False) -> None:
        """Log what is new; the same state of the file is asked for at every request."""
        if again or sentence != self._said:
            log.log(level, "%s", sentence)
        self._said = sentence


class _State(NamedTuple):
    """What changes when the file does."""

    device: int
    inode: int
    size: int
    changed_ns: int
    named_ns: int
    regular: bool


def _state(path: Path) -> _State | None:
    """The file's state; None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return _State(
        found.st_dev,
        found.st_ino,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
        stat.S_ISREG(found.st_mode),
    )


def _settled(state: _State | None) -> _State | None:
    """The state, if it is old enough that any change from now on shows in it; else None."""
    if state is None or time.time_ns() - state.changed_ns < _SETTLING_NS:
        return None
    return state
