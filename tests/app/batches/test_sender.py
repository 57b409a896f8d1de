"""What a service at an address, or what stands in front of it, says of a line or of the process."""

import asyncio
from pathlib import Path

import httpx
import pytest

from app.access.callers import callers_of
from app.batches.sender import UnreachableError, UrlSender
from app.settings import Settings
from app.telemetry.metrics import Metrics
from tests.app.batches.crashing import shelf, submitted

FIREWALL = (403, "text/html", "<h1>blocked</h1>")
HOST = (403, "application/json", '{"error": {"code": "host_not_allowed"}}')
PROXY = (407, "text/html", "")


@pytest.mark.parametrize(
    ("answered", "waits"), [(FIREWALL, False), (HOST, True), (PROXY, True)], ids=str
)
def test_what_a_firewall_refuses_is_the_lines_and_the_rest_is_the_process(
    tmp_path: Path, answered: tuple[int, str, str], *, waits: bool
) -> None:
    status, content_type, body = answered
    there = shelf(tmp_path)
    job = submitted(there, b"{}")

    def respond(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers={"content-type": content_type}, text=body)

    async def send() -> int:
        metrics = Metrics("0", "batches")
        callers = callers_of(Settings(), metrics)
        transport = httpx.MockTransport(respond)
        async with httpx.AsyncClient(base_url="http://q", transport=transport) as http:
            return (await UrlSender(http, callers, metrics).send(job, b"{}", "r")).status

    try:
        if waits:
            with pytest.raises(UnreachableError, match="refuses"):
                asyncio.run(send())
        else:
            assert asyncio.run(send()) == status
    finally:
        there.store.close()
