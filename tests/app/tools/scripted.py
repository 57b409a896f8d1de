"""A service that follows a script: it answers, refuses, drops or holds requests as a test says.

The vector of a text is made of its hash, so a vector at the wrong place shows at once.
"""

import base64
import hashlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import orjson

WIDTH = 8
INFO = {"model": "scripted", "revision": None, "default_task": "text-matching", "width": WIDTH}


def vector(text: str) -> np.ndarray:
    """(WIDTH,) float32."""
    return np.frombuffer(hashlib.sha256(text.encode()).digest(), "<u4").astype("<f4") / 2**32


@dataclass(frozen=True)
class Refusal:
    """An answer that is no vector. Status 0 closes the connection without one."""

    status: int
    detail: str = "no"
    headers: dict[str, str] = field(default_factory=dict)
    param: str | None = None


Act = Callable[["Asked"], Refusal | None]


@dataclass(frozen=True)
class Asked:
    """One request: its number in the order of arrival, counted from 0, and its body."""

    number: int
    body: dict[str, Any]
    headers: dict[str, str]
    at_s: float

    @property
    def texts(self) -> list[str]:
        return self.body["input"]


class Scripted:
    """`act` decides what becomes of a request, in the request's own thread; it may wait."""

    def __init__(self) -> None:
        self.url = ""
        self.listen: Callable[[], None] = lambda: None
        self.act: Act = lambda _: None
        self.info: dict[str, Any] = dict(INFO)
        self.answer_headers: dict[str, str] = {}
        self.asked: list[Asked] = []
        self.at_once = 0
        self.released = threading.Event()
        self.answered: dict[int, threading.Event] = defaultdict(threading.Event)
        self._now = 0
        self._changed = threading.Condition()

    def begin(self, body: bytes, headers: dict[str, str]) -> Asked:
        with self._changed:
            asked = Asked(len(self.asked), orjson.loads(body), headers, time.monotonic())
            self.asked.append(asked)
            self._now += 1
            self.at_once = max(self.at_once, self._now)
            self._changed.notify_all()
        return asked

    def end(self, asked: Asked) -> None:
        with self._changed:
            self._now -= 1
        self.answered[asked.number].set()

    def wait_for_requests(self, count: int) -> None:
        """Wait until `count` requests have arrived."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.asked) >= count, 30)

    def texts(self, since: int = 0) -> list[str]:
        """All texts that were asked for from the request `since` on."""
        return [text for asked in self.asked[since:] for text in asked.texts]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body of an answer are two writes
    server: "_Server"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(200, self.server.script.info, {})

    def do_POST(self) -> None:
        script = self.server.script
        body = self.rfile.read(int(self.headers["content-length"]))
        asked = script.begin(body, {name.lower(): value for name, value in self.headers.items()})
        refusal = script.act(asked)
        script.end(asked)
        if refusal is None:
            answer = _documents if self.path == "/v1/documents" else _embeddings
            self._answer(200, answer(asked.texts), script.answer_headers)
        elif refusal.status:
            error = {"message": refusal.detail, "param": refusal.param}
            body = {"detail": refusal.detail, "error": error}
            self._answer(refusal.status, body, refusal.headers)
        else:
            self.close_connection = True

    def _answer(self, status: int, body: Any, headers: dict[str, str]) -> None:
        content = orjson.dumps(body)
        try:
            self.send_response(status)
            for name, value in {"content-length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
        except ConnectionError:  # the command was killed meanwhile
            self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    script: Scripted

    def handle_error(self, *_: object) -> None:
        """A killed command resets its connections."""


def _embeddings(texts: list[str]) -> dict[str, Any]:
    found = [
        {"index": index, "embedding": base64.b64encode(vector(text).tobytes()).decode()}
        for index, text in enumerate(texts)
    ]
    tokens = sum(len(text.split()) + 2 for text in texts)
    # Backwards, since a client must go by the index.
    return {"model": "scripted", "data": found[::-1], "usage": {"total_tokens": tokens}}


def _documents(texts: list[str]) -> dict[str, Any]:
    """A chunk for each word."""
    found = [
        {"index": index, "chunks": [_chunk(at, word) for at, word in enumerate(text.split())]}
        for index, text in enumerate(texts)
    ]
    return {"data": found[::-1], "usage": {"total_tokens": sum(map(len, texts))}}


def _chunk(index: int, word: str) -> dict[str, Any]:
    embedding = base64.b64encode(vector(word).tobytes()).decode()
    return {"index": index, "start": 0, "end": len(word), "text": word, "embedding": embedding}


@contextmanager
def scripted_service(*, listening: bool = True) -> Iterator[Scripted]:
    """The service; its port refuses until `listen` is called, where it is not `listening` yet."""
    server = _Server(("127.0.0.1", 0), _Handler, bind_and_activate=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))

    def listen() -> None:
        server.server_activate()
        thread.start()

    server.script = Scripted()
    server.script.listen = listen
    try:
        server.server_bind()
        server.script.url = f"http://127.0.0.1:{server.server_address[1]}"
        if listening:
            listen()
        yield server.script
    finally:
        server.script.released.set()
        if thread.is_alive():
            server.shutdown()
            thread.join()
        server.server_close()
