"""Config: a checkpoint's config.json -> EncoderConfig, checked before a weight is read.

A field that changes vectors is either supported or refused. No field has a default, because the
defaults of the published implementations differ (the rotary base is 10,000 in one config class and
20,000 in the released file).
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

# XLM-RoBERTa reserves two positions before the first token: 8,194 positions are 8,192 tokens.
POSITIONS_BEFORE_FIRST_TOKEN = 2
# The name that stands for the base model where a task's name is required.
NO_TASK = "none"

# field: (values that this encoder computes, the meaning of any other value)
_SUPPORTED: dict[str, tuple[tuple[Any, ...], str]] = {
    "position_embedding_type": (("rotary",), "position embeddings of another kind"),
    "hidden_act": (("gelu",), "another activation than exact GELU"),
    "emb_pooler": ((None, "mean"), "another pooling than the mean over tokens"),
    "rotary_emb_interleaved": ((None, False), "interleaved rotary pairs"),
    "rotary_emb_scale_base": ((None,), "xPos scaling"),
    "rotary_emb_fraction": ((None, 1.0), "rotary embeddings over a part of each head"),
    "type_vocab_size": ((1,), "more than one token type"),
    "truncate_dim": ((None,), "vectors that are cut by default"),
    "prenorm": ((None, False), "layer norms in front of the blocks"),
    "use_rms_norm": ((None, False), "RMSNorm"),
    "rope_scaling": ((None,), "rotary positions of another scale"),
}


# Published encoders have from 1e-12 (BERT) to 1e-5 (XLM-RoBERTa): much more changes every vector,
# and much less is 0 in float32.
_LEAST_EPS, _LARGEST_EPS = 1e-20, 1e-2
_LARGEST = sys.float_info.max


class CheckpointError(Exception):
    """A checkpoint is missing or would give wrong vectors; the message says why."""


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """The shape of an encoder and of its adapters.

    `max_tokens` is the longest text in tokens (8,192), to which the two special tokens and the
    task's instruction are added. `lora_rank` and `lora_alpha` are None if only the adapter files
    have them, as the -hf layout allows. LoRA is scaled by alpha / rank.
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    layer_norm_eps: float
    rotary_base: float
    max_tokens: int
    bos_token_id: int
    eos_token_id: int
    tasks: tuple[str, ...]
    instructions: Mapping[str, str]
    lora_rank: int | None
    lora_alpha: float | None
    matryoshka_dimensions: tuple[int, ...]

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.num_heads


def read_config(folder: Path) -> EncoderConfig:
    """Read and check `folder`/config.json.

    Raises:
        CheckpointError: the file is missing or unreadable, lacks a field, or asks for something
            that this encoder does not compute.
    """
    try:
        return checked_config(read_json(folder / "config.json"))
    except FileNotFoundError:
        raise CheckpointError(f"{folder} has no config.json; is it a model's folder?") from None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file.

    Raises:
        FileNotFoundError: it does not exist.
        CheckpointError: it has no such object.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(fields, dict):
        raise CheckpointError(f"{path} must hold an object.")
    return fields


def checked_config(fields: dict[str, Any]) -> EncoderConfig:
    """The fields of a config.json -> EncoderConfig.

    Raises:
        CheckpointError: a field is missing or of another type than it should be, or asks for
            something that is not computed.
    """
    _refuse_what_is_not_computed(fields)
    config = EncoderConfig(
        vocab_size=_positive(fields, "vocab_size"),
        hidden_size=_positive(fields, "hidden_size"),
        num_layers=_positive(fields, "num_hidden_layers"),
        num_heads=_positive(fields, "num_attention_heads"),
        intermediate_size=_positive(fields, "intermediate_size"),
        layer_norm_eps=_layer_norm_eps(fields),
        rotary_base=_rotary_base(fields),
        max_tokens=_max_tokens(fields),
        bos_token_id=_token_id(fields, "bos_token_id"),
        eos_token_id=_token_id(fields, "eos_token_id"),
        tasks=_tasks(fields),
        instructions=_instructions(fields),
        lora_rank=_positive(fields, "lora_rank") if "lora_rank" in fields else None,
        lora_alpha=_number(fields, "lora_alpha") if "lora_alpha" in fields else None,
        matryoshka_dimensions=_matryoshka_dimensions(fields),
    )
    _check_head_size(config, fields)
    return config


def _refuse_what_is_not_computed(fields: dict[str, Any]) -> None:
    # The native class of transformers has rotary positions and never writes that field.
    if fields.get("model_type") == "jina_embeddings_v3":
        fields = {"position_embedding_type": "rotary", **fields}
    for name, (values, meaning) in _SUPPORTED.items():
        if fields.get(name) not in values:
            raise CheckpointError(
                f"config.json: {name} is {fields.get(name)!r}; that is {meaning}, and this "
                f"encoder computes {' or '.join(repr(value) for value in values)} only."
            )


def _required(fields: dict[str, Any], name: str) -> Any:
    if fields.get(name) is None:
        raise CheckpointError(f"config.json does not say {name}; it is never guessed.")
    return fields[name]


def _positive(fields: dict[str, Any], name: str) -> int:
    value = _required(fields, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(
            f"config.json: {name} must be a positive whole number, not {value!r}."
        )
    return value


def is_number_over(value: Any, least: float) -> TypeGuard[int | float]:
    """Whether a value of JSON is a finite number over `least`."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    # A whole number may be too large for a float.
    return plain and least < value <= _LARGEST


def _number(fields: dict[str, Any], name: str, over: float = 0) -> float:
    value = _required(fields, name)
    if not is_number_over(value, over):
        raise CheckpointError(
            f"config.json: {name} must be a finite number over {over}, not {value!r}."
        )
    return float(value)


def _layer_norm_eps(fields: dict[str, Any]) -> float:
    value = _number(fields, "layer_norm_eps")
    if not _LEAST_EPS <= value <= _LARGEST_EPS:
        raise CheckpointError(
            f"config.json: layer_norm_eps must be from {_LEAST_EPS} to {_LARGEST_EPS}, as in a "
            f"trained model, not {value!r}."
        )
    return value


def _max_tokens(fields: dict[str, Any]) -> int:
    positions = _positive(fields, "max_position_embeddings")
    if positions <= POSITIONS_BEFORE_FIRST_TOKEN:
        raise CheckpointError(
            f"config.json: max_position_embeddings is {positions}; {POSITIONS_BEFORE_FIRST_TOKEN} "
            "of them are reserved, and a text needs at least one more."
        )
    return positions - POSITIONS_BEFORE_FIRST_TOKEN


def _token_id(fields: dict[str, Any], name: str) -> int:
    value, size = _required(fields, name), _positive(fields, "vocab_size")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < size:
        raise CheckpointError(
            f"config.json: {name} must be a whole number from 0 to {size - 1} (vocab_size is "
            f"{size}), not {value!r}."
        )
    return value


def _matryoshka_dimensions(fields: dict[str, Any]) -> tuple[int, ...]:
    sizes, width = fields.get("matryoshka_dimensions") or [], _positive(fields, "hidden_size")
    if not isinstance(sizes, list) or not all(
        isinstance(size, int) and not isinstance(size, bool) and 1 <= size <= width
        for size in sizes
    ):
        raise CheckpointError(
            "config.json: matryoshka_dimensions must be a list of whole numbers from 1 to "
            f"hidden_size, {width}, not {sizes!r}."
        )
    return tuple(sizes)


def _rotary_base(fields: dict[str, Any]) -> float:
    """The base of the rotary angles, which has two names in published config.json files."""
    rope = fields.get("rope_parameters") or {}
    if not isinstance(rope, dict):
        raise CheckpointError(f"config.json: rope_parameters must be an object, not {rope!r}.")
    kind = rope.get("rope_type", rope.get("type", "default"))  # now, and before
    if kind != "default":
        raise CheckpointError(f"config.json: rope_type {kind!r} is not computed here.")
    if rope.get("partial_rotary_factor") not in (None, 1):
        raise CheckpointError(
            f"config.json: partial_rotary_factor is {rope['partial_rotary_factor']!r}; this "
            "encoder turns whole heads."
        )
    said = (("rope_theta", rope), ("rotary_emb_base", fields))
    bases = {_number(where, name, 1) for name, where in said if where.get(name) is not None}
    if len(bases) != 1:
        raise CheckpointError(
            "config.json must say one rotary base, as rotary_emb_base or as "
            f"rope_parameters.rope_theta; it says {sorted(bases) or 'none'}."
        )
    return bases.pop()


def _tasks(fields: dict[str, Any]) -> tuple[str, ...]:
    tasks = _required(fields, "lora_adaptations")
    named = isinstance(tasks, list) and all(isinstance(task, str) and task for task in tasks)
    if not named or not tasks or len(set(tasks)) != len(tasks):
        raise CheckpointError(
            "config.json: lora_adaptations must be a list of different task names, one for each "
            f"adapter, not {tasks!r}."
        )
    if NO_TASK in tasks:
        raise CheckpointError(
            f"config.json: lora_adaptations has a task {NO_TASK!r}, which is the name of the base "
            "model without an adapter; give the task another name."
        )
    return tuple(tasks)


def _instructions(fields: dict[str, Any]) -> dict[str, str]:
    instructions = _required(fields, "task_instructions")
    if not isinstance(instructions, dict):
        raise CheckpointError(
            f"config.json: task_instructions must be an object, not {instructions!r}."
        )
    missing = [task for task in _tasks(fields) if not isinstance(instructions.get(task), str)]
    if missing:
        raise CheckpointError(
            f"config.json: task_instructions does not say the instruction of {', '.join(missing)} "
            '(an empty one is "").'
        )
    return {task: instructions[task] for task in _tasks(fields)}


def _check_head_size(config: EncoderConfig, fields: dict[str, Any]) -> None:
    if config.hidden_size % config.num_heads or config.head_size % 2:
        raise CheckpointError(
            f"config.json: hidden_size {config.hidden_size} does not divide into "
            f"{config.num_heads} heads of an even size."
        )
    if fields.get("rotary_emb_dim") not in (None, config.head_size):
        raise CheckpointError(
            f"config.json: rotary_emb_dim is {fields['rotary_emb_dim']}; this encoder turns whole "
            f"heads of {config.head_size}."
        )
