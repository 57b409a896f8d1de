"""What comes before a body is bounded in bytes."""

import socket
from contextlib import suppress
from http.client import HTTPResponse

import httpx
import pytest

from tests.app.answers import assert_error
from tests.server import Service


def test_a_head_over_32_kib_is_refused_and_a_smaller_one_is_not(service: Service) -> None:
    with service.client() as client:
        assert client.get("/live", headers={"x-long": "a" * 30_000}).status_code == 200
        many = {f"x-{number}": "a" * 1000 for number in range(40)}
        for refused in (
            client.get("/live", headers={"x-long": "a" * 33_000}),
            client.get("/live", headers=many),
            client.get("/live?" + "a" * 33_000),
        ):
            assert_error(refused, 431, "INPUT_HEADERS_TOO_LARGE", "more than 32768 bytes")


def test_a_long_path_is_cut_in_the_log(service: Service) -> None:
    for length in (20_000, 40_000):
        name = f"long-{length}"
        httpx.get(f"{service.url}/{'a' * length}", headers={"x-request-id": name}, timeout=60)
        assert len(service.log.wait_for(f"request_id={name}").string) < 500


def send_for_ever(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"x-more: " + b"a" * 8000 + b"\r\n")


def test_a_head_without_an_end_is_given_up(service: Service) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    (process,) = service.http_processes()
    before = process.memory_info().rss
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b"GET /live HTTP/1.1\r\nhost: localhost\r\n")
        with pytest.raises(ConnectionError):
            send_for_ever(connection)  # what comes after the refusal is read a moment, and not kept
        assert process.memory_info().rss - before < 32 << 20
    assert httpx.get(f"{service.url}/live").status_code == 200


CHUNKED = b"POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
BODY = b'd\r\n{"input":"a"}\r\n0\r\n'


@pytest.mark.parametrize("path", [b"/v1/embeddings", b"/nothing"])  # before its answer, and after
@pytest.mark.parametrize("line", [b"x-more: " + b"a" * 1000 + b"\r\n", b"a" * 1000])
def test_trailers_without_an_end_are_not_kept(service: Service, path: bytes, line: bytes) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    (process,) = service.http_processes()
    before = process.memory_info().rss
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(CHUNKED.replace(b"/v1/embeddings", path) + BODY)
        with suppress(ConnectionError):
            for _ in range(100):
                connection.sendall(line * 1000)
        assert process.memory_info().rss - before < 32 << 20
    assert httpx.get(f"{service.url}/live").status_code == 200


def test_a_trailer_is_no_header(service: Service) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(CHUNKED + BODY + b"x-request-id: trailer\r\n\r\n")
        answer = HTTPResponse(connection)
        answer.begin()
        assert answer.status == 200
        assert answer.headers["x-request-id"] != "trailer"


def test_a_head_behind_a_long_body_is_counted_by_itself(service: Service) -> None:
    with service.client() as client:
        for _ in range(3):
            answer = client.post("/tokenize", json={"input": "a " * 200_000, "counts_only": True})
            assert answer.status_code == 200
