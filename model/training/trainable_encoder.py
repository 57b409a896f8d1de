"""The encoder of transformers with adapters of PEFT, through which gradients flow.

It gives the same vectors for the same rows as model.embedder.

N rows, L tokens of the longest, S spans, D hidden.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import peft
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import JinaEmbeddingsV3Model

from model.config import EncoderConfig
from model.modules import adapter_folder
from model.rows import Row
from model.training.base import base_of
from model.training.weights import (
    AdaptedModule,
    Adapter,
    LoraPair,
    Weights,
    join_lora,
    modules,
    split_lora,
)

_PADDING = 1  # any token: it is masked


class TrainableEncoder(nn.Module):
    """A frozen base with adapters, of which some are trained.

    `config` must have rank and alpha. Adapters are named by their tasks. The adapters of q, k and v
    share one A, as in the published adapters, wherever they did at the start.
    """

    def __init__(self, base: JinaEmbeddingsV3Model, config: EncoderConfig) -> None:
        super().__init__()
        assert config.lora_rank, "the rank is known once weights are read"
        self.config = config
        self.rank = config.lora_rank
        self._lora = peft.LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,  # type: ignore[arg-type]
            target_modules=[part for module in modules(config) for part in module.name.peft],
        )
        self.base = base
        self._model: peft.PeftModel | None = None
        self._active: str | None = None
        self._trainable: frozenset[str] = frozenset()

    @staticmethod
    def from_weights(weights: Weights, tasks: Sequence[str]) -> "TrainableEncoder":
        """The encoder of a checkpoint with the adapters of `tasks`."""
        encoder = TrainableEncoder(base_of(weights), weights.config)
        for task in tasks:
            encoder.add(task, weights.adapters[task])
        return encoder

    @torch.no_grad()
    def add(self, task: str, adapter: Adapter | None = None) -> None:
        """Add a task's adapter: the given one, or one whose correction is 0.

        The latter is random where LoRA starts so (A of a linear layer, B of an embedding), so seed
        torch before.
        """
        name = adapter_folder(task)
        if self._model is None:
            self._model = peft.get_peft_model(self.base, self._lora, adapter_name=name)
        else:
            self._model.add_adapter(name, self._lora)
        for module in modules(self.config):
            layers = self._layers(module)
            if adapter is not None:
                parts = split_lora(module, adapter[module.name.base], self.rank)
                for layer, part in zip(layers, parts, strict=True):
                    matrices = _matrices(layer, name, module)
                    matrices.a.copy_(part.a)
                    matrices.b.copy_(part.b)
            shared = adapter is None or len(adapter[module.name.base].a) == self.rank
            if len(layers) > 1 and shared:
                for layer in layers[1:]:
                    layer.lora_A[name].weight = layers[0].lora_A[name].weight
        self._activate(task)

    def set_trainable(self, *tasks: str) -> list[nn.Parameter]:
        """Train the adapters of these tasks and nothing else; their parameters."""
        self._trainable = frozenset(tasks)
        self._require_gradients()
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def checkpoint_activations(self) -> None:
        """Keep no activations inside blocks: compute them again in the backward pass.

        That takes about a third more time, and the memory of one block instead of all. It works
        in training mode only.
        """
        self.base.gradient_checkpointing_enable(  # type: ignore[no-untyped-call]
            gradient_checkpointing_kwargs={"use_reentrant": False, "context_fn": self._contexts}
        )

    def forward(self, rows: Sequence[Row], task: str | None) -> Tensor:
        """Rows -> vectors (S, D) float32, one for each span, with the task's adapter.

        Without a task it is the base alone. The rows' adapter indices are ignored. Rows are read in
        groups of about one length, so that little is padded.
        """
        found: dict[int, Tensor] = {}
        with self._with_adapter(task):
            for group in _of_one_length(rows):
                some = [rows[index] for index in group]
                counts = [len(row.spans) for row in some]
                found |= zip(group, self._vectors(some).split(counts), strict=True)
        return torch.cat([found[index] for index in range(len(rows))])

    def adapter(self, task: str) -> dict[str, LoraPair]:
        """A copy of a task's adapter, by module, on the CPU; the pooler has none."""
        adapter = {}
        for module in modules(self.config):
            parts = []
            for layer in self._layers(module):
                lora = _matrices(layer, adapter_folder(task), module)
                copies = (each.detach().cpu().clone().contiguous() for each in (lora.a, lora.b))
                parts.append(LoraPair(*copies))
            adapter[module.name.base] = join_lora(parts)
        return adapter

    def _vectors(self, rows: Sequence[Row]) -> Tensor:
        ids, mask = (each.to(self.base.device) for each in padded(rows))
        out = (self._model or self.base)(input_ids=ids, attention_mask=mask)
        return means_over_spans(out.last_hidden_state.float(), rows)

    def _layers(self, module: AdaptedModule) -> list[Any]:
        return [self.base.get_submodule(part) for part in module.name.peft]

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Of a block's first computation and of the second, which needs the first's adapter."""
        return nullcontext(), self._with_adapter(self._active)

    @contextmanager
    def _with_adapter(self, task: str | None) -> Iterator[None]:
        before = self._active
        self._activate(task)
        yield
        self._activate(before)

    def _activate(self, task: str | None) -> None:
        if task == self._active or self._model is None:
            return
        for layer in self._model.modules():
            if isinstance(layer, LoraLayer):
                layer.enable_adapters(enabled=task is not None)
                if task is not None:
                    layer.set_adapter(adapter_folder(task))
        self._active = task
        self._require_gradients()

    def _require_gradients(self) -> None:
        """PEFT freezes inactive adapters, but a step may have passes with several of them."""
        names = {adapter_folder(task) for task in self._trainable}
        for path, parameter in self.named_parameters(remove_duplicate=False):
            parameter.requires_grad_("lora_" in path and not names.isdisjoint(path.split(".")))


def _of_one_length(rows: Sequence[Row]) -> Iterator[list[int]]:
    """The indices of rows in groups, the longest of which has up to twice the shortest's tokens."""
    group: list[int] = []
    for index in sorted(range(len(rows)), key=lambda index: len(rows[index])):
        if group and len(rows[index]) > 2 * len(rows[group[0]]):
            yield group
            group = []
        group.append(index)
    yield group


def padded(rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """Rows -> token ids and attention mask, both (N, L) int64, padded at the end."""
    shape = len(rows), max(map(len, rows))
    ids, mask = np.full(shape, _PADDING, np.int64), np.zeros(shape, np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row.token_ids
        mask[index, : len(row)] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask)


def means_over_spans(hidden: Tensor, rows: Sequence[Row]) -> Tensor:
    """Hidden states (N, L, D) of padded rows -> the mean over each span (S, D), in order."""
    longest = hidden.shape[1]
    spans = np.concatenate([row.spans + index * longest for index, row in enumerate(rows)])
    lengths = spans[:, 1] - spans[:, 0]
    tokens = np.concatenate([np.arange(start, stop) for start, stop in spans])
    span_of_token = np.repeat(np.arange(len(spans)), lengths)
    states = hidden.flatten(0, 1)[torch.from_numpy(tokens).to(hidden.device)]
    sums = hidden.new_zeros(len(spans), hidden.shape[2])
    sums = sums.index_add(0, torch.from_numpy(span_of_token).to(hidden.device), states)
    return sums / torch.from_numpy(lengths).to(sums)[:, None]


def _matrices(layer: Any, name: str, module: AdaptedModule) -> LoraPair:
    """The parameters of an adapter in a layer; PEFT has those of an embedding transposed."""
    if module.embedding:
        return LoraPair(layer.lora_embedding_A[name].mT, layer.lora_embedding_B[name].mT)
    return LoraPair(layer.lora_A[name].weight, layer.lora_B[name].weight)
