"""The encoder gives the vectors of the product's encoder, and trains only what it should."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model import embedder
from model.rows import Row
from model.training import weights
from model.training.trainable_encoder import TrainableEncoder
from tests.checkpoints import Shape, write_hf
from tests.conftest import random_row

TASK = "retrieval.passage"


def product(folder: Path) -> embedder.Embedder:
    return embedder.load(folder, "cpu", "float32")


@pytest.fixture(scope="module")
def encoder(original: Path) -> TrainableEncoder:
    read = weights.read(original)
    return TrainableEncoder.from_weights(read, read.config.tasks)


@pytest.mark.parametrize("task", [None, "retrieval.query", TASK, "text-matching"])
def test_it_gives_the_vectors_of_the_product(
    original: Path, encoder: TrainableEncoder, rng: np.random.Generator, task: str | None
) -> None:
    judge = product(original)
    adapter = judge.tasks.by_name(task).adapter
    rows = [random_row(rng, length, adapter, spans=2) for length in (3, 40, 17)]
    np.testing.assert_allclose(
        encoder(rows, task).detach().numpy(), judge.embed(rows), atol=1e-5, rtol=1e-4
    )


def test_texts_are_read_with_their_task_s_instruction(
    original: Path, encoder: TrainableEncoder
) -> None:
    judge = product(original)
    rows = judge.tokenizer.rows(["Guten Morgen!", "Two words"], judge.tasks.by_name(TASK)).rows
    vectors = encoder(rows, TASK).detach()
    np.testing.assert_allclose(
        torch.nn.functional.normalize(vectors).numpy(),
        judge.embed_texts(["Guten Morgen!", "Two words"], TASK),
        atol=1e-5,
    )


@pytest.mark.parametrize("one_a", [True, False])
def test_both_layouts_and_corrections_of_q_k_and_v_by_themselves_are_read(
    tmp_path: Path, shape: Shape, rng: np.random.Generator, *, one_a: bool
) -> None:
    folder = write_hf(tmp_path / "hf", shape, one_a=one_a)
    row = random_row(rng, 30, 1)
    vectors = TrainableEncoder.from_weights(weights.read(folder), [TASK])([row], TASK)
    np.testing.assert_allclose(
        vectors.detach().numpy(), product(folder).embed([row]), atol=1e-5, rtol=1e-4
    )


def test_a_new_adapter_changes_nothing_before_it_is_trained(
    original: Path, rng: np.random.Generator
) -> None:
    encoder = TrainableEncoder.from_weights(weights.read(original), ["separation"])
    encoder.add("mine")
    rows = [random_row(rng, 20, None)]
    assert torch.equal(encoder(rows, "mine"), encoder(rows, None))
    assert not torch.equal(encoder(rows, "mine"), encoder(rows, "separation"))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_reach_the_trained_adapters_only_each_through_its_own_forward_pass(
    original: Path, rng: np.random.Generator, *, checkpointing: bool
) -> None:
    """Two passes before one way back; activation checkpointing computes them a second time."""
    tasks = ("retrieval.query", TASK, "separation")
    encoder = TrainableEncoder.from_weights(weights.read(original), tasks)
    trained = encoder.set_trainable(*tasks[:2])
    if checkpointing:
        encoder.checkpoint_activations()
        encoder.train()
    rows = [random_row(rng, length, None) for length in (12, 20)]
    gradients = []
    for together in (False, True):
        encoder.zero_grad()
        if together:
            (encoder(rows, tasks[0]).sum(0) * encoder(rows, tasks[1]).sum(0)).sum().backward()
        else:
            with torch.no_grad():
                fixed = [encoder(rows, task).sum(0) for task in tasks[:2]]
            (encoder(rows, tasks[0]).sum(0) * fixed[1]).sum().backward()
            (fixed[0] * encoder(rows, tasks[1]).sum(0)).sum().backward()
        gradients.append([parameter.grad.clone() for parameter in trained])
    for apart, both in zip(*gradients, strict=True):
        assert apart.abs().max() > 0
        torch.testing.assert_close(apart, both)
    others = [each for each in encoder.parameters() if all(each is not one for one in trained)]
    assert all(each.grad is None for each in others)


def test_an_adapter_that_is_trained_keeps_one_a_for_q_k_and_v(original: Path) -> None:
    read = weights.read(original)
    encoder = TrainableEncoder.from_weights(read, [TASK])
    trained = encoder.set_trainable(TASK)
    optimizer = torch.optim.SGD(trained, lr=0.1)
    encoder([Row.single_span(np.array([0, 7, 8, 2], np.int32), None)], TASK).sum().backward()
    optimizer.step()
    name = "encoder.layers.0.mixer.Wqkv"
    after, before = encoder.adapter(TASK)[name], read.adapters[TASK][name]
    assert after.a.shape == before.a.shape
    assert not torch.equal(after.a, before.a)
    assert not torch.equal(after.b, before.b)
