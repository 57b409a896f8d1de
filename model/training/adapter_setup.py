"""Decides which adapters are trained, what they start from, and which embeds which texts."""

import re
from dataclasses import dataclass
from typing import Any

from model.config import EncoderConfig
from model.modules import adapter_folder
from model.training.data import LABELLED
from model.training.errors import TrainingError
from model.training.objective import SideTasks
from model.unicode import well_formed

QUERY, PASSAGE = "retrieval.query", "retrieval.passage"
# `--task` for both of them together.
BOTH = "retrieval"
# `--start` of an adapter whose correction is 0.
ZERO = "none"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class AdapterOptions:
    """The command line's options on the task; None where they are not given."""

    task: str
    instruction: str | None = None
    start: str | None = None


@dataclass(frozen=True, slots=True)
class AdapterSetup:
    """`trained` are the tasks whose adapters are trained, `sides` the tasks that embed the sides of
    a record. `starts` has for each task of these the task whose adapter it starts from, or None for
    an adapter whose correction is 0. `fields` are those that the new config.json changes."""

    trained: tuple[str, ...]
    sides: SideTasks
    starts: dict[str, str | None]
    fields: dict[str, Any]


def set_up_adapters(options: AdapterOptions, config: EncoderConfig, kind: str) -> AdapterSetup:
    """What to train with these options, on a base with this config and data of this kind.

    Raises:
        TrainingError: the base has no such task to start from, the name cannot be a task's, or
            the options contradict each other.
    """
    task, tasks = options.task, ", ".join(config.tasks)
    new = task not in (*config.tasks, BOTH)
    two_sided = {QUERY, PASSAGE} <= set(config.tasks) and kind != LABELLED
    if task == BOTH and not two_sided:
        raise TrainingError(
            f"--task {BOTH} teaches {QUERY} and {PASSAGE} on questions and passages; this base has "
            f"{tasks}, and the data are {kind}."
        )
    if new:
        _check_name(task, config)
        _check_instruction(options.instruction or "")
    elif options.instruction is not None:
        raise TrainingError(f"--instruction is for a new task; {task} has its own.")
    if options.start not in (None, ZERO, *config.tasks):
        raise TrainingError(f"--start {options.start}: the base has {tasks}; or say {ZERO}.")
    trained = (QUERY, PASSAGE) if task == BOTH else (task,)
    retrieval = two_sided and task in (BOTH, QUERY, PASSAGE)
    sides = SideTasks(QUERY, PASSAGE) if retrieval else SideTasks(task, task)
    starts: dict[str, str | None] = {sides.first: sides.first, sides.second: sides.second}
    if new or options.start is not None:
        start = None if options.start in (None, ZERO) else options.start
        starts |= dict.fromkeys(trained, start)
    return AdapterSetup(trained, sides, starts, _new_fields(options, config) if new else {})


def _new_fields(options: AdapterOptions, config: EncoderConfig) -> dict[str, Any]:
    return {
        "lora_adaptations": [*config.tasks, options.task],
        "task_instructions": {**config.instructions, options.task: options.instruction or ""},
    }


def _check_instruction(text: str) -> None:
    if well_formed(text) != text:
        raise TrainingError("--instruction is not UTF-8; config.json, which keeps it, is.")


def _check_name(task: str, config: EncoderConfig) -> None:
    if not _NAME.fullmatch(task) or task == ZERO:
        raise TrainingError(
            f"{task!r} cannot be a task's name: letters, digits, dots, dashes and underscores, at "
            f"most 64, and not {ZERO!r}."
        )
    for other in config.tasks:
        if adapter_folder(other) == adapter_folder(task):
            raise TrainingError(f"{task!r} would have the folder of {other}; choose another name.")
