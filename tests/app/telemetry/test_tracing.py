"""Tracing: spans arrive at a real OTLP receiver, and hold no text and no key."""

import re
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.settings import SettingsError
from app.telemetry.tracing import tracing_of
from model.extras import how_to_install
from tests.server import running, start

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


class Receiver:
    """OTLP over HTTP: remembers spans by the request id they have."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.spans: dict[str, Any] = {}
        self.resources: dict[str, str] = {}
        self.changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.take(self.path, self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, path: str, body: bytes) -> None:
        assert path == "/v1/traces"
        with self.changed:
            self.bodies.append(body)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.resources.update(plain(resource.resource.attributes))
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        self.spans[plain(span.attributes)["quintet.request_id"]] = span
            self.changed.notify_all()

    def span(self, request_id: str) -> Any:
        with self.changed:
            assert self.changed.wait_for(lambda: request_id in self.spans, 60)
            return self.spans[request_id]


def plain(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    receiver = Receiver()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


def test_each_request_is_one_span_with_its_facts_and_no_text(receiver: Receiver) -> None:
    with running() as service:
        with service.client(headers={"authorization": "Bearer a-secret-key"}) as client:
            body = {"input": ["a secret text", "b"], "task": "separation"}
            parent = f"00-{TRACE}-{PARENT}-01"
            headers = {"x-request-id": "one", "traceparent": parent}
            answer = client.post("/v1/embeddings", json=body, headers=headers)
            tokens = answer.json()["usage"]["total_tokens"]
            refused = {"input": "a secret text", "task": "none-such"}
            client.post("/v1/embeddings", json=refused, headers={"x-request-id": "two"})
            client.get("/live", headers={"x-request-id": "probe"})
            client.get("/nope/a-secret-text", headers={"x-request-id": "last"})
        one, two = receiver.span("one"), receiver.span("two")
        assert receiver.span("last").name == "GET"
    assert (one.name, one.kind) == ("POST /v1/embeddings", 2)
    assert (one.trace_id.hex(), one.parent_span_id.hex()) == (TRACE, PARENT)
    facts = plain(one.attributes)
    assert facts["quintet.task"] == "separation"
    assert (facts["quintet.inputs"], facts["quintet.tokens"]) == (2, tokens)
    assert (facts["http.route"], facts["http.response.status_code"]) == ("/v1/embeddings", 200)
    assert 0 < one.end_time_unix_nano - one.start_time_unix_nano < 60e9
    assert two.trace_id != one.trace_id
    assert plain(two.attributes)["quintet.code"] == "VALIDATION_ERROR"
    assert set(receiver.spans) == {"one", "two", "last"}
    assert receiver.resources["service.name"] == "quintet"
    assert receiver.resources["deployment.environment.name"] == "test"
    assert not any(b"secret" in body for body in receiver.bodies)


def test_the_last_span_is_sent_before_the_end(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    with running() as service:
        httpx.get(f"{service.url}/info", headers={"x-request-id": "unsent"})
        assert not receiver.spans
        assert service.stop() == 0
    assert receiver.span("unsent").name == "GET /info"


def test_a_collector_that_is_away_disturbs_nobody(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")  # seconds of trying again at the end
    with running() as service:
        assert service.embed(input="x").status_code == 200
        assert service.stop() == 0


def test_without_its_packages_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    asked = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    with pytest.raises(SettingsError, match=re.escape(how_to_install("tracing"))):
        tracing_of(asked)
    assert tracing_of({}) is None
    assert tracing_of({**asked, "OTEL_SDK_DISABLED": "true"}) is None


def test_a_variable_that_does_not_fit_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that is shorter than one of its batches."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    service = start()
    assert service.process.wait(60) == 1
    service.log.wait_for(r"cannot start: a variable OTEL_\* of traces does not fit: ")
    assert "Traceback" not in service.log.text()
