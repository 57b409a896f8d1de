"""A peer behind a naive server: one task, one model, a lock, as one would write it in an hour.

    python serve.py BACKEND PORT FOLDER     # sentence-transformers | openvino | onnxruntime

Runs in an environment of its own (requirements.txt). FOLDER has config.json, model.safetensors and
tokenizer.json of an XLM-RoBERTa, random weights, of the same shape as the Quintet beside it. What
each gets: the best dtype it has on a CPU, batches sorted by length of at most 64 texts, base64.
"""

import base64
import sys
import threading
from collections.abc import Callable

import numpy as np
import uvicorn
from fastapi import FastAPI, Response
from pydantic import BaseModel

Embed = Callable[[list[str]], np.ndarray]
BATCH = 64


class Request(BaseModel):
    """What the load generator sends; the task is ignored: there is one."""

    input: list[str]


def sentence_transformers(folder: str) -> Embed:
    """In bfloat16 where the machine multiplies it."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    word = Transformer(folder, max_seq_length=512)
    model = SentenceTransformer(modules=[word, Pooling(word.get_embedding_dimension())])
    if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
        model = model.bfloat16()

    def embed(texts: list[str]) -> np.ndarray:
        return model.encode(
            texts, batch_size=BATCH, normalize_embeddings=True, convert_to_tensor=True,
            show_progress_bar=False,
        ).float().numpy()  # fmt: skip

    return embed


def openvino(folder: str) -> Embed:
    """Its CPU plugin, throughput hint off, bfloat16 where the machine has it."""
    import openvino
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, attn_implementation="sdpa").eval()
    example = {
        name: torch.ones(2, 16, dtype=torch.int64) for name in ("input_ids", "attention_mask")
    }
    converted = openvino.convert_model(Hidden(model), example_input=example)
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "bf16"}
    compiled = openvino.Core().compile_model(converted, "CPU", hints)
    print("openvino computes in", compiled.get_property("INFERENCE_PRECISION_HINT"), flush=True)
    return by_tokens(folder, lambda inputs: compiled(inputs)[0])


def onnxruntime(folder: str) -> Embed:
    """float32, with its transformer fusions' default level."""
    import onnxruntime
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, attn_implementation="sdpa").eval()
    path = f"{folder}/model.onnx"
    example = (torch.ones(2, 16, dtype=torch.int64), torch.ones(2, 16, dtype=torch.int64))
    axes = {0: "rows", 1: "tokens"}
    names = ["input_ids", "attention_mask"]
    torch.onnx.export(
        Hidden(model), example, path, input_names=names, output_names=["hidden"],
        dynamic_axes=dict.fromkeys([*names, "hidden"], axes), opset_version=17, dynamo=False,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return by_tokens(folder, lambda inputs: session.run(["hidden"], inputs)[0])


def by_tokens(folder: str, hidden_of: Callable[[dict], np.ndarray]) -> Embed:
    """Tokenise, pad, run, pool, normalise."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.enable_padding(pad_id=1)
    tokenizer.enable_truncation(512)

    def embed(texts: list[str]) -> np.ndarray:
        encodings = tokenizer.encode_batch(texts)
        ids = np.array([each.ids for each in encodings], np.int64)
        mask = np.array([each.attention_mask for each in encodings], np.int64)
        hidden = hidden_of({"input_ids": ids, "attention_mask": mask}).astype(np.float32)
        pooled = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    return embed


def Hidden(model):  # noqa: N802
    """The model as a module that gives the last hidden states only."""
    import torch

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask)[0]

    return Module()


BACKENDS = {
    "sentence-transformers": sentence_transformers,
    "openvino": openvino,
    "onnxruntime": onnxruntime,
}


def main() -> None:
    """Load and serve."""
    backend, port, folder = sys.argv[1:]
    embed, busy = BACKENDS[backend](folder), threading.Lock()
    app = FastAPI()

    @app.post("/v1/embeddings")
    def embeddings(request: Request) -> Response:
        with busy:
            vectors = embed(request.input)
        data = ",".join(
            f'{{"object":"embedding","index":{index},"embedding":"{base64.b64encode(row).decode()}"}}'
            for index, row in enumerate(vectors.astype("<f4"))
        )
        return Response(f'{{"data":[{data}]}}', media_type="application/json")

    embed(["warm up"] * 4)
    uvicorn.run(app, port=int(port), log_level="warning")


if __name__ == "__main__":
    main()
