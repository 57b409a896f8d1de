"""The parts of uvicorn and httptools that app/sockets/guard.py uses and nobody documents."""

import asyncio
from typing import Any

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

# Of uvicorn's protocol: overridden or called, and read or set.
METHODS = (
    *("connection_made", "connection_lost", "data_received", "pause_writing", "resume_writing"),
    *("shutdown", "on_message_begin", "on_header", "on_headers_complete", "on_body"),
    *("on_message_complete", "on_response_complete"),
    *("timeout_keep_alive_handler", "_unset_keepalive_if_required"),
)
ATTRIBUTES = (
    *("loop", "transport", "client", "parser", "url", "headers", "cycle", "pipeline"),
    *("timeout_keep_alive", "timeout_keep_alive_task"),
)
CYCLE = ("disconnected", "waiting_for_100_continue", "message_event", "response_started")
PARSER = (
    *("feed_data", "get_method", "get_http_version", "should_upgrade"),
    "set_dangerous_leniencies",
)
UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"


async def protocol_with_a_request() -> HttpToolsProtocol:
    """The protocol of a connection when its first request is in work."""
    begun = asyncio.Event()

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    config = Config(app, ws="none", lifespan="off", log_config=None)
    loop = asyncio.get_running_loop()
    protocol = HttpToolsProtocol(config=config, server_state=ServerState(), app_state={})
    server = await loop.create_server(lambda: protocol, "127.0.0.1", 0)
    async with server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await begun.wait()
        writer.close()
        for task in protocol.tasks:
            task.cancel()
    return protocol


def offset_of_an_upgrade() -> object:
    """What httptools raises for a request that offers another protocol: where its body begins."""
    try:
        httptools.HttpRequestParser(object()).feed_data(UPGRADE + b"body")
    except httptools.HttpParserUpgrade as offer:
        return offer.args[0]
    return None


def test_every_private_part_that_the_guard_uses_is_there() -> None:
    protocol = asyncio.run(protocol_with_a_request())
    used = {
        "uvicorn's HttpToolsProtocol": (HttpToolsProtocol, METHODS),
        "an instance of uvicorn's HttpToolsProtocol": (protocol, ATTRIBUTES),
        "uvicorn's RequestResponseCycle": (protocol.cycle, CYCLE),
        "httptools.HttpRequestParser": (httptools.HttpRequestParser, PARSER),
        "httptools": (httptools, ("HttpParserError", "HttpParserUpgrade")),
    }
    gone = [
        f"{owner} has no {name} any more, which app/sockets/guard.py uses"
        for owner, (part, names) in used.items()
        for name in names
        if not hasattr(part, name)
    ]
    assert not gone, "; ".join(gone)
    assert offset_of_an_upgrade() == len(UPGRADE), "HttpParserUpgrade has no offset any more"
