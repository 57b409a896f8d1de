"""Loop: steps of AdamW with validation in between, resumable at any point.

Nothing random happens after the start: batches are a function of their number, dropout is off. So
parameters, the optimizer's moments and a few numbers are all that the next step depends on.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from model.training.run import Run

# Gradients are clipped to this norm, as is usual for transformers (https://arxiv.org/abs/1907.11692).
_LARGEST_NORM = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast.

    The learning rate rises over the first `warm_up` share of `steps`, then falls along a cosine to
    0 (https://arxiv.org/abs/1608.03983, eq. 5). After every `validate_every` steps the validation
    loss is taken; after `patience` times without a new best the run is over.
    """

    steps: int
    learning_rate: float
    warm_up: float
    validate_every: int
    patience: int

    def rate(self, step: int) -> float:
        """The learning rate of step 0, 1, ..."""
        rising = max(1, round(self.warm_up * self.steps))
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        share = (step - rising) / max(1, self.steps - rising)
        return self.learning_rate * (1 + math.cos(math.pi * share)) / 2


@dataclass(slots=True)
class Progress:
    """Where a run is. `waited` are validations since the best one, which was at `best_step`."""

    step: int = 0
    best: float = math.inf
    best_step: int = 0
    waited: int = 0
    first: float = math.inf


class Batches(Protocol):
    """Where batches come from."""

    def batch(self, number: int) -> Any:
        """Batch 0, 1, ..., always the same for one number."""


class Loop:
    """A run of an objective's trainable parameters; its forward pass is the loss of a batch."""

    def __init__(
        self, objective: nn.Module, plan: Plan, run: Run, accelerator: Accelerator
    ) -> None:
        self._objective, self._plan, self._run = objective, plan, run
        self._accelerator = accelerator
        self._progress = Progress()
        self._own = {
            name: parameter
            for name, parameter in objective.named_parameters()
            if parameter.requires_grad
        }
        self._best = self._copy()
        optimizer = torch.optim.AdamW(self._own.values(), lr=plan.learning_rate, fused=True)
        self._module, self._optimizer = accelerator.prepare(objective, optimizer)

    def run(self, schedule: Batches, validation: Sequence[Any]) -> Progress:
        """Go on to the end, and leave the best parameters in the objective."""
        if not self._resumed():
            self._judge(validation)
        progress = self._progress
        with self._bar() as bar:
            while progress.step < self._plan.steps and progress.waited < self._plan.patience:
                loss = self._step(schedule)
                bar.set_postfix(loss=f"{loss:.3f}", best=f"{progress.best:.3f}", refresh=False)
                bar.update()
                due = progress.step % self._plan.validate_every == 0
                if due or progress.step == self._plan.steps:
                    self._judge(validation)
        with torch.no_grad():
            for name, parameter in self._own.items():
                parameter.copy_(self._best[name])
        return progress

    def _step(self, schedule: Batches) -> float:
        """One step of every process, each on a batch of its own."""
        step, accelerator = self._progress.step, self._accelerator
        for group in self._optimizer.param_groups:
            group["lr"] = self._plan.rate(step)
        self._module.train()
        mine = step * accelerator.num_processes + accelerator.process_index
        loss: Tensor = self._module(schedule.batch(mine))
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(list(self._own.values()), _LARGEST_NORM)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._progress.step += 1
        number = loss.item()
        self._log(loss=number, learning_rate=self._plan.rate(step))
        return number

    def _judge(self, validation: Sequence[Any]) -> None:
        """Validate, keep the best, save."""
        self._objective.eval()
        with torch.no_grad(), self._accelerator.autocast():
            losses = [self._objective(batch).item() for batch in validation]
        loss, progress = sum(losses) / len(losses), self._progress
        if progress.step == 0:
            progress.first = loss
        if loss < progress.best:
            progress.best, progress.best_step, progress.waited = loss, progress.step, 0
            self._best = self._copy()
        else:
            progress.waited += 1
        self._log(validation=loss)
        if self._accelerator.is_main_process:
            self._run.save(self._state())

    def _state(self) -> dict[str, Any]:
        return {
            "progress": asdict(self._progress),
            "now": self._copy(),
            "best": self._best,
            "optimizer": self._optimizer.state_dict(),
        }

    def _resumed(self) -> bool:
        """Go to where the run was; False where it begins."""
        state = self._run.load()
        self._accelerator.wait_for_everyone()
        if state is not None:
            self._progress = Progress(**state["progress"])
            self._best = state["best"]
            self._optimizer.load_state_dict(state["optimizer"])
            with torch.no_grad():
                for name, parameter in self._own.items():
                    parameter.copy_(state["now"][name])
        if self._accelerator.is_main_process:
            self._run.rewind(self._progress.step if state else -1)
        return state is not None

    def _copy(self) -> dict[str, Tensor]:
        return {name: each.detach().cpu().clone() for name, each in self._own.items()}

    def _log(self, **fields: float) -> None:
        if self._accelerator.is_main_process:
            self._run.log(step=self._progress.step, **fields)

    @contextmanager
    def _bar(self) -> Iterator["tqdm[None]"]:
        shown = None if self._accelerator.is_main_process else True
        with tqdm(
            total=self._plan.steps,
            initial=self._progress.step,
            desc="teaching",
            unit="step",
            disable=shown,
        ) as bar:
            yield bar
