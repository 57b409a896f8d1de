"""Teaching: a lesson for new adapters of the student, and its training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import torch
from accelerate import Accelerator
from torch import nn

from model.tasks import Tasks
from model.tokenizer import Tokenizer
from model.training.base import base_of
from model.training.batches import BatchOrder, epoch_batches, split
from model.training.data import Examples
from model.training.mini.asked_documents import (
    DocumentObjective,
    MixedBatches,
    document_batches,
)
from model.training.mini.healing import attention_of
from model.training.mini.lessons import Judge, Lesson
from model.training.mini.stages import Gain, Stages, Tensors, flat, nested
from model.training.objective import Objective
from model.training.trainable_encoder import TrainableEncoder
from model.training.trainer import Batches, Trainer, TrainingConfig, TrainingState
from model.training.weights import Adapter, Weights

_VALIDATION_BATCHES = 4
_HELD_OUT = 0.05
_WARM_UP = 0.05
_VALIDATIONS = 20
# A validation of a lesson takes about as long as a step.
_STEPS_BETWEEN = 5


@dataclass(frozen=True, slots=True)
class Teaching:
    """What all lessons have: where their outcome is kept, what trains, the folder of the student's
    tokenizer.json, and the judge."""

    stages: Stages
    accelerator: Accelerator
    tokenizer: Path
    judge: Judge

    def adapters(
        self, name: str, lesson: Lesson, whole: Weights, steps: int, seed: int
    ) -> dict[str, Adapter]:
        """The adapters, by task, that the lesson teaches; `whole` is the student."""
        return nested(self.stages.made(name, lambda: self._teach(name, lesson, whole, steps, seed)))

    def _teach(
        self, name: str, lesson: Lesson, whole: Weights, steps: int, seed: int
    ) -> tuple[Tensors, Gain]:
        torch.manual_seed(seed)
        base = base_of(whole)
        base.set_attn_implementation(attention_of(lesson.max_tokens, self.accelerator.device))
        encoder = TrainableEncoder(base, whole.config)
        for task in lesson.trained:
            encoder.add(task)
        encoder.set_trainable(*lesson.trained)
        objective, batches, validation = self._prepared(lesson, encoder, seed)
        config = training_config(steps, lesson.learning_rate)
        trainer = Trainer(objective, config, self.stages.training(name), self.accelerator)
        state = trainer.run(batches, validation)
        return flat({task: encoder.adapter(task) for task in lesson.trained}), gained(state)

    def _prepared(
        self, lesson: Lesson, encoder: TrainableEncoder, seed: int
    ) -> tuple[nn.Module, Batches, Sequence[Examples]]:
        """The objective, the batches to learn from, and those that validate."""
        parts = split(lesson.examples, _HELD_OUT, seed)
        held_out = epoch_batches(parts.validation, lesson.batch_size, [seed])[:_VALIDATION_BATCHES]
        config, tasks = encoder.config, Tasks(encoder.config)
        cut = Tokenizer(self.tokenizer, replace(config, max_tokens=lesson.max_tokens)), tasks
        texts = BatchOrder(parts.training, lesson.batch_size, seed)
        validation = [parts.validation.only(batch) for batch in held_out]
        unseen = {text for column in parts.validation.columns[:2] for text in column}
        documents = document_batches(lesson.documents, unseen, Random(seed))
        what = encoder, cut, lesson.sides, lesson.loss, self.judge.targets
        if not documents:
            return Objective(*what), texts, validation
        objective = DocumentObjective(*what, whole=Tokenizer(self.tokenizer, config))
        return objective, MixedBatches(texts, documents), validation


def training_config(steps: int, learning_rate: float) -> TrainingConfig:
    """Of a training that is validated all along, and ended by nothing but its steps."""
    return TrainingConfig(
        steps=max(1, steps),
        learning_rate=learning_rate,
        warm_up=_WARM_UP,
        validate_every=max(_STEPS_BETWEEN, steps // _VALIDATIONS),
        patience=_VALIDATIONS + 1,
    )


def gained(state: TrainingState) -> Gain:
    """The validation loss before and after, and the step it was best at."""
    return {"before": state.first, "after": state.best, "best_step": state.best_step}
