"""`quintet batches`: batch jobs in a process of their own, computed by a service at an address."""

import argparse
import asyncio
import logging
import os
import signal
import socket
from types import FrameType

from app.api.context import edge_of
from app.batches.application import create_app
from app.processes import signals
from app.processes.server import Server
from app.settings import PREFIX, Settings, SettingsError, check_servable, read_settings
from app.sockets.address import address_of, bound_socket, listen
from app.telemetry.logs import configure_logging
from app.tools.http_client import connect
from app.tools.service import api_key, base_url
from app.tools.tool_errors import ToolError

log = logging.getLogger("quintet")


def run(options: argparse.Namespace) -> int:
    """Serve until a signal; the exit code is 0 after a drain, 1 if it cannot start."""
    configure_logging("json" if os.environ.get(f"{PREFIX}LOG_FORMAT") == "json" else "text")
    try:
        settings = read_settings()
        check_servable(settings)
        folder = _folder(settings)
        url, key = base_url(options.url), api_key()
        with bound_socket(settings) as listener:
            listen(listener, settings)
            asyncio.run(_serve(settings, folder, listener, (url, key)))
    except (SettingsError, ToolError) as error:
        log.error("cannot start: %s", error)  # noqa: TRY400  (no trace needed)
        return 1
    return 0


def _folder(settings: Settings) -> str:
    if settings.data_dir is None:
        raise SettingsError(f"{PREFIX}DATA_DIR names the folder of the batch jobs; set it.")
    return settings.data_dir


async def _serve(
    settings: Settings, folder: str, listener: socket.socket, service: tuple[str, str | None]
) -> None:
    async with connect(*service, settings.batch_job_inputs) as http:
        app = create_app(settings, folder, http)
        server, edge, loop = Server(settings, app), edge_of(app), asyncio.get_running_loop()

        def end(number: int) -> None:
            delay_s = 0.0 if edge.draining or number == signal.SIGINT else settings.drain_delay_s
            edge.draining = True
            loop.call_later(delay_s, setattr, server, "should_exit", True)

        def on_signal(number: int, _frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(end, number)

        signals.handle(on_signal)
        log.info("batch jobs, computed by %s; serving %s", service[0], address_of(listener).url)
        await server.serve(sockets=[listener])
        signals.ignore()
