"""The key ring: the names of API keys by their digests, from a file that is read when it changes.

Promises:
1. A key that was added is known, and one that was removed is not, from the next request on.
2. A file that cannot be read, or that changes while it is read, changes nothing yet: the last good
   keys stay, the log says so once, and every request tries again.
3. A file that has been emptied (`> keys`, or an editor that is about to write) changes nothing for
   two seconds; if it is still empty then, no key is known any more, and the log says so. A file
   that has only remarks left, as `quintet keys remove` leaves it, removes all keys immediately.
4. Comparing takes as long for a key that is nearly right as for one that is all wrong.
"""

import hmac
import logging
import stat
import time
from pathlib import Path
from typing import NamedTuple

from app.access.keyfile import KeysError, digest, read_keys
from app.errors import MissingKeyError, WrongKeyError

log = logging.getLogger("quintet.keys")

# A file that changed less than so long ago may change again without a difference in its size and
# times, which have the resolution of the file system's clock: at most two seconds.
_SETTLING_NS = 2_000_000_000


class KeyRing:
    """The keys of a file."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            KeysError: the file cannot be read, or is not one of keys.
        """
        self._path = path
        self._state = _settled(_state_of(path))
        self._names = read_keys(path)
        self._last_logged = self._read_again_sentence()

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
        self._refresh()
        given, found = digest(key), None
        for each, name in self._names.items():  # to the end, found or not
            if hmac.compare_digest(each, given):
                found = name
        if found is None:
            raise WrongKeyError
        return found

    def check_name(self, name: str) -> None:
        """
        Raises:
            WrongKeyError: there is no key of that name, or not any more.
        """
        self._refresh()
        if name not in self._names.values():
            raise WrongKeyError

    def _refresh(self) -> None:
        """Read the file again if it has changed; to find that out takes a microsecond."""
        state = _state_of(self._path)
        if state is not None and (state == self._state or not state.regular):
            return  # a pipe, which the shell's <(...) is, can be read only once
        try:
            names = read_keys(self._path)
        except KeysError as error:
            self._log(logging.ERROR, f"the keys from before stay: {error}")
            return
        if _state_of(self._path) != state:
            return  # the file changed meanwhile: what was read may be half old and half new
        empty = state is not None and state.size == 0
        if empty and self._names and not _settled(state):
            self._log(
                logging.ERROR,
                f"the keys from before stay for a moment: the keys file {self._path} is empty",
            )
            return
        self._state = _settled(state)
        changed, self._names = names != self._names, names
        if names:
            self._log(logging.INFO, self._read_again_sentence(), repeat=changed)
        else:
            self._log(
                logging.WARNING, f"the keys file {self._path} has no keys: every request is refused"
            )

    def _read_again_sentence(self) -> str:
        return f"read {len(self._names)} keys again from {self._path}"

    def _log(self, level: int, sentence: str, *, repeat: bool = False) -> None:
        """Log a sentence, unless it was the last one: every request finds the same state."""
        if repeat or sentence != self._last_logged:
            log.log(level, "%s", sentence)
        self._last_logged = sentence


class _FileState(NamedTuple):
    """What differs after the file has changed."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    regular: bool


def _state_of(path: Path) -> _FileState | None:
    """The file's state; None if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return _FileState(
        found.st_dev,
        found.st_ino,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
        stat.S_ISREG(found.st_mode),
    )


def _settled(state: _FileState | None) -> _FileState | None:
    """The state, if it is old enough that any later change shows in it; else None."""
    if state is None or time.time_ns() - state.mtime_ns < _SETTLING_NS:
        return None
    return state
