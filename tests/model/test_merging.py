"""Merged weights: the same vectors, by the embedder's policy alone, and never by the encoder."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from model import checkpoint, embedder
from model.linear_kernels import LinearKernel, OneDnnLinear, TorchLinear
from model.merging import MergePolicy
from model.packing import pack
from tests.checkpoints import MINI
from tests.conftest import BFLOAT16_PREPACKED, random_row, unit_rows


@pytest.mark.parametrize(
    ("kernel", "dtype", "cosine"),
    [
        (TorchLinear, "float32", 0.999999),
        (TorchLinear, "bfloat16", 0.9995),
        (OneDnnLinear, "float32", 0.999999),
        (OneDnnLinear, "float16", 0.999999),
        pytest.param(OneDnnLinear, "bfloat16", 0.9995, marks=BFLOAT16_PREPACKED),
    ],
)
def test_weights_merged_for_one_adapter_give_the_same_vectors(
    kernel: type[LinearKernel],
    dtype: str,
    cosine: float,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoint, "choose_linear_kernel", lambda *_: kernel)
    quintet = embedder.load(MINI, "cpu", dtype)
    for adapter in (3, 1):  # the second one takes the first one's place
        rows = [random_row(rng, int(length), adapter) for length in rng.integers(2, 120, 8)]
        other = random_row(rng, 5, None if adapter == 1 else 0)
        stacked = unit_rows(quintet.embed([*rows, other]))
        alone = unit_rows(quintet.embed([*rows]))
        assert quintet._merged is not None
        quintet._merged.weights = {adapter: quintet.encoder.merged(adapter)}
        merged = unit_rows(quintet.embed(rows))
        assert (merged * stacked[:-1]).sum(axis=1).min() >= cosine
        assert not np.array_equal(merged, alone), "merged weights were not used"
        assert (unit_rows(quintet.embed([*rows, other])) == stacked).all()


def test_the_encoder_computes_a_batch_the_same_whatever_it_has_computed_before(
    original: Path, rng: np.random.Generator
) -> None:
    encoder = embedder.load(original, "cpu", "float32").encoder
    batch, other = (pack([random_row(rng, 99, at)], torch.device("cpu")) for at in (2, 4))
    long = pack([random_row(rng, 8000, 2)], torch.device("cpu"))
    with torch.inference_mode():
        expected = encoder(batch)
        for each in (long, long, long, other):
            encoder(each)
        assert torch.equal(encoder(batch), expected)
        merged = encoder.merged(2)
        assert torch.equal(encoder(batch), expected)
        assert not torch.equal(encoder(batch, merged), expected)
        with pytest.raises(AssertionError, match="the batch has another adapter"):
            encoder(other, merged)
        assert torch.equal(encoder(batch), expected)


def test_weights_are_merged_once_many_tokens_in_a_row_had_one_adapter(
    rng: np.random.Generator,
) -> None:
    policy = MergePolicy(after_tokens=100)

    def pays(length: int, *adapters: int | None) -> bool:
        rows = [random_row(rng, length, adapter) for adapter in adapters]
        return policy.should_merge(pack(rows, torch.device("cpu")))

    assert [pays(60, 2), pays(60, 3), pays(20, 3), pays(20, 3, 3)] == [False, False, False, True]
    assert [pays(99, 2, 3), pays(60, 2, 3), pays(120, None), pays(60, 3)] == [False] * 4
    assert [pays(40, 3), pays(1, 3), pays(1, None), pays(1, 3)] == [True, True, False, False]


def test_a_long_run_of_one_task_is_merged_by_itself(
    original: Path, rng: np.random.Generator
) -> None:
    quintet = embedder.load(original, "cpu", "float32")
    rows = [random_row(rng, 1000, 2) for _ in range(8)]
    vectors = [quintet.embed(rows) for _ in range(4)]
    assert np.array_equal(vectors[0], vectors[1])
    assert not np.array_equal(vectors[0], vectors[2]), "merged weights were not used"
    np.testing.assert_allclose(vectors[0], vectors[3], atol=1e-5)


def test_a_cpu_has_merged_weights_for_each_adapter_where_it_is_told_so(
    original: Path, rng: np.random.Generator
) -> None:
    stacked = embedder.load(original, "cpu", "float32")
    merged = embedder.load(original, "cpu", "float32")
    stacked.warm_up(adapters="stacked")
    merged.warm_up(adapters="merged")
    single = [random_row(rng, 30, adapter) for adapter in range(len(merged.config.tasks))]
    for rows in ([single[0]], [single[3]], [single[0]], [single[4], random_row(rng, 9, 4)]):
        expected, vectors = stacked.embed(rows), merged.embed(rows)
        assert not np.array_equal(vectors, expected), "merged weights were not used"
        np.testing.assert_allclose(vectors, expected, atol=1e-5)
    without = [random_row(rng, 30, None)]
    for rows in (single, without, [*without, single[1]]):
        np.testing.assert_array_equal(merged.embed(rows), stacked.embed(rows))


NO_ROOM = """
import resource
import numpy as np
from model import embedder
from model.merging import MergedCopy, MergePolicy
from model.rows import Row
from tests.checkpoints import MINI

quintet = embedder.load(MINI, "cpu", "float32")
quintet._merged = MergedCopy(quintet.encoder, MergePolicy(after_tokens=300))
task, other = (Row.single_span(np.arange(3, 103, dtype=np.int32), at) for at in (2, 4))
expected, others = quintet.embed([task])[0], quintet.embed([other])[0]
in_use = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + (8 << 20), resource.RLIM_INFINITY))
for _ in range(10):
    np.testing.assert_array_equal(quintet.embed([task])[0], expected)
np.testing.assert_array_equal(quintet.embed([other])[0], others)
"""


def test_without_room_for_merged_weights_batches_go_on_without_them() -> None:
    command = [sys.executable, "-c", NO_ROOM]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("weights are not merged") == 1
