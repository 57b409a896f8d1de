"""Trains an objective, validates in between, and resumes after an interruption.

Nothing is random after the start: batches are a function of their number, and dropout is off. So
the parameters, the optimizers' moments and TrainingState are all that the next step depends on.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from model.training.optimizers import adamw
from model.training.run_folder import RunFolder

# Gradients are clipped to this norm, as is usual for transformers (https://arxiv.org/abs/1907.11692).
_MAX_GRADIENT_NORM = 1.0


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How long and how fast to train.

    The learning rate rises over the first `warm_up` share of `steps`, then falls along a cosine to
    0 (https://arxiv.org/abs/1608.03983, eq. 5). After every `validate_every` steps the validation
    loss is taken; after `patience` validations without a new best the training stops.
    """

    steps: int
    learning_rate: float
    warm_up: float
    validate_every: int
    patience: int

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of step 0, 1, ..."""
        rising = max(1, round(self.warm_up * self.steps))
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        share = (step - rising) / max(1, self.steps - rising)
        return self.learning_rate * (1 + math.cos(math.pi * share)) / 2


@dataclass(slots=True)
class TrainingState:
    """Steps done; the best validation loss, its step, and the number of validations since; and the
    validation loss before the first step."""

    step: int = 0
    best: float = math.inf
    best_step: int = 0
    since_best: int = 0
    first: float = math.inf


class Batches(Protocol):
    """A source of batches."""

    def batch(self, number: int) -> Any:
        """Batch 0, 1, ..., always the same for one number."""


class Trainer:
    """Trains the parameters of an objective that require gradients; its forward pass is the loss of
    a batch."""

    def __init__(
        self,
        objective: nn.Module,
        config: TrainingConfig,
        run: RunFolder,
        accelerator: Accelerator,
        optimizers: Callable[[Sequence[nn.Parameter]], list[Optimizer]] = adamw,
    ) -> None:
        self._objective, self._config, self._run = objective, config, run
        self._accelerator = accelerator
        self._state = TrainingState()
        self._trained = {
            name: parameter
            for name, parameter in objective.named_parameters()
            if parameter.requires_grad
        }
        self._best = self._copy()
        found = optimizers(list(self._trained.values()))
        self._module, *self._optimizers = accelerator.prepare(objective, *found)

    def run(self, batches: Batches, validation: Sequence[Any]) -> TrainingState:
        """Train to the end, and leave the best parameters in the objective."""
        if not self._resume():
            self._validate(validation)
        config, state = self._config, self._state
        with self._progress_bar() as bar:
            while state.step < config.steps and state.since_best < config.patience:
                loss = self._step(batches)
                bar.set_postfix(loss=f"{loss:.3f}", best=f"{state.best:.3f}", refresh=False)
                bar.update()
                if state.step % config.validate_every == 0 or state.step == config.steps:
                    self._validate(validation)
        self._restore(self._best)
        return state

    def _step(self, batches: Batches) -> float:
        """One step, to which each process gives the gradients of another batch; the loss."""
        step, accelerator = self._state.step, self._accelerator
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self._config.learning_rate_at(step)
        self._module.train()
        number = step * accelerator.num_processes + accelerator.process_index
        loss: Tensor = self._module(batches.batch(number))
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(list(self._trained.values()), _MAX_GRADIENT_NORM)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self._state.step += 1
        value = loss.item()
        self._log(loss=value, learning_rate=self._config.learning_rate_at(step))
        return value

    def _validate(self, validation: Sequence[Any]) -> None:
        """Take the validation loss, keep the best parameters, save the state."""
        self._objective.eval()
        with torch.no_grad(), self._accelerator.autocast():
            losses = [self._objective(batch).item() for batch in validation]
        loss, state = sum(losses) / len(losses), self._state
        if state.step == 0:
            state.first = loss
        if loss < state.best:
            state.best, state.best_step, state.since_best = loss, state.step, 0
            self._best = self._copy()
        else:
            state.since_best += 1
        self._log(validation=loss)
        if self._accelerator.is_main_process:
            self._run.save(
                {
                    "state": asdict(state),
                    "now": self._copy(),
                    "best": self._best,
                    "optimizers": [each.state_dict() for each in self._optimizers],
                }
            )

    def _resume(self) -> bool:
        """Continue from the saved state; False if there is none."""
        saved = self._run.load()
        self._accelerator.wait_for_everyone()
        if saved is not None:
            self._state = TrainingState(**saved["state"])
            self._best = saved["best"]
            for optimizer, moments in zip(self._optimizers, saved["optimizers"], strict=True):
                optimizer.load_state_dict(moments)
            self._restore(saved["now"])
        if self._accelerator.is_main_process:
            self._run.truncate_log(self._state.step if saved else -1)
        return saved is not None

    def _copy(self) -> dict[str, Tensor]:
        return {name: each.detach().cpu().clone() for name, each in self._trained.items()}

    @torch.no_grad()
    def _restore(self, parameters: dict[str, Tensor]) -> None:
        for name, parameter in self._trained.items():
            parameter.copy_(parameters[name])

    def _log(self, **fields: float) -> None:
        if self._accelerator.is_main_process:
            self._run.log(step=self._state.step, **fields)

    def _progress_bar(self) -> "tqdm[None]":
        return tqdm(
            total=self._config.steps,
            initial=self._state.step,
            desc="teaching",
            unit="step",
            disable=None if self._accelerator.is_main_process else True,
        )
