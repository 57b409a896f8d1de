"""Addresses and errors of object stores, without one; test_object_store.py has one."""

import os
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from model.corpus import filesystems
from model.corpus.errors import CorpusError

# With its region, which nobody has to be asked for.
ADDRESS = "s3://corpora/in?region=us-east-1"
DISABLED = "AWS_EC2_METADATA_DISABLED"


def test_an_error_of_s3_is_a_line_that_begins_with_what_to_do() -> None:
    with (
        pytest.raises(CorpusError) as refused,
        filesystems.told("read s3://a/b"),
    ):
        raise OSError("When listing 'b': AWS Error ACCESS_DENIED:\nNo response body.")
    assert str(refused.value) == (
        "cannot read s3://a/b: access is denied; check AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, and what they are allowed there "
        "(When listing 'b': AWS Error ACCESS_DENIED: No response body)"
    )
    assert filesystems.reason(OSError("disk full")) == "disk full"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nobody's own; what a test has written into it is gone after it."""
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(DISABLED, "")
    monkeypatch.delenv(DISABLED)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return monkeypatch


@pytest.fixture
def silent(environment: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A metadata service that takes connections and never answers, as behind a firewall."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        port = server.getsockname()[1]
        environment.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{port}")
        yield server


def test_a_metadata_service_that_does_not_answer_is_asked_once(silent: socket.socket) -> None:
    for _ in range(2):
        filesystems.opened(ADDRESS)
    assert os.environ[DISABLED] == "true"
    silent.accept()[0].close()
    with pytest.raises(BlockingIOError):
        silent.accept()


def test_it_is_not_asked_where_there_are_keys(
    silent: socket.socket, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("AWS_ACCESS_KEY_ID", "somebody")
    environment.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    filesystems.opened(ADDRESS)
    assert DISABLED not in os.environ
    with pytest.raises(BlockingIOError):
        silent.accept()


class NotFound(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_one_that_answers_stays_who_gives_keys(environment: pytest.MonkeyPatch) -> None:
    with HTTPServer(("127.0.0.1", 0), NotFound) as server:
        Thread(target=server.serve_forever).start()
        address = f"http://127.0.0.1:{server.server_port}"
        environment.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", address)
        try:
            filesystems.opened(ADDRESS)
        finally:
            server.shutdown()
    assert DISABLED not in os.environ
