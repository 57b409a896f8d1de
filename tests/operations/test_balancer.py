"""The balancer's own answers, and what it passes on. Restarts and crashes are tested elsewhere."""

import concurrent.futures
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.operations.names import names
from tests.operations.programs import DOCKER, program, run
from tests.operations.wire import statuses, talk
from tests.server import Service, running
from tests.waiting import wait_for_one_minute, wait_until

pytestmark = pytest.mark.operations

CONFIGURATION = DOCKER / "haproxy.cfg"


def with_variables(**variables: str) -> dict[str, str]:
    inherited = {name: own for name, own in os.environ.items() if not name.startswith("QUINTET_")}
    return {**inherited, **variables}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@contextmanager
def balancer(*replicas: str, **variables: str) -> Iterator[str]:
    """A running balancer's URL, when its port is open."""
    address = f"127.0.0.1:{free_port()}"
    servers = {f"QUINTET_SERVER_{number}": each for number, each in enumerate(replicas, 1)}
    process = subprocess.Popen(
        [program("haproxy"), "-db", "-f", CONFIGURATION],
        env=with_variables(QUINTET_BIND=address, **servers, **variables),
    )
    try:
        transport = httpx.HTTPTransport(retries=8)  # until its port is open
        with httpx.Client(transport=transport) as client:
            client.get(f"http://{address}/balancer")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running(log_format="json") as service:
        yield service


def wait_until_up(url: str) -> None:
    """Until the first check of a replica has passed: requests wait for one, or are told."""
    with httpx.Client(base_url=url) as client:
        wait_until(lambda: client.get("/ready").status_code == 200, f"{url} is ready")


@pytest.mark.parametrize(
    "variables",
    [
        {"QUINTET_SERVICE": "quintet-pods.quintet.svc.cluster.local:8080"},
        {f"QUINTET_SERVER_{number}": f"127.0.0.1:{number}" for number in range(1, 5)},
    ],
    ids=["by one name", "by addresses"],
)
def test_haproxy_accepts_the_file_without_a_warning(
    variables: dict[str, str], tmp_path: Path
) -> None:
    environment = with_variables(QUINTET_BIND="127.0.0.1:8080", **variables)
    run("haproxy", "-dW", "-c", "-f", CONFIGURATION, env=environment)


def test_haproxy_serves_https_where_there_is_a_certificate(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2")
    made = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate)
    run("openssl", *made, *subject)
    both = tmp_path / "both.pem"
    both.write_text(certificate.read_text() + key.read_text())
    address = f"127.0.0.1:{free_port()}"
    with balancer("127.0.0.1:9", QUINTET_CERTIFICATE=str(both), QUINTET_BIND_TLS=address):
        trusted = ssl.create_default_context(cafile=certificate)
        assert httpx.get(f"https://{address}/balancer", verify=trusted).status_code == 200


def test_requests_go_through_and_come_back(service: Service) -> None:
    with balancer(service.url.removeprefix("http://")) as url:
        wait_until_up(url)
        answer = httpx.post(f"{url}/v1/embeddings", json={"input": ["Guten Morgen!"]}, timeout=60)
        assert answer.status_code == 200
        long = httpx.post(f"{url}/v1/embeddings", json={"input": ["tea " * 40_000]}, timeout=60)
        assert long.json()["error"]["code"] == "context_length_exceeded", "larger than a buffer"


def test_replicas_are_found_by_one_name_and_follow_it_when_it_changes() -> None:
    """As in Kubernetes and compose, where replicas come and go under a name."""
    port = free_port()
    with running(host="127.0.0.2", port=port) as old, names("127.0.0.2") as known:
        by_name = {
            "QUINTET_SERVICE": f"quintet.example:{port}",
            "QUINTET_NAMESERVER": known.address,
        }
        with balancer(**by_name) as url, running(host="127.0.0.3", port=port) as new:
            wait_until_up(url)
            assert httpx.post(f"{url}/v1/embeddings", json={"input": ["a"]}).status_code == 200
            known.addresses = ("127.0.0.2", "127.0.0.3")

            def asked_the_new_one() -> bool:
                answer = httpx.post(f"{url}/v1/embeddings", json={"input": ["b"]})
                assert answer.status_code == 200
                return new.metric("tokens_total") > 0

            wait_until(asked_the_new_one, "a request for the new replica")
            known.addresses = ("127.0.0.3",)
            assert old.stop(signal.SIGTERM) == 0
            for _ in range(20):
                answer = httpx.post(f"{url}/v1/embeddings", json={"input": ["c"]})
                assert answer.status_code == 200


@pytest.mark.parametrize(
    "line",
    [
        b"GET /metrics",
        b"GET /%6detrics",
        b"GET /%6D%65trics",
        b"GET http://localhost/m%65trics?a",
        b"GET /metrics/",
    ],
)
def test_a_metric_is_asked_of_a_replica_and_not_of_the_balancer(
    service: Service, line: bytes
) -> None:
    with balancer(service.url.removeprefix("http://")) as url:
        wait_until_up(url)
        asked = line + b" HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        answer = talk(url, asked)
        assert statuses(answer) == [404]
        assert b"quintet_" not in answer
        assert statuses(talk(service.url, asked)) == [200], "a replica would have answered"


def embed(url: str, own: str, **headers: str) -> int:
    """The status of one request from the address `own`."""
    transport = httpx.HTTPTransport(local_address=own)
    with httpx.Client(base_url=url, transport=transport, timeout=60) as client:
        body = {"input": ["a"]}
        return client.post("/v1/embeddings", json=body, headers=headers).status_code


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A replica that believes its balancer, as in compose.yaml and docker/kubernetes."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    with running(max_requests_per_minute=2) as service:
        yield service


def test_limits_see_the_caller_and_not_the_balancer_and_no_caller_is_another(
    limited: Service,
) -> None:
    with balancer(limited.url.removeprefix("http://")) as url:
        wait_until_up(url)
        for own in ("127.0.0.2", "127.0.0.3"):
            said = {"x-forwarded-for": "127.0.0.3"}
            wait_for_one_minute()
            assert [embed(url, own, **said) for _ in range(3)] == [200, 200, 429]


def test_behind_another_proxy_limits_see_whom_it_names(limited: Service) -> None:
    proxies = "192.0.2.0/24 127.0.0.2"
    with balancer(limited.url.removeprefix("http://"), QUINTET_PROXIES=proxies) as url:
        wait_until_up(url)
        for own, expected in (("127.0.0.2", [200] * 4), ("127.0.0.3", [200, 200, 429, 429])):
            named = [{"x-forwarded-for": f"198.51.100.{number}"} for number in range(4)]
            wait_for_one_minute()
            assert [embed(url, own, **said) for said in named] == expected


def test_without_a_replica_a_caller_is_told_when_to_retry_as_the_service_would() -> None:
    with balancer(f"127.0.0.1:{free_port()}") as url:
        with httpx.Client(base_url=url) as client:
            while (answer := client.post("/v1/embeddings", json={"input": ["a"]})).is_success:
                pass
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error"]["code"] == "service_unavailable"
        assert answer.json()["code"] == "SERVICE_UNAVAILABLE"


def test_a_request_that_is_refused_everywhere_is_tried_twice_and_no_more() -> None:
    """A balancer that multiplies an overload makes it last."""
    with (
        running(max_queue_tokens=9, cache_bytes=0) as full,
        concurrent.futures.ThreadPoolExecutor() as pool,
        balancer(*[full.url.removeprefix("http://")] * 4) as url,
    ):
        wait_until_up(url)
        (worker,) = full.workers()
        worker.suspend()
        try:
            held = pool.submit(full.embed, input="one two three")
            full.wait_for_queue()
            answer = httpx.post(f"{url}/v1/embeddings", json={"input": "one two three"})
        finally:
            worker.resume()
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
        assert full.metric("refused_total") == 2
        assert held.result().status_code == 200


def test_a_caller_who_sends_slowly_is_answered_408_and_costs_no_replica(service: Service) -> None:
    with balancer(service.url.removeprefix("http://")) as url:
        wait_until_up(url)
        before = service.metric("requests_total")
        host, _, port = url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.settimeout(30)
            slow.sendall(
                b"POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n{"
            )
            answer = slow.recv(65536)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"code":"body_timeout"' in answer
        text = httpx.get(f"{service.url}/metrics").text
        assert 'route="/v1/embeddings",status="408"' not in text
        assert service.metric("requests_total") >= before


def test_a_caller_who_hangs_up_is_seen_by_the_replica(service: Service) -> None:
    """abortonclose: else the replica would embed for nobody."""
    with balancer(service.url.removeprefix("http://")) as url:
        wait_until_up(url)
        texts = [f"{number} " + "many words and no end " * 200 for number in range(200)]
        with httpx.Client(base_url=url) as client, pytest.raises(httpx.ReadTimeout):
            client.post(
                "/v1/embeddings", json={"input": texts[:60]}, timeout=httpx.Timeout(60, read=1)
            )
        service.log.wait_for(r'"status": ?499')
