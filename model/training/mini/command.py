"""`quintet train mini`: make the embedded model.

Text -> vocabulary -> the teacher's vectors -> student -> healing -> adapters -> checkpoint in the
original layout -> evaluation. Each stage saves its outcome in OUT/training; after an
interruption the same command resumes after the last stage, and inside of a training at its last
saved state.

Exit status: 0 done, 2 wrong input (a sentence says what), 130 interrupted.
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from tokenizers import Tokenizer as Pieces

from model.devices import best_dtype
from model.evaluate.arguments import add_arguments
from model.evaluate.command import run as evaluate
from model.evaluate.datasets import Sampling
from model.evaluate.errors import EvaluationError
from model.evaluate.evaluated_model import EvaluatedModel
from model.evaluate.evaluation import read_datasets
from model.extras import how_to_install, missing
from model.rows import Row, Vectors
from model.training import adapter_setup, weights
from model.training.base import base_of, tensors_of
from model.training.errors import TrainingError
from model.training.export import write_original
from model.training.mini.corpora import read_corpora
from model.training.mini.healing import SHARE, Healing, TeacherSpace
from model.training.mini.initial import centred, reordered
from model.training.mini.lessons import Judge, lessons_of
from model.training.mini.material import TOKENS, Draw, Material
from model.training.mini.stages import Gain, Stages, Tensors
from model.training.mini.student import stored, student_of
from model.training.mini.teacher import QUERY_PREFIX, Teacher
from model.training.mini.teacher_file import TeacherFile
from model.training.mini.teaching import Teaching, gained, training_config
from model.training.mini.texts import PASSAGE, QUESTION, Texts, texts_of
from model.training.mini.vocabulary import chosen_pieces, count_pieces, encode, tokenizer_of
from model.training.optimizers import muon
from model.training.run_folder import RunFolder, damaged, reporting_write_errors
from model.training.trainer import Trainer

_HEALING_RATE = 7e-4
# What decides how the student starts.
_TEXTS_READ, _TOKENS_READ = 300, 64
_NOT_SETTINGS = ("command", "training", "out", "corpora", "teacher")


def run(options: argparse.Namespace) -> None:
    """Make the model.

    Raises:
        TrainingError: the corpora, the teacher or the folder to write are not what they must be,
            or the packages that evaluate are not installed.
    """
    if lacking := missing("evaluate"):
        raise TrainingError(
            f"the model is evaluated at last, and {', '.join(lacking)} is not installed; to "
            f"install it: {how_to_install('evaluate')}"
        )
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
        self._stages = Stages(self._work, accelerator, self._seed)

    def run(self) -> None:
        file, corpora = TeacherFile(self._options.teacher), read_corpora(self._options.corpora)
        self._check(file)
        if self._accelerator.is_main_process:
            RunFolder(self._out).claim(self._settings())
        self._accelerator.wait_for_everyone()
        texts = texts_of(corpora, self._seed)
        kept = self._pieces(file, texts)
        vectors = self._teacher_vectors(file, texts)
        space = TeacherSpace.of(torch.from_numpy(vectors))
        student = self._student(file, kept, texts)
        healed = self._stages.made("healing", lambda: self._heal(student, texts, vectors, space))
        whole = weights.Weights(student.fields, healed, {})
        judge = Judge(texts, vectors, space)
        teaching = Teaching(self._stages, self._accelerator, self._work, judge)
        lessons = lessons_of(corpora, judge, self._seed, self._options.batch_scale)
        adapters: dict[str, weights.Adapter] = {}
        steps = self._options.adapter_steps
        for seed, (name, lesson) in enumerate(lessons.items(), self._seed):
            adapters |= teaching.adapters(name, lesson, whole, steps, seed)
        whole = weights.Weights(student.fields, healed, adapters)
        if self._accelerator.is_main_process:
            self._finish(whole)
            print(f"written to {self._out}; serve it: EMBED_MODEL={self._out} quintet serve")
        self._accelerator.wait_for_everyone()

    def _finish(self, whole: weights.Weights) -> None:
        """Evaluate the checkpoint, then put it where it is wanted, config.json last: a folder that
        has one is a finished run."""
        made = self._work / "checkpoint"
        with reporting_write_errors(made):
            write_original(made, stored(whole), self._tokenizer)
        arguments = argparse.ArgumentParser()
        add_arguments(arguments)
        asked = {"--data": self._options.corpora, "--model": made, "--out": self._out}
        words = [str(word) for option in asked.items() for word in option]
        with self._stages.timed("evaluation"):
            if evaluate(arguments.parse_args(words), _no_service):
                raise TrainingError(f"{made} could not be evaluated.")
        with reporting_write_errors(self._out):
            for name in ("model.safetensors", "tokenizer.json", "config.json"):
                (made / name).replace(self._out / name)
            made.rmdir()

    def _check(self, file: TeacherFile) -> None:
        """
        Raises:
            TrainingError: the teacher has less than is asked for, or the corpora cannot be
                evaluated with, which would be noticed at last.
        """
        try:
            datasets, _ = read_datasets(self._options.corpora, Sampling())
        except EvaluationError as error:
            raise TrainingError(str(error)) from None
        if not datasets:
            raise TrainingError(f"{self._options.corpora} has nothing to evaluate the model with.")
        layers, pieces = file.shape.layers, len(file.pieces)
        if max(self._options.layers) >= layers:
            asked = max(self._options.layers)
            raise TrainingError(f"the teacher has layers 0 to {layers - 1}, not {asked}.")
        if self._options.vocabulary > pieces:
            raise TrainingError(f"the teacher has {pieces} pieces, not {self._options.vocabulary}.")

    def _settings(self) -> dict[str, Any]:
        """What the weights depend on; a run is resumed only with the same."""
        options = vars(self._options).items()
        settings = {name: str(value) for name, value in options if name not in _NOT_SETTINGS}
        corpora = sorted(path for path in self._options.corpora.iterdir() if path.is_file())
        return {
            **settings,
            "corpora": _digest(*corpora),
            "teacher": _digest(self._options.teacher),
            "processes": str(self._accelerator.num_processes),
        }

    def _pieces(self, file: TeacherFile, texts: Texts) -> list[int]:
        """The teacher's pieces that are kept; the tokenizer is written beside them."""
        path = self._work / "pieces.json"
        with self._accelerator.main_process_first():
            if not path.is_file():
                with self._stages.timed("vocabulary"):
                    counts = count_pieces(tokenizer_of(file.pieces), texts.index, texts.langs)
                    kept = chosen_pieces(file.pieces, counts, self._options.vocabulary)
                    tokenizer = tokenizer_of([file.pieces[at] for at in kept]).to_str()
                    new = path.with_suffix(".new")
                    with reporting_write_errors(self._work):
                        self._tokenizer.write_text(tokenizer, encoding="utf-8")
                        new.write_text(json.dumps(kept), encoding="utf-8")
                        new.replace(path)
        try:
            pieces: list[int] = json.loads(path.read_bytes())
        except ValueError:
            raise damaged(path) from None
        return pieces

    def _teacher_vectors(self, file: TeacherFile, texts: Texts) -> Vectors:
        with self._accelerator.main_process_first(), self._stages.timed("teacher"):
            teacher = Teacher(file, self._accelerator.device)
            asked = [QUERY_PREFIX + text for text in texts.index]
            return teacher.vectors(asked, self._work / "teacher").astype("float32")

    def _student(self, file: TeacherFile, kept: Sequence[int], texts: Texts) -> weights.Weights:
        """The student before any training."""
        student = student_of(file, self._options.layers, kept)
        random = np.random.default_rng(self._seed)
        every = list(texts.index)
        some = random.choice(len(every), min(_TEXTS_READ, len(every)), replace=False)
        pieces = Pieces.from_file(str(self._tokenizer))
        rows = [
            Row.single_span(np.array(ids[:_TOKENS_READ], np.int32), None)
            for ids in encode(pieces, [every[at] for at in some], special_tokens=True)
        ]
        return centred(reordered(student, rows), rows, SHARE)

    def _heal(
        self, student: weights.Weights, texts: Texts, vectors: Vectors, space: TeacherSpace
    ) -> tuple[Tensors, Gain]:
        pieces = Pieces.from_file(str(self._tokenizer))
        instructions = student.fields["task_instructions"]
        before = {QUESTION: instructions[adapter_setup.QUERY]}
        before[PASSAGE] = instructions[adapter_setup.PASSAGE]
        draw = Draw(TOKENS * self._options.batch_scale, instructions=before)
        material = Material(texts, pieces, vectors, draw, self._seed)
        batches = material.batches(self._options.healing_tokens)
        sizes = student.config.matryoshka_dimensions
        assert sizes, "the student's config has them"
        torch.manual_seed(self._seed)
        healing = Healing(base_of(student), space, sizes)
        config = training_config(len(batches) // self._accelerator.num_processes, _HEALING_RATE)
        folder = self._stages.training("healing")
        trainer = Trainer(healing, config, folder, self._accelerator, muon)
        state = trainer.run(batches, material.validation())
        return tensors_of(healing.healed(), student.config), gained(state)


def _no_service(name: str, _: Sequence[int]) -> EvaluatedModel:
    raise AssertionError(f"{name}: what is evaluated is a checkpoint")


def _digest(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return f"sha256 {digest.hexdigest()}"
