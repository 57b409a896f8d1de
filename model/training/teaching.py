"""Teaching: which adapters a command teaches, who reads which side of a record, and the start."""

import re
from dataclasses import dataclass
from typing import Any

from model.config import EncoderConfig
from model.layouts import adapter_folder
from model.training.data import LABELLED
from model.training.errors import TrainingError
from model.training.objective import Sides

QUERY, PASSAGE = "retrieval.query", "retrieval.passage"
# `--task` for both of them together.
BOTH = "retrieval"
# `--start` of an adapter that corrects nothing yet.
FRESH = "none"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line says of the task; None where it says nothing."""

    task: str
    instruction: str | None = None
    start: str | None = None


@dataclass(frozen=True, slots=True)
class Teaching:
    """`taught` are the tasks whose adapters change, `sides` who reads what. `starts` has for each
    resident task the task whose adapter it starts from, or None for one that corrects nothing.
    `fields` are those of the new config.json that differ."""

    taught: tuple[str, ...]
    sides: Sides
    starts: dict[str, str | None]
    fields: dict[str, Any]


def teaching_of(wish: Wish, config: EncoderConfig, kind: str) -> Teaching:
    """What is to be done for a wish, a base and a kind of data.

    Raises:
        TrainingError: the base has no such task to start from, the name cannot be a task's, or
            the wish contradicts itself.
    """
    task, known = wish.task, ", ".join(config.tasks)
    new = task not in (*config.tasks, BOTH)
    sided = {QUERY, PASSAGE} <= set(config.tasks) and kind != LABELLED
    if task == BOTH and not sided:
        raise TrainingError(
            f"--task {BOTH} teaches {QUERY} and {PASSAGE} on questions and passages; this base has "
            f"{known}, and the data are {kind}."
        )
    if new:
        _check_name(task, config)
    elif wish.instruction is not None:
        raise TrainingError(f"--instruction is for a new task; {task} has its own.")
    if wish.start not in (None, FRESH, *config.tasks):
        raise TrainingError(f"--start {wish.start}: the base has {known}; or say {FRESH}.")
    taught = (QUERY, PASSAGE) if task == BOTH else (task,)
    retrieval = sided and task in (BOTH, QUERY, PASSAGE)
    sides = Sides(QUERY, PASSAGE) if retrieval else Sides(task, task)
    starts: dict[str, str | None] = {sides.first: sides.first, sides.second: sides.second}
    if new or wish.start is not None:
        start = None if wish.start in (None, FRESH) else wish.start
        starts |= dict.fromkeys(taught, start)
    return Teaching(taught, sides, starts, _fields(wish, config) if new else {})


def _fields(wish: Wish, config: EncoderConfig) -> dict[str, Any]:
    return {
        "lora_adaptations": [*config.tasks, wish.task],
        "task_instructions": {**config.instructions, wish.task: wish.instruction or ""},
    }


def _check_name(task: str, config: EncoderConfig) -> None:
    if not _NAME.fullmatch(task) or task == FRESH:
        raise TrainingError(
            f"{task!r} cannot be a task's name: letters, digits, dots, dashes and underscores, at "
            f"most 64, and not {FRESH!r}."
        )
    for other in config.tasks:
        if adapter_folder(other) == adapter_folder(task):
            raise TrainingError(f"{task!r} would have the folder of {other}; choose another name.")
