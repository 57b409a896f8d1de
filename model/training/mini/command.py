"""`quintet train mini`: make the embedded model.

Text -> vocabulary -> teacher vectors -> table -> encoder -> adapters -> checkpoint in the original
layout, float16. Each stage saves its result in OUT/training; after an interruption the same command
resumes after the last stage, and inside of a training at its last saved state.

Exit status: 0 done, 2 wrong input (a sentence says what), 130 interrupted.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer as Pieces
from torch import Tensor

from model.devices import best_dtype
from model.tasks import Tasks
from model.tokenizer import Tokenizer
from model.training import weights
from model.training.base import base_of
from model.training.batches import BatchOrder, epoch_batches, split
from model.training.export import cast, write_original
from model.training.mini.architecture import (
    CONSTANTS,
    INSTRUCTIONS,
    SHAPE,
    SIZES,
    TASKS,
    encoder_of,
    fields_of,
)
from model.training.mini.cloze import cloze_passages
from model.training.mini.corpora import ENGLISH, Corpora, Item, read_corpora
from model.training.mini.lessons import Lesson, lessons_of
from model.training.mini.material import Draw, Material, english_texts
from model.training.mini.phrases import make_phrases
from model.training.mini.table import Table, TableBatch, principal
from model.training.mini.teacher import Teacher
from model.training.mini.vocabulary import learn_vocabulary
from model.training.objective import Objective
from model.training.run_folder import RunFolder
from model.training.trainable_encoder import TrainableEncoder
from model.training.trainer import Trainer, TrainingConfig

_TABLE_RATE, _ADAPTER_RATE = 0.01, 2e-3
_TABLE_BATCH = Draw(texts=1024, questions=128, instructions=INSTRUCTIONS)
_VALIDATION_BATCHES, _VALIDATIONS = 4, 10
_HELD_OUT = 0.05
_NOT_SETTINGS = ("command", "training", "out")


def run(options: argparse.Namespace) -> None:
    """Make the model.

    Raises:
        TrainingError: the corpora, the teacher or the folder to write are not what they must be.
    """
    _Pipeline(options, Accelerator(mixed_precision=_precision())).run()


def _precision() -> str:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return "bf16" if best_dtype(device) == torch.bfloat16 else "no"


class _Pipeline:
    """One run, stage by stage. While the main process does a stage alone, the others wait."""

    def __init__(self, options: argparse.Namespace, accelerator: Accelerator) -> None:
        self._options = options
        self._accelerator = accelerator
        self._out: Path = options.out
        self._work = self._out / "training"
        self._tokenizer = self._work / "tokenizer.json"
        self._seed: int = options.seed

    def run(self) -> None:
        corpora = read_corpora(self._options.corpora)
        teacher = Teacher(self._options.teacher, self._accelerator.device)
        run_folder = RunFolder(self._out)
        if self._accelerator.is_main_process:
            run_folder.claim(self._settings())
        self._accelerator.wait_for_everyone()
        pieces = self._vocabulary(corpora)
        for phrase in make_phrases(corpora, self._options.phrases, self._seed):
            corpora.items.append(Item("phrase", ENGLISH, phrase, phrase))
        english = english_texts(corpora.items)
        with self._accelerator.main_process_first():
            vectors = teacher.vectors(list(english), self._work / "teacher")
        targets = principal(vectors, SIZES[-1] - CONSTANTS)
        table = self._table(
            lambda: Material(
                replace(corpora, passages=corpora.passages + cloze_passages(corpora, self._seed)),
                *(pieces, english, (targets, vectors), _TABLE_BATCH),
            )
        )
        fields = fields_of({**SHAPE, "vocab_size": self._options.vocabulary}, TASKS)
        whole = encoder_of(table, fields, self._seed)
        for number, (name, lesson) in enumerate(
            lessons_of(corpora, english, vectors, self._seed).items()
        ):
            whole = self._trained(whole, name, lesson, self._seed + number)
        if self._accelerator.is_main_process:
            write_original(self._out, cast(whole, torch.float16), self._tokenizer)
            run_folder.finish()
            print(f"written to {self._out}; serve it: EMBED_MODEL={self._out} quintet serve")
        self._accelerator.wait_for_everyone()

    def _settings(self) -> dict[str, Any]:
        options = vars(self._options).items()
        settings = {name: str(value) for name, value in options if name not in _NOT_SETTINGS}
        return {**settings, "processes": str(self._accelerator.num_processes)}

    def _vocabulary(self, corpora: Corpora) -> Pieces:
        with self._accelerator.main_process_first():
            if not self._tokenizer.is_file():
                new = self._tokenizer.with_suffix(".new")
                learn_vocabulary(corpora, self._options.vocabulary, new, self._seed)
                new.replace(self._tokenizer)
        return Pieces.from_file(str(self._tokenizer))

    def _table(self, material: Callable[[], Material]) -> Tensor:
        made = self._work / "table.safetensors"
        if not made.is_file():
            drawn, steps = material(), self._options.table_steps
            config = TrainingConfig(
                steps=steps,
                learning_rate=_TABLE_RATE,
                warm_up=0.02,
                validate_every=max(1, steps // _VALIDATIONS),
                patience=_VALIDATIONS,
            )
            table = Table(self._options.vocabulary, SIZES, self._seed)
            judged = [_Drawn(drawn, self._seed, 1).batch(at) for at in range(_VALIDATION_BATCHES)]
            trainer = Trainer(table, config, self._claimed("table"), self._accelerator)
            trainer.run(_Drawn(drawn, self._seed, 0), judged)
            self._save({"words": table.words.detach().cpu()}, made)
        self._forget("table")
        return load_file(made)["words"]

    def _trained(self, whole: weights.Weights, name: str, lesson: Lesson, seed: int) -> Any:
        """The weights with the adapters of a lesson."""
        made = self._work / f"{name}.safetensors"
        torch.manual_seed(seed)
        encoder = TrainableEncoder(base_of(whole), whole.config)
        for task in lesson.trained:
            encoder.add(task)
        encoder.set_trainable(*lesson.trained)
        if not made.is_file():
            parts = split(lesson.examples, _HELD_OUT, seed)
            batches = BatchOrder(parts.training, lesson.batch_size, seed)
            judged = epoch_batches(parts.validation, lesson.batch_size, [seed])[
                :_VALIDATION_BATCHES
            ]
            steps = self._options.adapter_steps
            config = TrainingConfig(
                steps=steps,
                learning_rate=_ADAPTER_RATE,
                warm_up=0.1,
                validate_every=max(1, steps // _VALIDATIONS),
                patience=_VALIDATIONS,
            )
            objective = self._objective(encoder, lesson)
            Trainer(objective, config, self._claimed(name), self._accelerator).run(
                batches, [parts.validation.only(batch) for batch in judged]
            )
            self._save(_flat({task: encoder.adapter(task) for task in lesson.trained}), made)
        self._forget(name)
        return weights.Weights(
            whole.fields, whole.base, {**whole.adapters, **_nested(load_file(made))}
        )

    def _objective(self, encoder: TrainableEncoder, lesson: Lesson) -> Objective:
        config = replace(encoder.config, max_tokens=lesson.max_tokens)
        tokenizer = Tokenizer(self._work, config), Tasks(config)
        return Objective(encoder, tokenizer, lesson.sides, lesson.loss)

    def _claimed(self, name: str) -> RunFolder:
        """The folder of one training inside this one."""
        run_folder = RunFolder(self._work / name)
        if self._accelerator.is_main_process:
            run_folder.claim({"seed": self._seed})
        self._accelerator.wait_for_everyone()
        return run_folder

    def _forget(self, name: str) -> None:
        """What a training went on with is not needed once its outcome is there."""
        if self._accelerator.is_main_process:
            RunFolder(self._work / name).finish()

    def _save(self, tensors: dict[str, Tensor], path: Path) -> None:
        """Put what a stage has made there, at once or not at all."""
        if self._accelerator.is_main_process:
            new = path.with_suffix(".new")
            save_file(tensors, new)
            new.replace(path)
        self._accelerator.wait_for_everyone()


class _Drawn:
    """Batches of the material, by number."""

    def __init__(self, material: Material, *seed: int) -> None:
        self._material, self._seed = material, seed

    def batch(self, number: int) -> TableBatch:
        return self._material.batch([*self._seed, number])


def _flat(adapters: Mapping[str, weights.Adapter]) -> dict[str, Tensor]:
    return {
        f"{task}/{module}/{part}": tensor
        for task, adapter in adapters.items()
        for module, correction in adapter.items()
        for part, tensor in (("a", correction.a), ("b", correction.b))
    }


def _nested(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, weights.LoraPair]]:
    adapters: dict[str, dict[str, weights.LoraPair]] = defaultdict(dict)
    for name in tensors:
        task, module, _ = name.split("/")
        a, b = (tensors[f"{task}/{module}/{part}"] for part in "ab")
        adapters[task][module] = weights.LoraPair(a, b)
    return adapters
