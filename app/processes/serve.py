"""`quintet serve`: reads settings, binds the port, finds the checkpoint, runs the parent."""

import argparse
import asyncio
import logging
import os
import resource

from app.processes.parent import Parent
from app.settings import PREFIX, SettingsError, check_servable, read_settings
from app.sockets.address import bound_socket, inherited_socket, listen
from app.telemetry.logs import configure_logging
from model.argument_types import non_negative_int
from model.config import CheckpointError, read_config
from model.hub import locate

log = logging.getLogger("quintet")

# Open files of an HTTP process beside the connections: logs, sockets to the workers.
_OTHER_FILES = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `quintet serve`."""
    parser.add_argument(
        "--fd",
        type=non_negative_int,
        metavar="N",
        help="serve on this inherited socket, which is bound already, not on EMBED_HOST and _PORT",
    )


def run(options: argparse.Namespace) -> int:
    """Serve until a signal; the exit code is 0 after a drain, 1 if the service cannot start."""
    # Before the settings are read, so that what is wrong with them has the form of the log.
    configure_logging("json" if os.environ.get(f"{PREFIX}LOG_FORMAT") == "json" else "text")
    try:
        inherited = None if options.fd is None else inherited_socket(options.fd)
        if inherited is not None:  # its address counts as the settings', also for the children
            host, port = inherited.getsockname()[:2]
            os.environ.update({f"{PREFIX}HOST": host, f"{PREFIX}PORT": str(port)})
        settings = read_settings()
        check_servable(settings)
        _raise_file_limit(settings.max_connections + _OTHER_FILES)
        # First: fetching a checkpoint may take minutes.
        with inherited or bound_socket(settings) as listener:
            folder = locate(settings.model, settings.model_revision)
            parent = Parent(settings, folder, read_config(folder), listener)
            listen(listener, settings)
            return asyncio.run(parent.run())
    except (CheckpointError, SettingsError) as error:
        log.error("cannot start: %s", error)  # noqa: TRY400  (no trace needed)
        return 1


def _raise_file_limit(files: int) -> None:
    """Systems begin with 1,024, of which idle connections alone could take all."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = files if hard == resource.RLIM_INFINITY else min(files, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < files:
        log.warning("only %d files may be open here; EMBED_MAX_CONNECTIONS wants more", wanted)
