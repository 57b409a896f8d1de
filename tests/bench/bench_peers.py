"""Quintet with five tasks mixed beside other servers with one task, in one run.

    python -m tests.bench.bench_peers --python PEERS/bin/python [--shape 6x384] [--rounds 5]

Random weights of one shape: Quintet's with adapters and rotary positions, the peers' a plain
XLM-RoBERTa without either (tests/bench/peers). The same texts, the same tokenizer, base64, the load
generator on the same cores. All are started, and measured in turn, round by round; who is not
measured is stopped (SIGSTOP). Medians. A table for people, one JSON line last.
"""

import argparse
import asyncio
import json
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import httpx
import psutil
import torch
from transformers import XLMRobertaConfig, XLMRobertaModel

from tests.bench.bench_model import SHAPES
from tests.bench.texts import requests, texts
from tests.checkpoints import MINI, Shape, write_original
from tests.load import closed_loop
from tests.server import running

PEERS = ("openvino", "onnxruntime", "sentence-transformers")
SERVE = Path(__file__).parent / "peers" / "serve.py"
# Clients, inputs of a request, words of an input, and how many times longer it is measured: a
# window must have many whole requests, and Quintet works on all clients' at once.
LOADS = {
    "16 clients, one text of 12 words": (16, 1, 12, 1),
    "4 clients, 32 texts of 96": (4, 32, 96, 5),
}


def write_plain(folder: Path, shape: Shape) -> Path:
    """An XLM-RoBERTa of that shape as transformers saves it."""
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.inner,
        max_position_embeddings=8194,
        type_vocab_size=1,
    )
    XLMRobertaModel(config).save_pretrained(folder)
    shutil.copy(MINI / "tokenizer.json", folder)
    names = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    names |= {"mask_token": "<mask>", "cls_token": "<s>", "sep_token": "</s>"}
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return folder


@contextmanager
def peer(python: str, backend: str, folder: Path) -> Iterator[tuple[str, int]]:
    """A running peer: its address and process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([python, str(SERVE), backend, str(port), str(folder)])
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                httpx.get(url)
                break
            except httpx.TransportError:
                assert process.poll() is None, f"{backend} does not start"
                time.sleep(0.2)
        yield url, process.pid
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


def stand_still(pid: int, *, still: bool) -> None:
    """Stop a server and its workers, or let them go on."""
    process = psutil.Process(pid)
    for each in (process, *process.children(recursive=True)):
        each.suspend() if still else each.resume()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--python", required=True, help="of the peers' environment")
    parser.add_argument("--shape", choices=SHAPES, default="6x384")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6)
    options = parser.parse_args()
    shape = SHAPES[options.shape]
    rates: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        plain = write_plain(folder / "plain", shape)
        servers = {}
        for name in PEERS:
            servers[name] = stack.enter_context(peer(options.python, name, plain))
        own = stack.enter_context(
            running(model=write_original(folder / "own", shape), cache_bytes=0)
        )
        servers["quintet, five tasks"] = own.url, own.process.pid
        stack.callback(lambda: [stand_still(pid, still=False) for _, pid in servers.values()])
        for _, pid in servers.values():
            stand_still(pid, still=True)
        for turn in range(options.rounds + 1):
            for load, (clients, inputs, words, longer) in LOADS.items():
                seconds = options.seconds * longer
                make = requests([texts(inputs, words, seed) for seed in range(40)], "base64")
                for name, (url, pid) in servers.items():
                    stand_still(pid, still=False)
                    outcome = asyncio.run(closed_loop(url, clients, seconds, make))
                    stand_still(pid, still=True)
                    assert not outcome.failed, (name, outcome.kinds)
                    if turn:
                        rate = outcome.goodput * inputs
                        rates.setdefault(load, {}).setdefault(name, []).append(rate)
    results = {
        load: {name: median(each) for name, each in of.items()} for load, of in rates.items()
    }
    for load, found in results.items():
        print(f"\n{load}: embeddings per second")
        best = max(rate for name, rate in found.items() if name in PEERS)
        for name, rate in found.items():
            print(f"  {name:>24} {rate:8.1f}   {rate / best:.2f} of the best peer")
    print(json.dumps({"bench": "peers", "shape": options.shape, "results": results}))


if __name__ == "__main__":
    main()
