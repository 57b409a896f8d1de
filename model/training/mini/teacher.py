"""Teacher: vectors of texts from multilingual-e5-small (MIT), kept in shards on disk.

N texts, E the teacher's width, L tokens of the longest.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from tqdm import tqdm
from transformers import BertConfig, BertModel

from model.devices import best_dtype
from model.training.batches import batches_by_length
from model.training.mini.teacher_file import TeacherFile
from model.training.mini.vocabulary import tokenizer_of
from model.training.run_folder import damaged, reporting_write_errors

# What the teacher was trained to read in front of each text.
QUERY_PREFIX = "query: "
# Texts of a file; an interruption costs the vectors of one.
_SHARD = 20_000
_BATCH_TOKENS = 8192
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


class Teacher:
    """The model of a teacher file on a device, in that device's fast dtype."""

    def __init__(self, file: TeacherFile, device: torch.device) -> None:
        self._device = device
        self._tokenizer: Tokenizer = tokenizer_of(file.pieces)
        self._tokenizer.enable_truncation(file.shape.positions)
        self._model = _bert(file)
        self._model.to(device, best_dtype(device)).eval()
        self.width = file.shape.hidden

    def vectors(self, texts: Sequence[str], shards: Path) -> npt.NDArray[np.float16]:
        """Unit vectors (N, E). What stands in the folder `shards` is not computed again; a shard's
        name is a hash of its texts."""
        with reporting_write_errors(shards):
            shards.mkdir(parents=True, exist_ok=True)
        parts = [np.empty((0, self.width), np.float16)]
        for start in tqdm(range(0, len(texts), _SHARD), desc="teacher", unit="shard"):
            some = texts[start : start + _SHARD]
            digest = hashlib.blake2b("\0".join(some).encode(), digest_size=8).hexdigest()
            path = shards / f"{digest}.npy"
            if not path.is_file():
                new, made = path.with_suffix(".new"), self.embed(some)
                with reporting_write_errors(shards):
                    with new.open("wb") as file:
                        np.save(file, made)
                    new.replace(path)
            try:
                parts.append(np.load(path))
            except (EOFError, ValueError):
                raise damaged(path) from None
        return np.concatenate(parts)

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float16]:
        """Unit vectors (N, E)."""
        tokens = [each.ids for each in self._tokenizer.encode_batch_fast(list(texts))]
        found: npt.NDArray[np.float16] = np.empty((len(texts), self.width), np.float16)
        for batch in batches_by_length([len(each) for each in tokens], _BATCH_TOKENS):
            found[batch] = self._embed([tokens[index] for index in batch])
        return found

    @torch.inference_mode()
    def _embed(self, tokens: list[list[int]]) -> npt.NDArray[np.float32]:
        longest = max(map(len, tokens))
        ids = torch.tensor([each + [0] * (longest - len(each)) for each in tokens])
        mask = torch.tensor([[1] * len(each) + [0] * (longest - len(each)) for each in tokens])
        ids, mask = ids.to(self._device), mask.to(self._device)
        states = self._model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        means = (states * mask[..., None]).sum(dim=1)
        unit: npt.NDArray[np.float32] = torch.nn.functional.normalize(means, dim=1).cpu().numpy()
        return unit


def _bert(file: TeacherFile) -> nn.Module:
    """The teacher as transformers' BertModel."""
    shape = file.shape
    config = BertConfig(
        vocab_size=file.matrix("emb.word", shape.hidden).shape[0],
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate,
        max_position_embeddings=shape.positions,
        type_vocab_size=shape.types,
        layer_norm_eps=shape.eps,
    )
    model = BertModel(config, add_pooling_layer=False)
    model.set_attn_implementation("eager")  # of bfloat16 on a CPU the fastest
    names = {
        "emb.word": "embeddings.word_embeddings.weight",
        "emb.pos": "embeddings.position_embeddings.weight",
        "emb.type": "embeddings.token_type_embeddings.weight",
        "emb.ln.w": "embeddings.LayerNorm.weight",
        "emb.ln.b": "embeddings.LayerNorm.bias",
    }
    for layer in range(shape.layers):
        for short, long in _LAYER.items():
            for part, kind in (("w", "weight"), ("b", "bias")):
                names[f"l{layer}.{short}.{part}"] = f"encoder.layer.{layer}.{long}.{kind}"
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    state: dict[str, Tensor] = {
        long: file.tensor(short).view(shapes[long]) for short, long in names.items()
    }
    model.load_state_dict(state)
    return model
