"""kill -9 of a real service in the middle of a job, and batch jobs in a process of their own."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from tests.app.answers import assert_error, cosines
from tests.app.batches.asking import ended, jsonl, line, lines_of, seen, submit
from tests.app.batches.conftest import key
from tests.server import Service, bearer, running, start
from tests.waiting import wait_until

LINES = 300
BOUNDS = {"cpu_threads": 1, "cache_bytes": 0, "batch_job_inputs": 8}
_LINE_BYTES = 573  # of each line's answer on average
CONTENT = jsonl([line(f"c{n}", input=f"{n} is a text", dimensions=16) for n in range(LINES)])


def room_for(lines: int) -> dict[str, int]:
    """The setting with which a job stops at about so many lines, however long the test takes."""
    return {"max_data_bytes": len(CONTENT) + lines * _LINE_BYTES}


def lines_done(client: httpx.Client, job: dict[str, Any]) -> int:
    return int(seen(client, job)["request_counts"]["completed"])


def vectors_of(client: httpx.Client, job: dict[str, Any]) -> np.ndarray:
    """Those of a job that answered every line, in order."""
    found = lines_of(client, job["output_file_id"])
    assert [each["custom_id"] for each in found] == [f"c{n}" for n in range(LINES)]
    bodies = [each["response"]["body"] for each in found]
    return np.array([body["data"][0]["embedding"] for body in bodies])


def kill_all(service: Service) -> None:
    """The parent and its children, at once."""
    children = psutil.Process(service.process.pid).children()
    os.kill(service.process.pid, signal.SIGKILL)
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(children, timeout=30)
    service.process.wait()


def test_a_service_that_is_killed_answers_each_line_once(original: Path, tmp_path: Path) -> None:
    """The process that works on jobs several times, so that another one takes over; then all."""
    settings = {"model": original, "data_dir": tmp_path, **BOUNDS}
    service = start(http_processes=2, **settings, **room_for(250))
    service.wait_until_ready()
    with service.client() as client:
        job = submit(client, CONTENT)
    for number in range(1, 4):
        with service.client() as client:
            wait_until(lambda: lines_done(client, job) > 40 * number, "some answers")  # noqa: B023
        pattern = r"are worked on by process (\d+)"
        victim = int(service.log.wait_for(pattern, count=number).group(1))
        os.kill(victim, signal.SIGKILL)
        service.log.wait_for(pattern, count=number + 1)
    with service.client() as client:
        wait_until(lambda: lines_done(client, job) > 180, "more answers")
        # One job, whoever has died; lines count once, or not where that was before they could.
        assert service.metric("batch_jobs", client) == 1
        counted = service.metric("batch_job_lines_total", client)
        assert 180 - 3 * BOUNDS["batch_job_inputs"] < counted <= lines_done(client, job) < LINES
    kill_all(service)
    with running(http_processes=1, **settings) as service, service.client() as client:
        job = ended(client, job)
        assert job["request_counts"] == {"total": LINES, "completed": LINES, "failed": 0}
        whole = vectors_of(client, ended(client, submit(client, CONTENT)))
        assert cosines(vectors_of(client, job), whole).min() > 0.9999


@contextlib.contextmanager
def own_process(url: str, api_key: str, **settings: object) -> Iterator[Service]:
    """`quintet batches`, ended by SIGTERM."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EMBED_")}
    own = {"EMBED_PORT": "0", "EMBED_DRAIN_DELAY_S": "0", "QUINTET_API_KEY": api_key}
    own |= {f"EMBED_{name.upper()}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-m", "app", "batches", "--url", url]
    process = subprocess.Popen(
        command, env=kept | own, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    batches = Service(process)
    try:
        batches.wait_until_ready()
        yield batches
    finally:
        if process.poll() is None:
            assert batches.stop(signal.SIGTERM) == 0, batches.log.text()
        print(batches.log.text()[-3000:])


def test_jobs_have_a_process_of_their_own(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its keys are its callers'; the service knows it by its own key. It is killed, ended by
    SIGTERM and started again, and so is the service, while the job goes on. Where another program
    keeps its metrics is not for them."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "of another program"))
    mine, caller = key(tmp_path / "replicas", "batches"), key(tmp_path / "callers", "team")
    service = start(model=original, keys_file=tmp_path / "replicas", **BOUNDS)
    service.wait_until_ready()
    settings = {"data_dir": tmp_path / "data", "keys_file": tmp_path / "callers", **BOUNDS}
    with own_process(service.url, mine, **settings, **room_for(120)) as batches:
        with batches.client() as client:
            assert client.get("/v1/batches").status_code == 401
            for probe in ("/ready", "/health", "/ping"):
                assert client.get(probe).json() == {"status": "ok"}
        with batches.client(headers=bearer(caller)) as client:
            for path in ("/v1/embeddings", "/docs", "/"):
                missing = client.get(path)
                said = f"there is no {path}; batch jobs alone are here, at /v1/files, /v1/batches"
                assert_error(missing, 404, "RESOURCE_NOT_FOUND", said)
                assert "/docs." not in missing.text
            said = "there is no /v1/batche; did you mean /v1/batches? Batch jobs alone are"
            assert_error(client.get("/v1/batche"), 404, "RESOURCE_NOT_FOUND", said)
            job = submit(client, CONTENT)
            wait_until(lambda: lines_done(client, job) > 40, "some answers")
            assert batches.metric("key_tokens_total", client) > 0
            wait_until(lambda: batches.metric("batch_jobs") == 1, "the job in its metrics")
            wait_until(lambda: batches.metric("batch_job_lines_total") > 40, "them in its metrics")
            shown = httpx.get(f"{batches.url}/metrics").text
            assert "quintet_workers" not in shown, "it has none, and an alert would miss them"
        batches.process.kill()
        batches.process.wait()
    with (
        own_process(service.url, mine, metrics_open=False, **settings, **room_for(250)) as batches,
        batches.client(headers=bearer(caller)) as client,
    ):
        wait_until(lambda: lines_done(client, job) > 150, "more answers")
        assert httpx.get(f"{batches.url}/metrics").status_code == 401
        wait_until(lambda: batches.metric("batch_job_lines_total", client) > 0, "lines of its own")
    with (
        service.suspended(),  # the job does not end before the service does
        own_process(service.url, mine, **settings) as batches,
        batches.client(headers=bearer(caller)) as client,
    ):
        assert 150 < lines_done(client, job) < LINES
        port = service.url.rpartition(":")[2]
        kill_all(service)
        with running(port=port, model=original, keys_file=tmp_path / "replicas", **BOUNDS):
            job = ended(client, job)
            assert job["request_counts"]["completed"] == LINES
            vectors_of(client, job)
