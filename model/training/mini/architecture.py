"""Architecture: a table of word vectors as an encoder of jina-embeddings-v3's shape.

A layer norm forgets how long a vector is, and in a table of word vectors the length is the word's
weight in the mean. So two channels are kept out of the word vectors and hold +K and -K in every
token: beside them the norm divides all tokens by nearly the same number. The last norm's gain is 0
on them, so a vector ends with two zeros. (Large language models grow such constant channels by
themselves: https://arxiv.org/abs/2402.17762, Massive Activations in Large Language Models.)

With `out_proj` and `fc2` at 0 a block changes nothing, and the encoder gives exactly the mean of
the normed word vectors. The last block's attention is the exception: q and k are 0, so every token
attends to all alike and gets a share of the row's mean. That keeps the direction of a text's own
vector, and brings the document into its chunks where several share a row (late chunking).

V vocabulary, D hidden.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.config import checked_config
from model.training.base import new_base, tensors_of
from model.training.weights import Weights

SIZES = (32, 64, 128, 256)
INSTRUCTIONS = (
    "Represent the query for retrieving evidence documents: ",
    "Represent the document for retrieval: ",
)
TASKS = {
    "lora_adaptations": [
        *("retrieval.query", "retrieval.passage", "separation", "classification", "text-matching")
    ],
    "task_instructions": {
        "retrieval.query": INSTRUCTIONS[0],
        "retrieval.passage": INSTRUCTIONS[1],
        "separation": "",
        "classification": "",
        "text-matching": "",
    },
    "lora_rank": 4,
    "lora_alpha": 1,
    "matryoshka_dimensions": list(SIZES),
}
SHAPE = {
    "hidden_size": SIZES[-1],
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
}
# Channels that hold a constant.
CONSTANTS = 2
# Its size. A word vector of a trained table is about 4 long and the pair 31; the norm is within a
# few percent the same for all.
_K = 22.0
# The share of the document's mean in each of its tokens.
_OF_DOCUMENT = 0.35

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
    "rotary_emb_base": 20000.0,
    "type_vocab_size": 1,
    "emb_pooler": None,
    "truncate_dim": None,
}


def fields_of(shape: dict[str, Any], task_fields: dict[str, Any]) -> dict[str, Any]:
    """The config.json of such an encoder: `shape` has its sizes, `task_fields` tasks and LoRA."""
    return {**_SHAPE, **shape, **task_fields}


def normed(words: Tensor, eps: float = 1e-5) -> Tensor:
    """Word vectors (V, D - 2) behind the encoder's first norm, with the constant pair: (V, D)."""
    pair = words.new_tensor([_K, -_K]).expand(len(words), CONSTANTS)
    whole = torch.cat([words, pair], dim=1)
    return F.layer_norm(whole, (whole.shape[1],), eps=eps)


@torch.no_grad()
def encoder_of(words: Tensor, fields: dict[str, Any], seed: int) -> Weights:
    """Word vectors (V, D - 2) as a checkpoint of that shape, which has no adapters yet.

    What the zeros keep from having an effect (q, k, v, fc1 of the first blocks) is random, so
    that adapters and training find something to build on.
    """
    config = checked_config(fields)
    torch.manual_seed(seed)
    base = tensors_of(new_base(config), config)
    width, words_width = config.hidden_size, config.hidden_size - CONSTANTS
    base["embeddings.word_embeddings.weight"] = F.pad(words, (0, CONSTANTS))
    constants = torch.zeros(width)
    constants[words_width:] = torch.tensor([_K, -_K])
    base["embeddings.token_type_embeddings.weight"] = constants[None]
    for layer in range(config.num_layers):
        block = f"encoder.layers.{layer}"
        for inwards in ("mixer.Wqkv", "mlp.fc1"):
            weight = torch.randn_like(base[f"{block}.{inwards}.weight"]) / width**0.5
            weight[:, words_width:] = 0
            base[f"{block}.{inwards}.weight"] = weight
        for outwards in ("mixer.out_proj", "mlp.fc2"):
            base[f"{block}.{outwards}.weight"].zero_()
    last = f"encoder.layers.{config.num_layers - 1}"
    _spread_mean(base, f"{last}.mixer", words_width)
    base[f"{last}.norm2.weight"][words_width:] = 0
    return Weights(fields, base, {})


def _spread_mean(base: dict[str, Tensor], mixer: str, words_width: int) -> None:
    """Have the attention of a block add a share of the row's mean to each token."""
    weight = base[f"{mixer}.Wqkv.weight"]
    width = weight.shape[1]
    weight[: 2 * width] = 0
    weight[2 * width :] = torch.eye(width)
    share = torch.full((width,), _OF_DOCUMENT)
    share[words_width:] = 0
    base[f"{mixer}.out_proj.weight"] = torch.diag(share)
