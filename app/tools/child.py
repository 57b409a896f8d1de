"""Child: an embedded service, `quintet serve` in a process of its own.

Promise: it ends with the tool. At the end of the block by an interrupt, which lets it finish; if
the tool is killed, the kernel sends the same signal.
"""

import asyncio
import contextlib
import ctypes
import os
import re
import signal
import sys
from collections.abc import AsyncIterator

from app.processes.spawn import start_module
from app.tools.errors import ToolError

_END_S = 30
_PR_SET_PDEATHSIG = 1
_LAST_LINES = 5
_DOORS = {"EMBED_KEYS_FILE", "EMBED_REDIS_URL"} | {
    f"EMBED_MAX_{limit}"
    for limit in ("REQUESTS_PER_MINUTE", "TOKENS_PER_MINUTE", "CONCURRENT_TOKENS")
}
_SEEN = 4096  # characters of the log


@contextlib.asynccontextmanager
async def embedded_service(model: str | None) -> AsyncIterator[str]:
    """Start the service with the EMBED_* settings, and `model` if given; its address when ready.

    Raises:
        ToolError: it ended before it was ready; the sentence has the last lines of its log.
    """
    # Nobody else is to be asked for keys or limited: the service is the tool's own.
    others = {name: value for name, value in os.environ.items() if name not in _DOORS}
    own = {"EMBED_HOST": "127.0.0.1", "EMBED_PORT": "0", "EMBED_LOG_FORMAT": "text"}
    if model is not None:
        own["EMBED_MODEL"] = model
    process = await start_module(
        *("app", "serve"),
        environment={**others, **own},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C is for the tool, which passes it on when it is ready to
        preexec_fn=_end_with_parent,
    )
    assert process.stderr is not None
    reading: asyncio.Task[None] | None = None
    try:
        url = await _address(process.stderr)
        reading = asyncio.create_task(_read_on(process.stderr))
        yield url
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        reading = reading or asyncio.create_task(_read_on(process.stderr))
        try:
            await asyncio.wait_for(process.wait(), _END_S)
        except TimeoutError:
            process.kill()
            await process.wait()
        await reading


async def _address(log: asyncio.StreamReader) -> str:
    seen = ""
    # Not line by line: the progress of a download is one line without an end.
    while part := await log.read(65536):
        seen = (seen + part.decode(errors="replace"))[-_SEEN:]
        if found := re.search(r"serving +(http://\S+)\s", seen):
            return found.group(1)
    last = "\n  ".join(seen.splitlines()[-_LAST_LINES:])
    raise ToolError(f"the embedded service did not start:\n  {last}")


async def _read_on(log: asyncio.StreamReader) -> None:
    """Take what the service logs, so that it never waits for room in the pipe."""
    while await log.read(65536):
        pass


def _end_with_parent() -> None:
    """Have the kernel interrupt this process when its parent ends, however that is (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
