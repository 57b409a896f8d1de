"""Target: what --output names, and what becomes of it.

- A file, there or not yet: it is made whole beside itself and renamed. A link is followed, also one
  that points to nothing yet: what it points to is replaced, and the link stays. Whatever stands
  beside the output (the journal, ids, errors) stands beside that.
- `-`, a FIFO, or a character device such as /dev/stdout or a terminal: a stream. Each answer is
  written as soon as those in front of it are, and nothing is put in its place. There is nowhere
  beside it for a journal, so that an interrupted run begins anew; records that are left out are
  said on standard error.
- Anything else, a folder, a block device or a socket, is refused.
"""

import os
import stat
from pathlib import Path

from app.tools.errors import ToolError

STANDARD_OUTPUT = "-"
_LINKS = 40  # as many as Linux follows
_REFUSED = {stat.S_IFDIR: "a folder", stat.S_IFBLK: "a block device", stat.S_IFSOCK: "a socket"}


def beside(output: Path, ending: str) -> Path:
    """The file that stands beside `output`: out.npy and .ids.jsonl give out.npy.ids.jsonl."""
    return output.with_name(output.name + ending)


def is_stream(output: Path) -> bool:
    """Whether an output is written into and not replaced.

    Raises:
        ToolError: it is neither a file, nor one that could be made, nor a stream.
    """
    if str(output) == STANDARD_OUTPUT or _is_descriptor(output):
        return True
    kind = _kind(output)
    if kind in _REFUSED:
        raise ToolError(f"{output} is {_REFUSED[kind]}; name a file.")
    return kind in (stat.S_IFIFO, stat.S_IFCHR)


def followed(path: Path) -> Path:
    """The file that is meant, behind all links; it need not be there.

    Raises:
        ToolError: what is there is no file.
    """
    kind = _kind(path)
    if kind not in (None, stat.S_IFREG):
        raise ToolError(f"{path} is no regular file, and nothing is put in its place.")
    return Path(os.path.realpath(path))


def check_file(output: Path, source: Path | None) -> None:
    """
    Raises:
        ToolError: the output, or what stands beside it, cannot be made there, or is the `source`.
    """
    target = followed(output)
    if not target.parent.is_dir():
        raise ToolError(f"there is no folder {target.parent}.")
    for ending in (".part", ".errors.jsonl", ".ids.jsonl"):
        followed(beside(target, ending))
    if source and target.exists() and target.samefile(source):
        raise ToolError(f"{output} is the input.")


def _kind(path: Path) -> int | None:
    """What stands behind all links, as S_IFMT says it; None for nothing."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ToolError(f"cannot write {path}: {error.strerror}.") from None


def _is_descriptor(path: Path) -> bool:
    """Whether it is an open file by its number, which /dev/stdout is: what that is open on may be a
    regular file (`> out.jsonl`), but it is the open one that is meant."""
    for _ in range(_LINKS):
        if Path(os.path.realpath(path.parent)).match("/proc/*/fd"):
            return True
        if not path.is_symlink():
            return False
        path = path.parent / path.readlink()
    return False


class Opened:
    """A stream that is open for writing."""

    def __init__(self, output: Path) -> None:
        """Opening a FIFO waits for its reader.

        Raises:
            ToolError: it cannot be opened.
        """
        self.name = "standard output" if str(output) == STANDARD_OUTPUT else str(output)
        try:
            # At the end: `>> out.jsonl` with /dev/stdout opens a file that has something in it.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY
            standard = str(output) == STANDARD_OUTPUT
            self._descriptor = os.dup(1) if standard else os.open(output, flags)
        except OSError as error:
            raise ToolError(f"cannot write {self.name}: {error.strerror}.") from None

    def write(self, content: bytes) -> None:
        """Write all of it, which waits for room in a pipe.

        Raises:
            ToolError: it cannot be written.
        """
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except BrokenPipeError:
            raise ToolError(f"whoever read {self.name} does not read on.") from None
        except OSError as error:
            raise ToolError(f"cannot write {self.name}: {error.strerror}.") from None

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)
