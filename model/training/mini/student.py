"""Student: some layers of the teacher in the architecture of jina-embeddings-v3, before healing.

The weights are the teacher's. What differs is where a token stands: the teacher adds a learned
vector for each position to the words, the student turns queries and keys (RoPE). The mean of the
position vectors goes into the token type's row, so that the first norm sees what it saw before.

Matrices are kept in float8: the teacher has four bits a number, so that little is lost, and pieces
or layers that are left out cost more. The student is healed with what float8 holds.

V vocabulary, D hidden.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from model.modules import WORD
from model.training.export import cast
from model.training.mini.teacher_file import TeacherFile
from model.training.weights import Weights

# Matryoshka sizes below the width, which is the last one.
_SIZES = (32, 64, 128, 256)
_TASK_FIELDS = {
    "lora_adaptations": [
        *("retrieval.query", "retrieval.passage", "separation", "classification", "text-matching")
    ],
    "task_instructions": {
        "retrieval.query": "Represent the query for retrieving evidence documents: ",
        "retrieval.passage": "Represent the document for retrieval: ",
        "separation": "",
        "classification": "",
        "text-matching": "",
    },
    "lora_rank": 4,
    "lora_alpha": 1,
}
_SPECIAL = {"bos": 0, "pad": 1, "eos": 2}
_SHAPE = {
    **{f"{name}_token_id": number for name, number in _SPECIAL.items()},
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-05,
    "lora_dropout_p": 0.0,
    "max_position_embeddings": 8194,
    "position_embedding_type": "rotary",
    "rotary_emb_base": 1_000_000.0,
    "type_vocab_size": 1,
    "emb_pooler": None,
    "truncate_dim": None,
}
# The published names of a block's parts, and the teacher's.
_BLOCK = {
    "mixer.Wqkv": ("q", "k", "v"),
    "mixer.out_proj": ("ao",),
    "norm1": ("aln",),
    "mlp.fc1": ("fi",),
    "mlp.fc2": ("fo",),
    "norm2": ("oln",),
}
_KINDS = {"weight": "w", "bias": "b"}
_WORDS = f"{WORD.base}.weight"
_MATRIX_DTYPE, _DTYPE = torch.float8_e4m3fn, torch.float16


def student_of(teacher: TeacherFile, layers: Sequence[int], pieces: Sequence[int]) -> Weights:
    """The student with these layers of the teacher and these of its pieces; it has no adapters."""
    shape = teacher.shape
    words = teacher.matrix("emb.word", shape.hidden)[torch.tensor(pieces)]
    fields: dict[str, Any] = {
        **_SHAPE,
        **_TASK_FIELDS,
        "vocab_size": len(pieces),
        "hidden_size": shape.hidden,
        "matryoshka_dimensions": [
            *(size for size in _SIZES if size < shape.hidden),
            shape.hidden,
        ],
        "num_hidden_layers": len(layers),
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.intermediate,
    }
    base = {
        _WORDS: rounded(words),
        "embeddings.token_type_embeddings.weight": _type_row(teacher)[None],
        "emb_ln.weight": teacher.tensor("emb.ln.w"),
        "emb_ln.bias": teacher.tensor("emb.ln.b"),
    }
    for place, layer in enumerate(layers):
        for name, parts in _BLOCK.items():
            for kind, short in _KINDS.items():
                found = [_part(teacher, f"l{layer}.{part}.{short}", name, kind) for part in parts]
                base[f"encoder.layers.{place}.{name}.{kind}"] = torch.cat(found)
    return Weights(fields, base, {})


def stored(healed: Weights) -> Weights:
    """The weights in the dtypes of the checkpoint's files."""
    whole = cast(healed, _DTYPE)
    base = {
        name: tensor.to(_MATRIX_DTYPE) if tensor.ndim == 2 and len(tensor) > 1 else tensor
        for name, tensor in whole.base.items()
    }
    return Weights(whole.fields, base, whole.adapters)


def rounded(matrix: Tensor) -> Tensor:
    """The matrix as it is stored, in its own dtype."""
    return matrix.to(_MATRIX_DTYPE).to(matrix.dtype)


def _type_row(teacher: TeacherFile) -> Tensor:
    width = teacher.shape.hidden
    positions = teacher.matrix("emb.pos", width).mean(dim=0)
    return teacher.matrix("emb.type", width)[0] + positions


def _part(teacher: TeacherFile, name: str, module: str, kind: str) -> Tensor:
    """A matrix with its rows, or a vector."""
    if kind == "bias" or module.startswith("norm"):
        return teacher.tensor(name)
    inputs = teacher.shape.intermediate if module == "mlp.fc2" else teacher.shape.hidden
    return teacher.matrix(name, inputs)
