"""A random checkpoint for a run or for several."""

import json
from pathlib import Path

from tests.bench.bench_model import SHAPES
from tests.checkpoints import write_hf


def checkpoint(folder: Path, shape: str) -> Path:
    """The shape's checkpoint in `folder`, written if it is not there: in the -hf layout, with what
    transformers asks for beside it, so that peers can read it, too."""
    path = folder / f"{shape}-hf"
    if not path.exists():
        write_hf(path, SHAPES[shape])
        config = json.loads((path / "config.json").read_text())
        names = {"unk": "<unk>", "pad": "<pad>", "bos": "<s>", "eos": "</s>", "mask": "<mask>"}
        tokens = {f"{name}_token": token for name, token in names.items()}
        tokens |= {"cls_token": "<s>", "sep_token": "</s>"}
        most = config["max_position_embeddings"] - 2
        fast = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": most, **tokens}
        (path / "tokenizer_config.json").write_text(json.dumps(fast))
    return path
