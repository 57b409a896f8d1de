"""A checkpoint of the real one's size, with random weights: it loads, serves and fits."""

import shutil
import time
from pathlib import Path
from statistics import median

import pytest

from tests.checkpoints import FULL_SIZE, write_original
from tests.server import running

LIMIT_BYTES = 4 << 30


@pytest.mark.slow
def test_a_full_size_checkpoint_serves_within_4_gb_and_answers_a_query_in_well_under_a_second(
    tmp_path: Path,
) -> None:
    folder = write_original(tmp_path / "full-size", FULL_SIZE)
    try:
        with running(model=folder, dtype="bfloat16") as service:
            assert "24 layers, width 1024" in service.log.text()
            assert "571.2M" in service.log.text()  # the published 572.3 less the unused pooler
            (worker,) = service.workers()
            query = {"input": " ".join(["word"] * 14), "task": "retrieval.query"}
            times = []
            for _ in range(7):
                began = time.perf_counter()
                answer = service.embed(**query)
                times.append(time.perf_counter() - began)
                assert len(answer.json()["data"][0]["embedding"]) == 1024
            assert answer.json()["usage"]["total_tokens"] == 16
            service.embed(input=["word " * 500] * 8).raise_for_status()
            peak = int(Path(f"/proc/{worker.pid}/status").read_text().split("VmHWM:")[1].split()[0])
            print(f"query {median(times) * 1e3:.0f} ms, peak {peak / 1e6:.2f} GB")
            assert median(times) < 1
            assert peak * 1024 < LIMIT_BYTES
    finally:
        shutil.rmtree(folder)
