"""For whom the environment's proxies count, and what is said where one cannot be used."""

import pytest

from app.tools.http_client import connect
from app.tools.tool_errors import ToolError
from model.config import CheckpointError
from model.hub import locate
from model.proxies import behind_proxies


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8080", False),
        ("http://127.9.9.9/v1", False),
        ("http://localhost:8080", False),
        ("http://[::1]:8080", False),
        ("http://0.0.0.0:8080", True),
        ("http://10.0.0.1:8080", True),
        ("https://embeddings.example/v1", True),
        ("http://[::1", True),
        ("", True),
    ],
)
def test_no_proxy_is_asked_for_this_machine(url: str, expected: bool) -> None:
    assert behind_proxies(url) is expected


@pytest.mark.parametrize(
    ("proxy", "reason"),
    [("socks5://me:secret@127.0.0.1:9", "socksio"), ("carrier://x", "Unknown scheme")],
)
def test_a_proxy_that_cannot_be_used_is_told_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, proxy: str, reason: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    for expected, ask in (
        (CheckpointError, lambda: locate("owner/name")),
        (ToolError, lambda: connect("http://embeddings.example", None, 1)),
    ):
        with pytest.raises(expected, match="ALL_PROXY=") as told:
            ask()
        assert reason in str(told.value)
        assert "secret" not in str(told.value)


def test_a_proxy_whose_address_is_none_is_told_with_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:8o")
    with pytest.raises(ToolError, match=r"ALL_PROXY=http://127\.0\.0\.1:8o.*port"):
        connect("http://embeddings.example", None, 1)
