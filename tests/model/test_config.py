"""config.json: what would give wrong vectors is refused."""

import json
import math
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


@pytest.fixture
def folder(tmp_path: Path, shape: Shape) -> Path:
    return write_original(tmp_path / "original", shape)


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
        *(
            ({"layer_norm_eps": eps}, "layer_norm_eps must be ")
            for eps in (0, -1e-5, 1.0, 1e-50, math.nan, math.inf, 10**400, True, "1e-5")
        ),
        *(
            ({"rotary_emb_base": base}, "rotary_emb_base must be a finite number over 1, not ")
            for base in (0, -20000.0, 1, math.nan, math.inf, True, "20000")
        ),
        ({"rope_parameters": {"rope_theta": 0}}, "rope_theta must be a finite number over 1"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor is 0.5"),
        ({"rope_parameters": ["default"]}, "rope_parameters must be an object, not ['default']"),
        ({"eos_token_id": [2, 3]}, "eos_token_id must be a whole number from 0 to 54999"),
        ({"bos_token_id": 0.5}, "bos_token_id must be a whole number from 0 to 54999"),
        ({"max_position_embeddings": 2}, "max_position_embeddings is 2; 2 of them are reserved"),
        ({"lora_alpha": math.nan}, "lora_alpha must be a finite number over 0, not nan"),
        ({"lora_alpha": None}, "config.json does not say lora_alpha"),
        ({"task_instructions": [""]}, "task_instructions must be an object, not ['']"),
        ({"matryoshka_dimensions": "32"}, "matryoshka_dimensions must be a list of whole numbers"),
        ({"matryoshka_dimensions": [65]}, "from 1 to hidden_size, 64, not [65]"),
        ({"lora_adaptations": ["none"]}, "a task 'none', which is the name of the base model"),
        ({"hidden_size": 63, "matryoshka_dimensions": []}, "does not divide"),
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
    folder: Path, fields: dict[str, Any], said: str
) -> None:
    change_config(folder, **fields)
    assert said in refusal(folder)


def test_a_config_that_is_no_file_is_refused(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    assert "config.json cannot be read: Is a directory." in refusal(folder)


def test_a_config_of_deep_lists_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000)
    assert "config.json is not valid JSON" in refusal(folder)


def test_the_embedded_model_has_the_published_architecture() -> None:
    config = read_config(MINI)
    assert (config.rotary_base, config.max_tokens, len(config.tasks)) == (1_000_000.0, 8192, 5)
