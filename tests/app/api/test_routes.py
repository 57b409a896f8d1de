"""Everything around the main route: models, probes, metrics, request ids, unknown paths."""

import re
from pathlib import Path

import httpx
import pytest

from tests.app.answers import assert_error
from tests.checkpoints import TASKS
from tests.server import Service, running


def test_models_lists_every_served_name_and_says_what_the_small_model_is(service: Service) -> None:
    with service.client() as client:
        body = client.get("/v1/models").json()
        names = ["jina-embeddings-v3", "text-embedding-3-small", "quintet-mini"]
        assert [model["id"] for model in body["data"]] == names
        assert body["object"] == "list"
        for model in body["data"]:
            assert model["object"] == "model"
            assert "EMBED_MODEL=jinaai/jina-embeddings-v3" in model["description"]
            assert "CC BY-NC 4.0" in model["description"]
            assert client.get(f"/v1/models/{model['id']}").json() == model
        gone = client.get("/v1/models/jinaai/other")
        assert_error(gone, 404, "INPUT_MODEL_NOT_FOUND", "'jinaai/other' is not served")


def test_probes_answer(service: Service) -> None:
    with service.client() as client:
        for path in ("/live", "/ready", "/health"):
            assert (client.get(path).status_code, client.get(path).json()) == (
                200,
                {"status": "ok"},
            )


def test_unknown_paths_and_methods_have_the_one_error_body(service: Service) -> None:
    with service.client() as client:
        assert_error(client.get("/nope"), 404, "RESOURCE_NOT_FOUND", "there is no /nope")
        for path, allowed, method in (
            ("/v1/embeddings", "POST", "GET"),
            ("/ready", "GET, HEAD", "DELETE"),
        ):
            answer = client.request(method, path)
            said = f"{path} takes {allowed}, not {method}; see /docs."
            assert_error(answer, 405, "METHOD_NOT_ALLOWED", said)
            assert answer.headers["allow"] == allowed
        assert len(client.get("/" + "a" * 10_000).content) < 1_000


@pytest.mark.parametrize("path", ["/", "/live", "/ready", "/v1/models", "/metrics", "/nope"])
def test_head_is_get_without_the_body(service: Service, path: str) -> None:
    with service.client() as client:
        got, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b"")
        assert head.headers["content-type"] == got.headers["content-type"]
        assert int(head.headers["content-length"]) > 0
        assert client.get("/live").status_code == 200, "the connection goes on"
        assert client.head("/v1/embeddings").status_code == 405


def test_every_answer_has_a_request_id_the_callers_own_if_it_is_sane(service: Service) -> None:
    with service.client() as client:
        for path in ("/live", "/nope", "/v1/models", "/metrics"):
            assert re.fullmatch("[0-9a-f]{32}", client.get(path).headers["x-request-id"])
        sent = client.get("/live", headers={"x-request-id": "mine-1.2_3"})
        assert sent.headers["x-request-id"] == "mine-1.2_3"
        bad = client.get("/live", headers={"x-request-id": "a b"})
        assert re.fullmatch("[0-9a-f]{32}", bad.headers["x-request-id"])


def test_one_line_a_request_without_its_text(service: Service) -> None:
    headers = {"x-request-id": "the-line"}
    with service.client(headers=headers) as client:
        body = {"input": "a secret text", "task": "separation"}
        client.post("/v1/embeddings", json=body).raise_for_status()
    line = service.log.wait_for("request_id=the-line").string
    for part in ("POST /v1/embeddings 200", "task=separation", "inputs=1", "tokens="):
        assert part in line
    assert "secret" not in service.log.text()


def test_a_caller_cannot_write_lines_into_the_log(service: Service) -> None:
    with service.client() as client:
        gone = client.get("/nope%0Aforged%20line", headers={"x-request-id": "forger"})
    assert gone.status_code == 404
    assert service.log.wait_for("request_id=forger").string.endswith("code=RESOURCE_NOT_FOUND")
    assert "\nforged" not in service.log.text()


def test_metrics_count_requests_tokens_and_batches(service: Service) -> None:
    names = ["requests_total", "tokens_total", "batch_rows_count", "batch_tokens_count"]
    before = {name: service.metric(name) for name in names}
    tokens = service.embed(input=["counted in metrics", "for the first time"]).json()["usage"][
        "total_tokens"
    ]
    assert service.metric("tokens_total") - before["tokens_total"] == tokens
    for name in ("requests_total", "batch_rows_count", "batch_tokens_count"):
        assert service.metric(name) > before[name]
    assert service.metric("queue_tokens") == 0
    assert service.metric("workers_ready") == 1


def test_the_http_process_has_no_torch_and_the_worker_has(service: Service) -> None:
    (http_process,), (worker,) = service.http_processes(), service.workers()
    assert "libtorch" not in Path(f"/proc/{http_process.pid}/maps").read_text()
    assert "libtorch" in Path(f"/proc/{worker.pid}/maps").read_text()


def test_the_log_says_what_is_served(service: Service) -> None:
    text = service.log.text()
    for part in (
        "quintet-mini",
        "device",
        "sdpa, products",
        "retrieval.query",
        "8192 tokens a text",
        "CC BY",
    ):
        assert part in text


def test_json_logs_and_the_base_model_by_default() -> None:
    import json

    with running(log_format="json", default_task="none", dtype="float32") as service:
        headers = {"x-request-id": "mine"}
        url = f"{service.url}/v1/embeddings"
        httpx.post(url, json={"input": "x"}, headers=headers).raise_for_status()
        line = json.loads(service.log.wait_for('"request_id": "mine"').string)
        assert (line["status"], line["task"], line["inputs"]) == (200, "none", 1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": "./nowhere"}, "neither a folder nor a hub id"),
        ({"default_task": "retrieval"}, "EMBED_DEFAULT_TASK: unknown task 'retrieval'"),
        ({"devices": "tpu-1"}, "cannot start: unknown device 'tpu-1'"),
        ({"modle": "x"}, "Did you mean EMBED_MODEL?"),
        ({"dtype": "int4"}, "EMBED_DTYPE"),
    ],
)
def test_what_cannot_be_served_ends_with_a_sentence(settings: dict[str, str], said: str) -> None:
    from tests.server import start

    service = start(**settings)
    assert service.process.wait(60) == 1
    service.log.wait_for(re.escape(said), 5)
    assert "Traceback" not in service.log.text()


def test_a_port_that_is_taken_ends_with_exit_1(service: Service) -> None:
    from tests.server import start

    other = start(port=service.url.rpartition(":")[2])
    assert other.process.wait(60) == 1


def test_info_says_what_is_served(service: Service) -> None:
    info = httpx.get(f"{service.url}/info").json()
    assert (info["model"], info["width"], info["max_tokens"]) == ("quintet-mini", 384, 8192)
    assert info["matryoshka_dimensions"] == [32, 64, 128, 256, 384]
    assert (info["tasks"], info["default_task"]) == (list(TASKS), "text-matching")
    (worker,) = info["workers"]
    assert worker["attention"] == "sdpa, products"
    assert worker["dtype"] in ("bfloat16", "float32")


def test_ping_is_readiness(service: Service) -> None:
    assert httpx.get(f"{service.url}/ping").json() == {"status": "ok"}
