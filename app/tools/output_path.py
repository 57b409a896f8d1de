"""What kind of file --output names, and how it is written.

- A file, existing or not yet: a new file is written beside it and renamed. A link is followed, also
  one that points to nothing yet: what it points to is replaced, and the link stays. The files that
  belong to the output (the journal, ids, errors) are beside that.
- `-`, a FIFO, or a character device such as /dev/stdout or a terminal: a stream. Each answer is
  written as soon as those before it are. A stream has no journal, so that an interrupted run begins
  anew; records that are left out are reported on standard error.
- Anything else, a folder, a block device or a socket, is refused.
"""

import os
import stat
from pathlib import Path

from app.tools.tool_errors import ToolError

STANDARD_OUTPUT = "-"
# Endings of the files that belong to an output.
_BESIDE = (".part", ".errors.jsonl", ".ids.jsonl", ".space.txt")
UNFINISHED = ".unfinished"  # of each of them, while it is written
_LINKS = 40  # as many as Linux follows
_REFUSED = {stat.S_IFDIR: "a folder", stat.S_IFBLK: "a block device", stat.S_IFSOCK: "a socket"}


def beside(output: Path, ending: str) -> Path:
    """The file that belongs to `output`: out.npy and .ids.jsonl give out.npy.ids.jsonl."""
    return output.with_name(output.name + ending)


def is_stream(output: Path) -> bool:
    """Whether an output is a stream, which is written into and not replaced.

    Raises:
        ToolError: it is neither a file, nor one that could be made, nor a stream.
    """
    if str(output) == STANDARD_OUTPUT or _is_descriptor(output):
        return True
    kind = _kind(output)
    if kind in _REFUSED:
        raise ToolError(f"{output} is {_REFUSED[kind]}; name a file.")
    return kind in (stat.S_IFIFO, stat.S_IFCHR)


def resolved(path: Path) -> Path:
    """The path with all links followed; the file need not exist.

    Raises:
        ToolError: it exists and is not a regular file.
    """
    kind = _kind(path)
    if kind not in (None, stat.S_IFREG):
        raise ToolError(f"{path} is no regular file, and nothing is put in its place.")
    return Path(os.path.realpath(path))


def check_file(output: Path, source: Path | None) -> None:
    """
    Raises:
        ToolError: the output, or a file that belongs to it, cannot be written, or is the `source`.
    """
    target = resolved(output)
    if not target.parent.is_dir():
        raise ToolError(f"there is no folder {target.parent}.")
    if source and _is_same(target, source):
        raise ToolError(f"{output} is the input.")
    replaced = [target, *[resolved(beside(target, ending)) for ending in _BESIDE]]
    for path in [*replaced, *[beside(each, UNFINISHED) for each in replaced]]:
        if source and _is_same(path, source):
            raise ToolError(
                f"the input {source} is {path}, which belongs to {output} and would be replaced or "
                "removed; name another output."
            )


def _is_same(path: Path, source: Path) -> bool:
    """Whether `path`, and not what it links to, is the file `source`."""
    try:
        return os.path.samestat(path.lstat(), source.stat())
    except OSError:  # there is none
        return False


def _kind(path: Path) -> int | None:
    """The type of the file (S_IFMT) behind all links; None if there is none."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ToolError(f"cannot write {path}: {error.strerror}.") from None


def _is_descriptor(path: Path) -> bool:
    """Whether it is an open file descriptor, as /dev/stdout is: it may be redirected to a regular
    file (`> out.jsonl`), which is to be written through the descriptor and not replaced."""
    for _ in range(_LINKS):
        if Path(os.path.realpath(path.parent)).match("/proc/*/fd"):
            return True
        if not path.is_symlink():
            return False
        path = path.parent / path.readlink()
    return False
