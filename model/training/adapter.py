"""`quintet train adapter`: teach one task on data of one's own.

The base stays as it is. What is written is a whole checkpoint in the -hf layout, which the service
serves: the base's tensors and the other tasks' adapters are copied, the taught one is new.

Exit status: 0 done, 2 wrong input (a sentence says what), 130 interrupted.
"""

import argparse
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from model.config import checked_config, read_config
from model.hub import locate
from model.tasks import Tasks
from model.tokenizer import Tokenizer
from model.training import weights
from model.training.batches import Schedule, Split, apart, epoch_of, split
from model.training.data import Examples, read_examples
from model.training.export import write_hf
from model.training.loop import Loop, Plan
from model.training.objective import Objective, Wanted
from model.training.run import Run
from model.training.student import Student
from model.training.summary import summary
from model.training.teaching import Teaching, Wish, teaching_of

_WARM_UP = 0.1
# What is held out where nothing is said: this part, but about so many records at most.
_SHARE, _MOST_VALIDATED = 0.1, 500
# How often a run validates where nothing is said.
_VALIDATIONS = 20
# Options that are no settings: where a run is written, and what stands there by another name.
_NOT_SETTINGS = (
    *("command", "training", "out", "base", "revision", "data", "validation", "mixed_precision"),
)


def run(options: argparse.Namespace) -> None:
    """Teach, and write the checkpoint.

    Raises:
        TrainingError, CheckpointError: the input is not what it must be; the sentence says how.
    """
    folder = locate(options.base, options.revision)
    config = read_config(folder)
    examples = read_examples(options.data)
    wish = Wish(options.task, options.instruction, options.start)
    teaching = teaching_of(wish, config, examples.kind)
    parts = _parts(options, examples)
    accelerator = Accelerator(mixed_precision=options.mixed_precision)
    schedule = Schedule(parts.training, options.batch_size, options.seed)
    plan = _plan(options, schedule, accelerator)
    own = Run(options.out)
    if accelerator.is_main_process:
        own.claim(_settings(options, folder, accelerator))
        _say(teaching, parts, plan, examples.repaired)
    accelerator.wait_for_everyone()
    objective = _objective(options, folder, teaching)
    validation = [
        parts.validation.only(batch)
        for batch in epoch_of(parts.validation, options.batch_size, [options.seed, 0, 1])
    ]
    progress = Loop(objective, plan, own, accelerator).run(schedule, validation)
    if accelerator.is_main_process:
        with own.writing():
            _write(options.out, folder, teaching, objective.student)
        own.finish()
        print(summary(options, teaching, plan, progress))
    accelerator.wait_for_everyone()


def _parts(options: argparse.Namespace, examples: Examples) -> Split:
    if options.validation is not None:
        return apart(examples, read_examples(options.validation))
    share = options.validation_share or min(_SHARE, _MOST_VALIDATED / len(examples))
    return split(examples, share, options.seed)


def _plan(options: argparse.Namespace, schedule: Schedule, accelerator: Accelerator) -> Plan:
    steps = max(1, schedule.per_epoch * options.epochs // accelerator.num_processes)
    steps = min(steps, options.max_steps or steps)
    return Plan(
        steps=steps,
        learning_rate=options.learning_rate,
        warm_up=_WARM_UP,
        validate_every=options.validate_every or max(1, steps // _VALIDATIONS),
        patience=options.patience,
    )


def _settings(
    options: argparse.Namespace, folder: Path, accelerator: Accelerator
) -> dict[str, Any]:
    """What the weights depend on; a run goes on only with the same."""
    said = {name: value for name, value in vars(options).items() if name not in _NOT_SETTINGS}
    files = {"data": options.data, "validation": options.validation}
    read = {name: _digest(path) for name, path in files.items() if path is not None}
    surroundings = {"base": str(folder), "processes": accelerator.num_processes}
    return {**said, **surroundings, **read, "precision": accelerator.mixed_precision}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"{path.name}, sha256 {hashlib.file_digest(file, 'sha256').hexdigest()}"


def _objective(options: argparse.Namespace, folder: Path, teaching: Teaching) -> Objective:
    """The student with the adapters that are needed, and the loss that teaches it."""
    base = weights.read(folder)
    torch.manual_seed(options.seed)
    student = Student.of(base, ())
    for task, start in teaching.starts.items():
        student.add(task, None if start is None else base.adapters[start])
    student.teach(*teaching.taught)
    if options.checkpointing:
        student.checkpoint_activations()
    shape = replace(base.config, max_tokens=min(options.max_tokens, base.config.max_tokens))
    named = checked_config({**base.fields, **teaching.fields})
    reader = Tokenizer(folder, shape), Tasks(named)
    return Objective(student, reader, teaching.sides, Wanted(options.temperature))


def _write(out: Path, folder: Path, teaching: Teaching, student: Student) -> None:
    """The base again, which was not kept beside its float32 twin, with the new adapters."""
    base = weights.read(folder)
    adapters = {**base.adapters, **{task: student.adapter(task) for task in teaching.taught}}
    whole = weights.Weights({**base.fields, **teaching.fields}, base.base, adapters)
    write_hf(out, whole, folder / "tokenizer.json")


def _say(teaching: Teaching, parts: Split, plan: Plan, repaired: int) -> None:
    print(
        f"teaching {' and '.join(teaching.taught)} on {len(parts.training)} {parts.training.kind}, "
        f"at most {plan.steps} steps; {len(parts.validation)} are for validation"
        + (f", {parts.dropped} that share a text with those are left out" if parts.dropped else ""),
        flush=True,
    )
    if repaired:
        said = f"{repaired} records had lone surrogates, such as half an emoji"
        print(f"warning: {said}; each is read as U+FFFD.", flush=True)
