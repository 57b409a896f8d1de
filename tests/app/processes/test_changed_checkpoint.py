"""A checkpoint that is changed under a running service is never mixed with what it began with."""

import json
import shutil
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file, save_file

from tests.server import Service, running, start
from tests.waiting import wait_until


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "model"))


def change_weights(folder: Path) -> Path:
    """Change one number; the file that it was in. As a download does, under another name first: the
    file that is mapped stays as it is."""
    weights, before, changed = (
        folder / name for name in ("model.safetensors", "before.bin", "changed.bin")
    )
    tensors = load_file(weights)
    tensors["roberta.emb_ln.bias"][0] += 1
    save_file(tensors, changed)
    weights.rename(before)
    changed.rename(weights)
    return before


def test_a_worker_that_starts_again_refuses_other_weights_than_the_service_began_with(
    folder: Path,
) -> None:
    with running(model=folder) as service:
        before = service.embed(input="a text").json()["data"]
        unchanged = change_weights(folder)
        (worker,) = service.workers()
        worker.kill()
        service.log.wait_for(r"does not start: .*/model has changed since the service started")
        assert service.embed(input="a text that is not cached").status_code == 503
        unchanged.replace(folder / "model.safetensors")
        service.log.wait_for("serving +http", count=2)
        assert service.embed(input="a text").json()["data"] == before


def test_a_service_that_starts_again_has_the_vectors_and_the_space_of_the_new_weights(
    folder: Path,
) -> None:
    """Nothing that was computed by the ones before is answered."""
    answers = []
    for _ in range(2):
        with running(model=folder) as service:
            twice = [service.embed(input="a text") for _ in range(2)]
            assert twice[0].content == twice[1].content
            assert service.metric('rows_total{source="cached"}') == 1
            answers.append(twice[1])
        change_weights(folder)
    old, new = answers
    assert old.json()["data"] != new.json()["data"]
    assert old.headers["x-embedding-space"] != new.headers["x-embedding-space"]


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_an_http_process_that_starts_again_refuses_another_tokenizer_or_configuration(
    folder: Path, name: str
) -> None:
    with running(model=folder) as service:
        before = service.embed(input="a text").json()["data"]
        written = (path := folder / name).read_bytes()
        fields = json.loads(written)
        if name == "tokenizer.json":
            fields["normalizer"] = {"type": "Lowercase"}
        else:
            fields["task_instructions"]["text-matching"] = "Another one: "
        path.write_text(json.dumps(fields))
        service.http_processes()[0].kill()
        service.log.wait_for(r"HTTP process 0 does not start: .*/model has changed since")
        path.write_bytes(written)
        service.log.wait_for("HTTP process 0 serves")
        assert service.embed(input="a text").json()["data"] == before


def test_workers_that_find_different_weights_at_the_first_start_end_the_service(
    folder: Path,
) -> None:
    service = start(model=folder, devices="cpu,cpu")
    try:
        late = second_worker(service)
        late.suspend()
        service.log.wait_for("serving +http")
        change_weights(folder)
        late.resume()
        service.log.wait_for("cannot start: .*/model has changed while the service was starting")
        assert service.process.wait(60) == 1
    finally:
        if service.process.poll() is None:
            service.stop()


def second_worker(service: Service) -> psutil.Process:
    """As soon as it is there, before it has read anything: that takes imports of a second."""
    wait_until(lambda: len(service.workers()) == 2, "two workers")
    return service.workers()[1]
