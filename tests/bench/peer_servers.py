"""The servers that bench_peers visits: their configurations, how they are started and ended."""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import torch
from transformers import XLMRobertaConfig, XLMRobertaModel

from tests.bench.texts import WORDS
from tests.checkpoints import MINI, Shape, write_original
from tests.server import start

SERVE = Path(__file__).parent / "peers" / "serve.py"


class NotStartedError(Exception):
    """A server that ends at once: what it asks for is not there."""


@dataclass(frozen=True)
class Configuration:
    """`kind` is quintet, infinity or a backend of tests/bench/peers/backends.py; `arguments` are
    its command line's, `settings` Quintet's."""

    kind: str
    dtype: str
    arguments: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    mixed: bool = False

    @property
    def path(self) -> str:
        return "/embeddings" if self.kind == "infinity" else "/v1/embeddings"


def _infinity(engine: str, dtype: str, *more: str) -> Configuration:
    return Configuration("infinity", dtype, ("--engine", engine, "--dtype", dtype, *more))


CONFIGURATIONS = {
    "quintet auto": Configuration("quintet", "auto", mixed=True),
    "quintet auto, one task": Configuration("quintet", "auto"),
    "quintet float32": Configuration("quintet", "float32", mixed=True),
    "quintet bfloat16": Configuration("quintet", "bfloat16", mixed=True),
    "quintet int8": Configuration("quintet", "int8", mixed=True),
    "openvino bfloat16": Configuration("openvino", "bfloat16"),
    "openvino float32": Configuration("openvino", "float32"),
    "openvino int8, rest bfloat16": Configuration("openvino", "int8-bfloat16"),
    "openvino int8, rest float32": Configuration("openvino", "int8-float32"),
    "onnxruntime float32": Configuration("onnxruntime", "float32"),
    "onnxruntime int8": Configuration("onnxruntime", "int8"),
    "sentence-transformers bfloat16": Configuration("sentence-transformers", "bfloat16"),
    "sentence-transformers float32": Configuration("sentence-transformers", "float32"),
    "infinity torch bfloat16": _infinity("torch", "bfloat16"),
    "infinity torch float32": _infinity("torch", "float32"),
    "infinity torch int8": _infinity("torch", "int8"),
    "infinity optimum float32": _infinity("optimum", "float32", "--onnx-do-not-prefer-quantized"),
    "infinity optimum int8": _infinity("optimum", "float32"),
}


def checkpoints(folder: Path, shape: Shape) -> None:
    """Ours, and an XLM-RoBERTa of that shape as sentence-transformers saves it, where they are not
    there yet."""
    if (folder / "plain" / "words.txt").exists():
        return
    (folder / "quintet").mkdir(parents=True)
    write_original(folder / "quintet", shape)
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
    plain = folder / "plain"
    XLMRobertaModel(config).save_pretrained(plain)
    shutil.copy(MINI / "tokenizer.json", plain)
    names = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    names |= {"mask_token": "<mask>", "cls_token": "<s>", "sep_token": "</s>"}
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, **names}
    (plain / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {
            "idx": 1,
            "name": "1",
            "path": "1_Pooling",
            "type": "sentence_transformers.models.Pooling",
        },
    ]
    (plain / "modules.json").write_text(json.dumps(modules))
    (plain / "sentence_bert_config.json").write_text('{"max_seq_length": 512}')
    (plain / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": shape.width, "pooling_mode_mean_tokens": True}
    (plain / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (plain / "words.txt").write_text(" ".join(WORDS))


@contextmanager
def started(
    configuration: Configuration, folder: Path, options: argparse.Namespace
) -> Iterator[tuple[str, int]]:
    """A running server: its address and process id."""
    if configuration.kind == "quintet":
        settings = {"dtype": configuration.dtype, "cache_bytes": 0, **configuration.settings}
        own = start(model=folder / "quintet", **settings)
        try:
            try:
                own.wait_until_ready()
            except AssertionError as error:
                raise NotStartedError(str(error)) from None
            yield own.url, own.process.pid
        finally:
            own.stop()
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    plain = folder / "plain"
    command = _command(configuration, port, options)
    # infinity keeps what it has optimised in the cache, and would take it for any other precision.
    cache = "cache-" + "".join(configuration.arguments)
    quiet = {"DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / cache)}
    log = (folder / "log").open("w+")
    process = subprocess.Popen(
        command, cwd=plain, env=os.environ | quiet, stdout=log, stderr=subprocess.STDOUT
    )
    url = f"http://127.0.0.1:{port}"
    try:
        while not _answers(url):
            if process.poll() is not None:
                log.seek(0)
                raise NotStartedError(f"{' '.join(command)}:\n{log.read()[-2000:]}")
            time.sleep(0.2)
        yield url, process.pid
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _command(configuration: Configuration, port: int, options: argparse.Namespace) -> list[str]:
    """It runs in the model's folder: of a local model infinity finds an ONNX file only there."""
    if configuration.kind == "infinity":
        own = [options.infinity, "v2", "--model-id", ".", "--served-model-name", "bench"]
        own += ["--port", str(port), "--device", "cpu", "--no-bettertransformer", "--log-level"]
        return [*own, "warning", *configuration.arguments]
    own = [options.python, str(SERVE), configuration.kind, configuration.dtype, str(port)]
    return [*own, ".", *configuration.arguments, *options.batcher]


def _answers(url: str) -> bool:
    try:
        httpx.get(f"{url}/health", timeout=120)
    except httpx.TransportError:
        return False
    return True
