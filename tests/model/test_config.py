"""config.json: what would give wrong vectors is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from model import embedder
from model.config import CheckpointError, read_config
from tests.checkpoints import MINI, Shape, write_original


def change_config(folder: Path, **fields: object) -> None:
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **fields}
    kept = {name: value for name, value in config.items() if value is not ...}
    path.write_text(json.dumps(kept))


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        embedder.load(folder, "cpu", "float32")
    return str(caught.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"position_embedding_type": "absolute"}, "position embeddings of another kind"),
        ({"hidden_act": "gelu_new"}, "another activation"),
        ({"hidden_act": "relu"}, "another activation"),
        ({"emb_pooler": "cls"}, "another pooling"),
        ({"type_vocab_size": 2}, "more than one token type"),
        ({"rotary_emb_interleaved": True}, "interleaved"),
        ({"rotary_emb_scale_base": 512}, "xPos"),
        ({"rotary_emb_dim": 8}, "rotary_emb_dim is 8"),
        ({"truncate_dim": 32}, "cut by default"),
        ({"rotary_emb_base": ...}, "must say one rotary base"),
        ({"rope_parameters": {"rope_theta": 10000.0}}, "must say one rotary base"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_type 'yarn'"),
        ({"rope_parameters": {"type": "linear", "factor": 4.0}}, "rope_type 'linear'"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 4.0}}, "positions of another scale"),
        ({"layer_norm_eps": ...}, "does not say layer_norm_eps"),
        ({"layer_norm_eps": "small"}, "a field is of another type than it should be: could not"),
        ({"eos_token_id": [2, 3]}, "a field is of another type than it should be: int() arg"),
        ({"lora_alpha": None}, "a field is of another type than it should be: float() arg"),
        ({"task_instructions": [""]}, "a field is of another type than it should be: 'list'"),
        ({"rope_parameters": ["default"]}, "a field is of another type than it should be: 'li"),
        ({"hidden_size": 63}, "does not divide"),
        ({"num_attention_heads": 0}, "must be a positive whole number"),
        ({"lora_adaptations": ...}, "does not say lora_adaptations"),
        ({"lora_adaptations": []}, "must be a list of different task names"),
        ({"lora_adaptations": ["a", "a"]}, "must be a list of different task names"),
        ({"task_instructions": {"separation": ""}}, "does not say the instruction of"),
        ({"lora_rank": ...}, "does not say lora_rank"),
        ({"lora_rank": 8}, "has shape (5, 4, 64); the config asks for (5, 8, 64)"),
        ({"num_hidden_layers": 3}, "tensor encoder.layers.2.mixer.Wqkv"),
        ({"num_hidden_layers": 1}, "belong to nothing in this model: encoder.layers.1."),
        ({"vocab_size": 31000}, "tokenizer.json has 55000 tokens, the model's table 31000"),
    ],
)
def test_a_config_that_would_give_wrong_numbers_is_refused(
    tmp_path: Path, shape: Shape, fields: dict[str, Any], said: str
) -> None:
    folder = write_original(tmp_path / "original", shape)
    change_config(folder, **fields)
    assert said in refusal(folder)


def test_the_embedded_model_has_the_published_architecture() -> None:
    config = read_config(MINI)
    assert (config.rotary_base, config.max_tokens, len(config.tasks)) == (1_000_000.0, 8192, 5)
