"""Verify: compares a checkpoint and this encoder with published values of jina-embeddings-v3.

golden.json has the tokenizer's ids, the sha256 of base weights, hidden states, and vectors of every
task. Values are compared in float32, as they were published. A checkpoint of another shape is
another model, and is not compared.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model import embedder
from model.config import CheckpointError, EncoderConfig, read_config
from model.embedder import Embedder
from model.encoder import as_published
from model.hub import locate
from model.lora import AdaptedLinear
from model.packing import pack
from model.rows import Row, Vectors
from model.tasks import Task, UnknownTaskError

GOLDEN = Path(__file__).parent / "golden.json"
_SHOWN_CHARACTERS = 36
_PARTS = {"token_ids", "weights", "hidden", "vectors"}
NOTHING_TO_COMPARE = 2


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one comparison. `found` is the distance, or what is wrong."""

    kind: str
    subject: str
    found: str
    passed: bool


def verify(model: str, revision: str | None, golden: str | None, device: str = "auto") -> int:
    """Compare a checkpoint with published values, print a table, and return the exit status.

    0: all agree. 1: some do not. 2: it is another model, and nothing was compared.
    `model` is a folder, a hub id or quintet-mini; `golden` is another file in the form of
    golden.json.

    Raises:
        CheckpointError: the checkpoint cannot be loaded, or `golden` cannot be read.
    """
    folder = locate(model, revision)
    path = Path(golden or GOLDEN)
    published, config = _published(path), read_config(folder)
    with _in_its_form(path):
        other = _other_shape(config, published.get("shape", {}))
    if other:
        print(f"{model} is another model than the published values are of: {other}.")  # noqa: T201
        print("There is nothing to compare it with.")  # noqa: T201
        return NOTHING_TO_COMPARE
    loaded = embedder.load(folder, device, "float32")
    print(f"{model} on {loaded.device_name} in float32, attention by {loaded.attention}")  # noqa: T201
    failed = total = 0
    for check in _checks(loaded, published, path):
        verdict = "pass" if check.passed else "FAIL"
        print(f"{verdict}  {check.kind:<9} {check.subject:<56} {check.found}", flush=True)  # noqa: T201
        total, failed = total + 1, failed + (not check.passed)
    print(f"{total - failed} of {total} agree with the published values.")  # noqa: T201
    return 1 if failed else 0


@contextmanager
def _in_its_form(path: Path) -> Iterator[None]:
    """
    Raises:
        CheckpointError: what the block reads of the published values is not there, or of another
            type or shape.
    """
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        why = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise CheckpointError(f"{path} is not in the form of golden.json ({why}).") from error


def _checks(loaded: Embedder, published: dict[str, Any], path: Path) -> Iterator[Check]:
    with _in_its_form(path):
        yield from compare(loaded, published)


def _published(path: Path) -> dict[str, Any]:
    try:
        published: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON: {error}.") from None
    if not isinstance(published, dict) or not published.keys() >= _PARTS:
        raise CheckpointError(f"{path} must have {', '.join(sorted(_PARTS))}, as golden.json has.")
    return published


def _other_shape(config: EncoderConfig, shape: dict[str, int]) -> str:
    """The differences between a checkpoint's shape and the published one; "" if there are none."""
    return ", ".join(
        f"its {name} is {getattr(config, name)} and not {value}"
        for name, value in shape.items()
        if getattr(config, name) != value
    )


def compare(loaded: Embedder, published: dict[str, Any]) -> Iterator[Check]:
    """One check for each published value, the tokenizer's first."""
    for each in published["token_ids"]["items"]:
        yield _token_ids(loaded, each)
    for name, digest in published["weights"]["items"].items():
        yield _weight(loaded, name, digest)
    for each in published["hidden"]:
        yield _hidden(loaded, each)
    for each in published["vectors"]:
        yield _vector(loaded, each)


def _token_ids(loaded: Embedder, each: dict[str, Any]) -> Check:
    row = loaded.tokenizer.rows([each["text"]], Task(None, None, "")).rows[0]
    same = row.token_ids.tolist() == each["ids"]
    found = f"{len(row)} tokens" if same else f"{row.token_ids.tolist()}, not {each['ids']}"
    return Check("tokens", _short(each["text"]), found, same)


def _weight(loaded: Embedder, name: str, digest: str) -> Check:
    path, _, part = name.partition("[")
    module, _, attribute = path.rpartition(".")
    layer = loaded.encoder.get_submodule(module)
    weight = layer.base_weight() if isinstance(layer, AdaptedLinear) else getattr(layer, attribute)
    if part:
        weight = as_published(weight, loaded.config).chunk(3)["qkv".index(part[0])]
    found = hashlib.sha256(weight.cpu().contiguous().numpy().astype("<f4").tobytes()).hexdigest()
    return Check("weights", name, f"sha256 {found[:16]}...", found == digest)


def _hidden(loaded: Embedder, each: dict[str, Any]) -> Check:
    subject = f"{each['source']}, {each['task'] or 'base'}"
    found = _hidden_or_reason(loaded, each, np.array(each["ids"], dtype=np.int32))
    if isinstance(found, str):
        return Check("hidden", subject, found, passed=False)
    rows, columns = slice(*each["rows"]), slice(*each["columns"])
    return _distance("hidden", subject, found[rows, columns], each["values"], each["tolerance"])


def _vector(loaded: Embedder, each: dict[str, Any]) -> Check:
    """The published vectors are of texts without an instruction, for every task."""
    subject = f"{each['task']}: {_short(each['text'])}"
    row = loaded.tokenizer.rows([each["text"]], Task(None, None, "")).rows[0]
    found = _hidden_or_reason(loaded, each, row.token_ids)
    if isinstance(found, str):
        return Check("vector", subject, found, passed=False)
    mean = found.mean(axis=0)
    first = (mean / np.linalg.norm(mean))[: len(each["first"])]
    return _distance("vector", subject, first, each["first"], each["tolerance"])


def _hidden_or_reason(loaded: Embedder, each: dict[str, Any], token_ids: Any) -> Vectors | str:
    """Hidden states (L, D) of token ids with the task's adapter, or why there are none."""
    try:
        task = replace(loaded.tasks.by_name(each["task"]), instruction="")
    except UnknownTaskError as error:
        return str(error)
    if token_ids.max() >= loaded.config.vocab_size:
        return f"id {token_ids.max()} is not among {loaded.config.vocab_size} tokens"
    with torch.inference_mode():
        hidden = loaded.encoder(pack([Row.single_span(token_ids, task.adapter)], loaded.device))
    return np.asarray(hidden.float().cpu().numpy(), dtype=np.float32)


def _distance(kind: str, subject: str, found: Vectors, expected: Any, tolerance: float) -> Check:
    wanted = np.asarray(expected, dtype=np.float32)
    if found.shape != wanted.shape:
        return Check(kind, subject, f"shape {found.shape}, not {wanted.shape}", passed=False)
    distance = float(np.abs(found - wanted).max())
    return Check(kind, subject, f"off by {distance:.1e} of {tolerance:.0e}", distance <= tolerance)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."
