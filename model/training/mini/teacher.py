"""Teacher: vectors of English texts from a sentence encoder, kept in shards on disk.

N texts, E the teacher's width.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from tqdm import tqdm
from transformers import AutoModel

from model.devices import best_dtype
from model.training.errors import TrainingError

# Texts of a file; an interruption costs the vectors of one.
_SHARD = 20_000
_BATCH_TOKENS = 4096
# Longer texts are cut; the teacher was trained on at most 256 tokens, and few texts have more.
_MOST_TOKENS = 128


class Teacher:
    """A BERT-like sentence encoder as sentence-transformers stores it, which pools by the mean.

    Raises:
        TrainingError: the folder has no such model.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        missing = [
            name
            for name in ("config.json", "model.safetensors", "tokenizer.json")
            if not (folder / name).is_file()
        ]
        if missing:
            raise TrainingError(f"{folder} is no sentence encoder: it has no {missing[0]}.")
        self._device = device
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(_MOST_TOKENS)
        # A folder on disk: nothing is downloaded, whatever bandit thinks of the name.
        self._model = AutoModel.from_pretrained(  # nosec B615
            folder, dtype=best_dtype(device), attn_implementation="eager", local_files_only=True
        )
        self._model.to(device).eval()

    def vectors(self, texts: Sequence[str], shards: Path) -> npt.NDArray[np.float16]:
        """Unit vectors (N, E). What stands in the folder `shards` is not computed again."""
        shards.mkdir(parents=True, exist_ok=True)
        parts = []
        for start in tqdm(range(0, len(texts), _SHARD), desc="teacher", unit="shard"):
            path = shards / f"{start:09}.npy"
            if not path.is_file():
                new = path.with_suffix(".new")
                with new.open("wb") as file:
                    np.save(file, self._shard(texts[start : start + _SHARD]))
                new.replace(path)
            parts.append(np.load(path))
        return np.concatenate(parts)

    def _shard(self, texts: Sequence[str]) -> npt.NDArray[np.float16]:
        tokens = [each.ids for each in self._tokenizer.encode_batch(list(texts))]
        found: npt.NDArray[np.float16] = np.empty((len(texts), self._width), np.float16)
        for batch in _batches([len(each) for each in tokens]):
            found[batch] = self._embed([tokens[index] for index in batch])
        return found

    @property
    def _width(self) -> int:
        return int(self._model.config.hidden_size)

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


def _batches(lengths: list[int]) -> Iterator[list[int]]:
    """Indices of texts of about one length, so that little is padded."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[index] > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
