"""Quintet's Python API beside sentence-transformers, on one device, in one run.

    python -m tests.bench.bench_library [--shape full-size] [--device cuda:0] [--rounds 5]
                                        [--short 4096] [--bulk 1024] [--checkpoint FOLDER]

The same random checkpoint in the -hf layout, the same texts, both in bfloat16 where the device has
it. Quintet: `embed_texts`; with tasks mixed, the rows of all tasks in one `embed`. The peer at its
best: transformers' own JinaEmbeddingsV3Model with the adapter merged into the weights, or for mixed
tasks one adapter after the other; its sorting by length; the best of its batch sizes, and
FlashAttention without padding where that is installed. Both give float32 vectors on the host.
Rounds go over all cases in turn; medians. Both are judged by the peer in float32: its cosine to
Quintet in float32, and to both as they are measured. A table for people, one JSON line last.
"""

import argparse
import gc
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from model import embedder
from model.embedder import Embedder
from model.memory import keep_freed_memory
from model.rows import Vectors, normalised
from tests.bench.bench_model import SHAPES
from tests.bench.checkpoint import checkpoint
from tests.bench.texts import WORDS, texts_of_tokens
from tests.checkpoints import TASKS

TASK = "text-matching"
BATCH_SIZES = [32, 64, 128, 256, 512]
SHORT = range(5, 31)  # tokens of a short text
BULK_TOKENS = 512
# Texts whose vectors are compared; in float32 each is the same but for rounding. In bfloat16 the
# random weights of 24 layers make rounding grow in a few texts (in 1 of 1,000 the cosine to float32
# is below .99, for either side), so that the median is compared.
COMPARED = 64
SAME, SIMILAR = 0.9999, 0.995
Work = Callable[[], Vectors]


class Peer:
    """The checkpoint in sentence-transformers."""

    def __init__(self, folder: Path, device: str, dtype: torch.dtype, attention: str) -> None:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.models import Pooling, Transformer
        from transformers.utils import logging

        logging.set_verbosity_error()  # of an adapter it says that the others' tensors are missing
        options = {"dtype": dtype, "attn_implementation": attention}
        word = Transformer(str(folder), model_kwargs=options)
        pooling = Pooling(word.get_embedding_dimension())
        self._model = SentenceTransformer(modules=[word, pooling], device=device)
        self._jina = word.model
        for task in TASKS:
            name = _adapter(task)
            self._jina.load_adapter(str(folder / name), adapter_name=name)
        self._jina.to(device=device, dtype=dtype)
        self._merged = ""

    def embed(self, texts: list[str], task: str, batch_size: int, *, merged: bool) -> Vectors:
        """Unit vectors of the texts (n, D)."""
        self._take(task, merged=merged)
        found: Vectors = self._model.encode(
            texts, prompt=TASKS[task], batch_size=batch_size, normalize_embeddings=True
        )
        return found

    def mixed(self, texts: list[str], tasks: list[str], batch_size: int) -> Vectors:
        """The same where each text has a task of its own."""
        found = np.empty((len(texts), self._jina.config.hidden_size), np.float32)
        for task in TASKS:
            own = [index for index, each in enumerate(tasks) if each == task]
            part = [texts[index] for index in own]
            found[own] = self.embed(part, task, batch_size, merged=False)
        return found

    def _take(self, task: str, *, merged: bool) -> None:
        """Switch to the task's adapter, in the weights or beside them."""
        wanted = task if merged else ""
        if self._merged != wanted:
            for layer in self._layers():
                layer.unmerge() if self._merged else None
        self._jina.set_adapter(_adapter(task))
        if wanted and self._merged != wanted:
            for layer in self._layers():
                layer.merge(adapter_names=[_adapter(task)])
        self._merged = wanted

    def _layers(self) -> Iterator[Any]:
        from peft.tuners.tuners_utils import BaseTunerLayer

        return (each for each in self._jina.modules() if isinstance(each, BaseTunerLayer))


def _adapter(task: str) -> str:
    return task.replace(".", "_").replace("-", "_")


def quintet_mixed(loaded: Embedder, texts: list[str], tasks: list[str]) -> Vectors:
    """Texts with a task each, in one call, as the service does it."""
    rows: list[Any] = [None] * len(texts)
    for task in TASKS:
        own = [index for index, each in enumerate(tasks) if each == task]
        part = [texts[index] for index in own]
        found = loaded.tokenizer.rows(part, loaded.tasks.by_name(task)).rows
        for index, row in zip(own, found, strict=True):
            rows[index] = row
    return normalised(loaded.embed(rows))


def timed(work: Work) -> float:
    """Seconds of one call; its vectors are on the host, so that nothing is outstanding."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def worst_cosine(one: Vectors, other: Vectors) -> float:
    """Of unit vectors (n, D) with others."""
    return float(np.einsum("nd,nd->n", one, other).min())


def measure(loaded: Embedder, peer: Peer, options: argparse.Namespace) -> dict[str, Any]:
    """Texts per second of both, in turn."""
    rng, tokenizer = random.Random(0), loaded.tokenizer
    lengths = dict(zip(WORDS, map(len, tokenizer.ids(WORDS)), strict=True))
    single = [word for word, length in lengths.items() if length == 1]
    short = [" ".join(rng.choices(single, k=rng.choice(SHORT) - 2)) for _ in range(options.short)]
    tasks = [task for task, _ in zip(cycle(TASKS), short)]
    bulk = texts_of_tokens(tokenizer, options.bulk, BULK_TOKENS)
    own: dict[str, Work] = {
        "short": lambda: loaded.embed_texts(short, TASK, progress=False),
        "short, tasks mixed": lambda: quintet_mixed(loaded, short, tasks),
        "bulk": lambda: loaded.embed_texts(bulk, TASK, progress=False),
    }
    theirs: dict[str, Callable[[int], Vectors]] = {
        "short": lambda size: peer.embed(short, TASK, size, merged=True),
        "short, tasks mixed": lambda size: peer.mixed(short, tasks, size),
        "bulk": lambda size: peer.embed(bulk, TASK, size, merged=True),
    }
    counts = {"short": len(short), "short, tasks mixed": len(short), "bulk": len(bulk)}
    found: dict[str, Any] = {}
    for name, work in own.items():
        both = work(), theirs[name](max(options.batch_sizes))  # warms up, too
        cosine = float(np.median(np.einsum("nd,nd->n", *both)))
        assert cosine > SIMILAR, f"{name}: not the same vectors, a median cosine of {cosine}"
        sizes = {size: timed(partial(theirs[name], size)) for size in options.batch_sizes}
        found[name] = {"peer_batch": min(sizes, key=sizes.__getitem__)}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in own}
    for _ in range(options.rounds):
        for name, work in own.items():
            their_work = partial(theirs[name], found[name]["peer_batch"])
            seconds[name].append((timed(work), timed(their_work)))
    for name, pairs in seconds.items():
        found[name] |= {
            "quintet_per_s": counts[name] / median(first for first, _ in pairs),
            "peer_per_s": counts[name] / median(second for _, second in pairs),
            "ratio": median(second / first for first, second in pairs),
        }
    return found


class Judge:
    """Texts of all tasks and their vectors by the peer in float32."""

    def __init__(self, path: Path, device: str) -> None:
        rng = random.Random(1)
        self._texts = [" ".join(rng.choices(WORDS, k=rng.randint(1, 60))) for _ in range(COMPARED)]
        self._tasks = [task for task, _ in zip(cycle(TASKS), self._texts)]
        peer = Peer(path, device, torch.float32, "sdpa")
        self._expected = peer.mixed(self._texts, self._tasks, 16)

    def quintet(self, loaded: Embedder) -> float:
        """The worst cosine of Quintet's vectors."""
        return worst_cosine(quintet_mixed(loaded, self._texts, self._tasks), self._expected)

    def peer(self, peer: Peer) -> float:
        """The worst cosine of the peer's, in another dtype."""
        return worst_cosine(peer.mixed(self._texts, self._tasks, 16), self._expected)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="6x384")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--short", type=int, default=4096, help="short texts")
    parser.add_argument("--bulk", type=int, default=1024, help="texts of 512 tokens")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=BATCH_SIZES)
    parser.add_argument("--checkpoint", help="folder of checkpoints, written where missing")
    options = parser.parse_args()
    keep_freed_memory()  # as a worker does
    with ExitStack() as stack:
        folder = options.checkpoint or stack.enter_context(tempfile.TemporaryDirectory())
        path = checkpoint(Path(folder), options.shape)
        judge = Judge(path, options.device)
        in_float32 = judge.quintet(embedder.load(path, options.device, "float32"))
        assert in_float32 >= SAME, f"not the same vectors in float32, cosine {in_float32}"
        gc.collect()
        loaded = embedder.load(path, options.device)
        loaded.warm_up()
        attention = "flash_attention_2" if find_spec("flash_attn") else "sdpa"
        peer = Peer(path, options.device, getattr(torch, loaded.dtype), attention)
        results = measure(loaded, peer, options)
        facts = {
            "device": loaded.device_name,
            "dtype": loaded.dtype,
            "shape": options.shape,
            "peer_attention": attention,
            "cosine_float32": round(in_float32, 6),
            "quintet_cosine": round(judge.quintet(loaded), 6),
            "peer_cosine": round(judge.peer(peer), 6),
        }
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    for name, found in results.items():
        print(f"{name:>20} ", "  ".join(f"{key} {value:.5g}" for key, value in found.items()))
    print(json.dumps({"bench": "library", **facts, "results": results}))


if __name__ == "__main__":
    main()
