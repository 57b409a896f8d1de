"""How each peer computes: at its best on a CPU, by its maker's own advice.

Each gives a function from token ids, a padded batch (rows, tokens) and its mask, to hidden states.
bench_peers.py has the table of the configurations.
"""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np

Hidden = Callable[[np.ndarray, np.ndarray], np.ndarray]  # ids, mask -> (rows, tokens, width)
NAMES = ["input_ids", "attention_mask"]


def torch_model(folder: Path, attention: str = "sdpa"):
    """The model of transformers."""
    from transformers import AutoModel

    return AutoModel.from_pretrained(folder, attn_implementation=attention).eval()


def last_hidden(model):
    """The model as a module that gives the last hidden states only."""
    import torch

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask)[0]

    return Module()


def sentence_transformers(folder: Path, dtype: str) -> Hidden:
    """Its Transformer module, under inference mode as its encode() has it."""
    import torch
    from sentence_transformers.models import Transformer

    module = Transformer(str(folder), max_seq_length=512, model_kwargs={"dtype": dtype})

    def hidden(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            features = {
                "input_ids": torch.from_numpy(ids),
                "attention_mask": torch.from_numpy(mask),
            }
            return module(features)["token_embeddings"].float().numpy()

    return hidden


def openvino(folder: Path, dtype: str) -> Hidden:
    """One request at a time on all cores; int8 has its other operations in `rest`."""
    import openvino

    dtype, _, rest = dtype.partition("-")
    path = folder / ("int8.xml" if dtype == "int8" else "float.xml")
    if not path.exists():
        openvino.save_model(_converted(folder, dtype), path, compress_to_fp16=False)
    precision = {"float32": "f32", "bfloat16": "bf16"}[rest or dtype]
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    request = openvino.Core().compile_model(path, "CPU", hints).create_infer_request()
    return lambda ids, mask: request.infer([ids, mask], share_inputs=True)[0]


def _converted(folder: Path, dtype: str):
    """The model in OpenVINO's form; in int8 weights and activations are."""
    import openvino
    import torch

    example = {name: torch.ones(2, 16, dtype=torch.int64) for name in NAMES}
    model = openvino.convert_model(last_hidden(torch_model(folder)), example_input=example)
    if dtype != "int8":
        return model
    import nncf

    samples = [dict(zip(NAMES, each, strict=True)) for each in calibration(folder)]
    return nncf.quantize(
        model, nncf.Dataset(samples), model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(samples),
    )  # fmt: skip


def onnxruntime(folder: Path, dtype: str) -> Hidden:
    """Fused by its transformers optimizer; int8 by its dynamic quantisation."""
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    plain, path = folder / "model.onnx", folder / "fused.onnx"  # infinity takes the plain one
    quantised = folder / "int8.onnx"
    if not path.exists():
        export(folder, plain)
        _fuse(folder, plain, path)
    if dtype == "int8" and not quantised.exists():
        # Of its own fused operations it cannot infer the type.
        types = {"DefaultTensorType": 1}
        options = {"per_channel": True, "weight_type": QuantType.QInt8, "extra_options": types}
        quantize_dynamic(path, quantised, **options)
        quantize_dynamic(plain, plain.with_name("model_quantized.onnx"), **options)  # infinity's
    chosen = quantised if dtype == "int8" else path
    session = onnxruntime.InferenceSession(str(chosen), providers=["CPUExecutionProvider"])
    return lambda ids, mask: session.run(
        ["last_hidden_state"], dict(zip(NAMES, (ids, mask), strict=True))
    )[0]


def export(folder: Path, path: Path) -> None:
    """The model in ONNX's form, as it is."""
    import torch

    example = (torch.ones(2, 16, dtype=torch.int64), torch.ones(2, 16, dtype=torch.int64))
    torch.onnx.export(
        last_hidden(torch_model(folder, "eager")), example, str(path), input_names=NAMES,
        output_names=["last_hidden_state"], opset_version=17, dynamo=False,
        dynamic_axes={name: {0: "rows", 1: "tokens"} for name in (*NAMES, "last_hidden_state")},
    )  # fmt: skip


def _fuse(folder: Path, plain: Path, path: Path) -> None:
    """Fuse attention, GELU and norms."""
    from onnxruntime.transformers.optimizer import optimize_model

    config = json.loads((folder / "config.json").read_text())
    heads, width = config["num_attention_heads"], config["hidden_size"]
    fused = optimize_model(str(plain), "bert", num_heads=heads, hidden_size=width, opt_level=1)
    print("onnxruntime fused", fused.get_fused_operator_statistics(), flush=True)
    fused.save_model_to_file(str(path))


def calibration(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """300 batches of the texts that are measured: short ones, long ones, mixed."""
    from tokenizers import Tokenizer

    tokenizer, rng = Tokenizer.from_file(str(folder / "tokenizer.json")), Random(0)
    tokenizer.enable_padding(pad_id=1)
    words = (folder / "words.txt").read_text().split()
    found = []
    for number in range(300):
        length = (12, 96)[number % 2]
        texts = [" ".join(rng.choices(words, k=length)) for _ in range(4)]
        encodings = tokenizer.encode_batch(texts)
        found.append(
            tuple(
                np.array([getattr(each, name) for each in encodings], np.int64)
                for name in ("ids", "attention_mask")
            )
        )
    return found


BACKENDS = {
    "sentence-transformers": sentence_transformers,
    "openvino": openvino,
    "onnxruntime": onnxruntime,
}
