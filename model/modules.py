"""Modules: the encoder's modules that have adapters, and what they are called in either layout."""

from collections.abc import Iterator
from dataclasses import dataclass

from model.config import EncoderConfig

Shape = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ModuleName:
    """A module's name in the base files of either layout, and the names of its parts in PEFT's."""

    base: str
    peft: tuple[str, ...]


WORD = ModuleName("embeddings.word_embeddings", ("embeddings.word_embeddings",))
TOKEN_TYPE = ModuleName("embeddings.token_type_embeddings", ("embeddings.token_type_embeddings",))
POOLER = ModuleName("pooler.dense", ("pooler.dense",))


def block_linears(block: str, config: EncoderConfig) -> Iterator[tuple[str, ModuleName, Shape]]:
    """The linear layers of a block `layers.N`: name in Block, published names, weight's shape."""
    width, inner = config.hidden_size, config.intermediate_size
    attention = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    for name, original, peft, shape in (
        ("qkv", "mixer.Wqkv", attention, (3 * width, width)),
        ("out", "mixer.out_proj", ("self_attn.o_proj",), (width, width)),
        ("fc1", "mlp.fc1", ("mlp.fc1",), (inner, width)),
        ("fc2", "mlp.fc2", ("mlp.fc2",), (width, inner)),
    ):
        parts = tuple(f"{block}.{part}" for part in peft)
        yield name, ModuleName(f"encoder.{block}.{original}", parts), shape


def adapter_folder(task: str) -> str:
    """The folder of a task's adapter in the -hf layout: retrieval.query -> retrieval_query."""
    return task.replace(".", "_").replace("-", "_")
