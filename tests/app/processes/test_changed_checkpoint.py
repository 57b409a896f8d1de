"""A checkpoint that is changed under a running service is never mixed with what it began with."""

import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

from tests.server import running


def test_a_worker_that_starts_again_refuses_other_weights_than_the_service_began_with(
    original: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(original, tmp_path / "model"))
    weights = folder / "model.safetensors"
    with running(model=folder) as service:
        before = service.embed(input="a text").json()["data"]
        # As a download does, under another name first: the file that is mapped stays as it is.
        tensors = load_file(weights)
        tensors["roberta.emb_ln.bias"][0] += 1
        save_file(tensors, tmp_path / "changed")
        weights.rename(tmp_path / "before")
        (tmp_path / "changed").rename(weights)
        (worker,) = service.workers()
        worker.kill()
        service.log.wait_for(r"does not start: .*/model has changed since the service started")
        assert service.embed(input="a text").status_code == 503
        (tmp_path / "before").replace(weights)
        service.log.wait_for("serving +http", count=2)
        assert service.embed(input="a text").json()["data"] == before
