"""A file that is waited for, also where its descriptor does not block.

Pipes and terminals are shared with other programs, any of which may have set O_NONBLOCK. Python
then takes an empty pipe for the end of a file, and a full one for an error.
"""

import io
import os
import select
import sys
from typing import Any


class WaitingFile(io.FileIO):
    """An unbuffered file whose readers wait for content, and whose writers for room."""

    def readinto(self, buffer: Any) -> int:
        """Fill a part of the buffer; how many bytes of it, 0 at the end of the file."""
        while (count := super().readinto(buffer)) is None:
            self._wait(select.POLLIN)
        return count

    def write(self, content: Any) -> int:
        """Write a part of the content; how many bytes of it."""
        while (count := super().write(content)) is None:
            self._wait(select.POLLOUT)
        return count

    def _wait(self, event: int) -> None:
        poll = select.poll()
        poll.register(self.fileno(), event)
        poll.poll()


def wait_for_readers() -> None:
    """Have standard output and standard error wait for room where they do not block."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        try:
            blocks = os.get_blocking(stream.fileno())
        except (AttributeError, OSError):  # it is closed, or stands for no file
            continue
        if not blocks:
            raw = WaitingFile(stream.fileno(), "w", closefd=False)
            waiting = io.TextIOWrapper(
                io.BufferedWriter(raw),
                encoding=stream.encoding,
                errors=stream.errors,
                line_buffering=stream.line_buffering,
            )
            setattr(sys, name, waiting)
