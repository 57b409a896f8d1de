"""Teaching: a lesson as what a Trainer needs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from torch import nn

from model.tasks import Tasks
from model.tokenizer import Tokenizer
from model.training.batches import BatchOrder, epoch_batches, split
from model.training.data import Examples
from model.training.mini.asked_documents import (
    DocumentObjective,
    MixedBatches,
    document_batches,
)
from model.training.mini.lessons import Judge, Lesson
from model.training.objective import Objective
from model.training.trainable_encoder import TrainableEncoder
from model.training.trainer import Batches

_VALIDATION_BATCHES = 4
_HELD_OUT = 0.05


@dataclass(frozen=True, slots=True)
class Teaching:
    """The objective, the batches to learn from, and those that validate."""

    objective: nn.Module
    batches: Batches
    validation: Sequence[Examples]


def teaching_of(
    lesson: Lesson, encoder: TrainableEncoder, folder: Path, judge: Judge, seed: int
) -> Teaching:
    """A lesson for adapters of an encoder, whose tokenizer.json is in the folder."""
    parts = split(lesson.examples, _HELD_OUT, seed)
    held_out = epoch_batches(parts.validation, lesson.batch_size, [seed])[:_VALIDATION_BATCHES]
    config, tasks = encoder.config, Tasks(encoder.config)
    cut = Tokenizer(folder, replace(config, max_tokens=lesson.max_tokens)), tasks
    texts = BatchOrder(parts.training, lesson.batch_size, seed)
    validation = [parts.validation.only(batch) for batch in held_out]
    unseen = {text for column in parts.validation.columns[:2] for text in column}
    documents = document_batches(lesson.documents, unseen, Random(seed))
    what = encoder, cut, lesson.sides, lesson.loss, judge.targets
    if not documents:
        return Teaching(Objective(*what), texts, validation)
    objective = DocumentObjective(*what, whole=Tokenizer(folder, config))
    return Teaching(objective, MixedBatches(texts, documents), validation)
