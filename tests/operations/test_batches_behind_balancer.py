"""The balancer sends what belongs to batch jobs to `quintet batches`, and the rest to replicas."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.app.batches.asking import ended, jsonl, line, lines_of, submit, upload
from tests.app.batches.test_killed_services import own_process
from tests.operations.test_balancer import balancer, free_port, wait_until_up
from tests.server import Service, running
from tests.waiting import wait_until

pytestmark = pytest.mark.operations

BATCH_PATHS = ("/v1/files", "/v1/batches")
OTHER_PATHS = ("/", "/docs", "/info", "/v1/models", "/openapi.json", "/playground/jobs.js")


class Balanced(NamedTuple):
    """A replica without a folder for batch jobs, where those of `quintet batches` are to be, and
    the URL of the balancer."""

    replica: Service
    batches: int
    url: str


@pytest.fixture(scope="module")
def balanced(original: Path) -> Iterator[Balanced]:
    port = free_port()
    with (
        running(model=original, cpu_threads=1, cache_bytes=0) as replica,
        balancer(replica.url.removeprefix("http://"), QUINTET_BATCHES=f"127.0.0.1:{port}") as url,
    ):
        wait_until_up(url)
        yield Balanced(replica, port, url)


def test_each_route_is_answered_by_the_process_that_has_it(
    balanced: Balanced, tmp_path: Path
) -> None:
    with (
        own_process(balanced.url, "", data_dir=tmp_path, port=balanced.batches) as batches,
        httpx.Client(base_url=balanced.url, timeout=60) as client,
    ):
        wait_until(lambda: client.get("/v1/batches").status_code == 200, "the first check")
        for path in BATCH_PATHS:
            assert client.get(path).json()["data"] == []
            assert httpx.get(balanced.replica.url + path).status_code == 404, "a replica has none"
        for path in OTHER_PATHS:
            assert client.get(path).status_code == 200
            assert httpx.get(batches.url + path).status_code == 404, "only replicas have it"
        job = ended(client, submit(client, jsonl([line("a", input="x"), line("b", input="y")])))
        found = lines_of(client, job["output_file_id"])
        assert [each["custom_id"] for each in found] == ["a", "b"]
        assert job["progress"]["tokens"] == balanced.replica.metric("tokens_total") > 0
        texts = client.post("/v1/batch/embeddings", json={"input": ["x", "y", "z"]}).json()
        ended(client, {"id": texts["batch_id"]})
        path = f"/v1/batch/{texts['batch_id']}"
        assert client.get(path).json()["stats"]["completed"] == 3
        assert len(client.get(f"{path}/output").text.splitlines()) == 3
        assert client.post("/v1/embeddings", json={"input": ["a"]}).status_code == 200
        large = b'{"custom_id": "a"}\n' * 200_000  # many of the balancer's buffers
        file = upload(client, large).json()["id"]
        assert client.get(f"/v1/files/{file}/content").content == large
        assert client.delete(f"/v1/files/{file}").json()["deleted"] is True


def test_without_the_process_of_batch_jobs_replicas_answer_on(balanced: Balanced) -> None:
    with httpx.Client(base_url=balanced.url, timeout=60) as client:
        wait_until(lambda: client.get("/v1/batches").status_code == 503, "it is seen to be gone")
        refused = client.get("/v1/batches")
        assert int(refused.headers["retry-after"]) >= 1
        assert client.post("/v1/embeddings", json={"input": ["a"]}).status_code == 200


def test_without_its_address_replicas_answer_for_batch_jobs(balanced: Balanced) -> None:
    """The control: it is the address that makes the difference."""
    with balancer(balanced.replica.url.removeprefix("http://")) as url:
        wait_until_up(url)
        for path in BATCH_PATHS:
            assert "EMBED_DATA_DIR" in httpx.get(url + path).json()["detail"]
