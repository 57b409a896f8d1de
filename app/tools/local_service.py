"""Starts a service for the run of a tool: `quintet serve` on this machine, in a subprocess.

Promise: it ends with the tool. At the end of the block by an interrupt, which lets it finish; if
the tool is killed, the kernel sends the same signal.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator

import httpx

from app.processes.spawn import start_module
from app.tools.tool_errors import ToolError

_HOST = "127.0.0.1"
_END_S = 30
_READY_INTERVAL_S = 0.05
_READY_TIMEOUT_S = 10.0
_PR_SET_PDEATHSIG = 1
_LAST_LINES = 5
_LOG_CHARACTERS = 4096
# Settings that would ask the tool for a key or limit it, or have it work on batch jobs that are
# another service's.
_LEFT_OUT = {
    "EMBED_DATA_DIR",
    "EMBED_KEYS_FILE",
    "EMBED_MAX_REQUESTS_PER_MINUTE",
    "EMBED_MAX_TOKENS_PER_MINUTE",
    "EMBED_REDIS_URL",
}


@contextlib.asynccontextmanager
async def local_service(model: str | None) -> AsyncIterator[str]:
    """Start the service with the EMBED_* settings, and `model` if given; its address when ready.

    Raises:
        ToolError: it ended before it was ready; the sentence has the last lines of its log.
    """
    with socket.socket() as listener:
        listener.bind((_HOST, 0))
        url = f"http://{_HOST}:{listener.getsockname()[1]}"
        process = await _start(listener, model)
    assert process.stderr is not None
    # Read all the time, so that the service never waits for room in the pipe.
    reading = asyncio.create_task(_read_log(process.stderr))
    try:
        if not await _is_ready(process, url):
            raise ToolError(f"the embedded service did not start:\n  {await reading}")
        yield url
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        try:
            await asyncio.wait_for(process.wait(), _END_S)
        except TimeoutError:
            process.kill()
            await process.wait()
        with contextlib.suppress(TimeoutError):  # a worker that hangs may still have the pipe
            await asyncio.wait_for(reading, _END_S)


async def _start(listener: socket.socket, model: str | None) -> asyncio.subprocess.Process:
    inherited = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
    settings = {"EMBED_HOST": _HOST, "EMBED_PORT": "0", "EMBED_LOG_FORMAT": "text"}
    if model is not None:
        if model != inherited.get("EMBED_MODEL"):
            inherited.pop("EMBED_MODEL_REVISION", None)  # which is of that one
        settings["EMBED_MODEL"] = model
    return await start_module(
        *("app", "serve", "--fd", str(listener.fileno())),
        environment={**inherited, **settings},
        pass_fds=(listener.fileno(),),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C is for the tool, which passes it on when it is ready to
        preexec_fn=_end_with_parent,
    )


async def _is_ready(process: asyncio.subprocess.Process, url: str) -> bool:
    """Wait until the service is ready; False if it has ended."""
    async with httpx.AsyncClient(timeout=_READY_TIMEOUT_S, trust_env=False) as http:
        while process.returncode is None:
            with contextlib.suppress(httpx.TransportError):  # it does not listen yet
                if (await http.get(f"{url}/ready")).is_success:
                    return True
            await asyncio.sleep(_READY_INTERVAL_S)
    return False


async def _read_log(log: asyncio.StreamReader) -> str:
    """Read the log to its end; its last lines."""
    last = ""
    # Not line by line: the progress of a download is one line without an end.
    while part := await log.read(65536):
        last = (last + part.decode(errors="replace"))[-_LOG_CHARACTERS:]
    return "\n  ".join(last.splitlines()[-_LAST_LINES:])


def _end_with_parent() -> None:
    """Have the kernel interrupt this process when its parent ends, however that is (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
