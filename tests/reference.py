"""The judge: transformers' JinaEmbeddingsV3Model with PEFT adapters, one row at a time, float32."""

import contextlib
import json
import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import transformers

from model.rows import Row


class Reference:
    """An independent implementation of the same checkpoint, in the -hf layout. Slow and obvious."""

    def __init__(self, folder: Path) -> None:
        transformers.logging.set_verbosity_error()
        logging.getLogger("transformers").setLevel(logging.ERROR)
        self._tasks = json.loads((folder / "config.json").read_text())["lora_adaptations"]
        self._model = transformers.JinaEmbeddingsV3Model.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="sdpa"
        ).eval()
        for task in self._tasks:
            name = task.replace(".", "_").replace("-", "_")
            self._model.load_adapter(
                str(folder), adapter_name=name, adapter_kwargs={"subfolder": name}
            )

    @torch.no_grad()
    def hidden(self, row: Row) -> npt.NDArray[np.float32]:
        """The last hidden states of one row: (L, D)."""
        ids = torch.from_numpy(row.token_ids.astype(np.int64))[None]
        with self._adapter(row.adapter):
            out = self._model(input_ids=ids, attention_mask=torch.ones_like(ids))
        return out.last_hidden_state[0].numpy()

    def vectors(self, row: Row) -> npt.NDArray[np.float32]:
        """The means over the row's spans: (S, D)."""
        hidden = self.hidden(row)
        return np.stack([hidden[start:stop].mean(axis=0) for start, stop in row.spans])

    @contextlib.contextmanager
    def _adapter(self, index: int | None):
        if index is None:
            self._model.disable_adapters()
        else:
            self._model.enable_adapters()
            self._model.set_adapter(self._tasks[index].replace(".", "_").replace("-", "_"))
        yield
