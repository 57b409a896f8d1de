"""A worker and its GPU, in real processes on a machine whose GPUs are emulated."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from app import settings as app_settings
from app.engine import messages
from app.engine.loading import one_visible_gpu
from app.settings import Settings
from model import embedder
from model.rows import MAX_ROWS, Row
from model.tasks import DEFAULT_TASK, NO_TASK
from tests.conftest import random_row


@pytest.mark.parametrize(
    ("device", "visible", "own"),
    [
        ("cuda:0", None, "0"),
        ("cuda:1", None, "1"),
        ("cuda:1", "4,5", "5"),
        ("cuda:1", " 4 , 5 ,6", "5"),
        ("cuda:0", "GPU-8932f937-d72c,GPU-1c2f", "GPU-8932f937-d72c"),
        ("cuda:1", "MIG-aa,MIG-bb", "MIG-bb"),
        ("cuda:0", "1,-1,2", "1"),
        # Not a GPU by its number, or not among those that are visible.
        ("cpu", None, None),
        ("auto", "1", None),
        ("cuda", "1", None),
        ("cuda:2", "4,5", None),
        ("cuda:2", "1,-1,2", None),
        ("cuda:0", "", None),
        ("cuda:0", "-1", None),
        ("cuda:0", "NoDevFiles", None),
        ("cuda:0", "1,1", None),
    ],
)
def test_a_worker_sees_its_one_visible_gpu_alone(
    device: str, visible: str | None, own: str | None
) -> None:
    assert one_visible_gpu(device, visible) == own


def started(
    folder: Path, device: str, visible: str | None, rows: Sequence[Row] = ()
) -> tuple[messages.FromWorker | None, np.ndarray | None]:
    """What a worker says first, and the vectors of some rows."""
    ours, theirs = socket.socketpair()
    environment = {name: value for name, value in os.environ.items() if "VISIBLE" not in name}
    environment |= {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    with ours, theirs:
        ours.settimeout(60)
        arguments = [sys.executable, "-m", "tests.emulated_cuda", "3", str(theirs.fileno())]
        process = subprocess.Popen(arguments, pass_fds=[theirs.fileno()], env=environment)
        theirs.close()
        ours.sendall(messages.frame(messages.Start(str(folder), device, "float32", 64)))
        word, vectors = hear(ours), None
        if isinstance(word, messages.Started) and rows:
            ours.sendall(messages.frame(messages.embed_message(1, rows)))
            while not isinstance(answer := hear(ours), messages.Answer):
                assert answer is not None
            vectors = messages.vectors_of(answer, 64)
        ours.shutdown(socket.SHUT_WR)
        assert process.wait(60) == 0
    return word, vectors


def hear(connection: socket.socket) -> messages.FromWorker | None:
    head = messages._receive(connection, 4)
    assert head is not None
    body = messages._receive(connection, int.from_bytes(head, "little"))
    return messages._from_worker.decode(body)


def test_a_worker_on_cuda_1_computes_on_that_gpu_and_is_called_so(
    original: Path, rng: np.random.Generator
) -> None:
    rows = [random_row(rng, 9, 1), random_row(rng, 30, None)]
    word, vectors = started(original, "cuda:1", "2,1,0", rows)
    assert isinstance(word, messages.Started)
    assert word.device == "cuda:1, emulated GPU 1 of 1 seen, without CUDA graphs"
    assert vectors is not None
    expected = embedder.load(original, "cpu", "float32").embed(rows)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_a_gpu_that_is_not_there_is_said_of_all_that_are(original: Path) -> None:
    word, _ = started(original, "cuda:3", None)
    assert isinstance(word, messages.StartFailed)
    assert word.reason == "cuda:3 is not here. Choose cuda:0, cuda:1, cuda:2, cpu or auto."


def test_what_the_settings_and_the_model_both_say_agrees() -> None:
    fields = Settings.model_fields
    assert fields["default_task"].default == DEFAULT_TASK
    assert app_settings.NO_TASK == NO_TASK
    (most,) = (each.le for each in fields["max_batch_tokens"].metadata if hasattr(each, "le"))
    assert most == 2 * MAX_ROWS  # the shortest row of the service has two tokens, the special ones
