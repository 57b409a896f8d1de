"""Tasks: the adapter and the instruction of each name."""

from dataclasses import replace

import pytest

from model.config import read_config
from model.tasks import Task, Tasks, UnknownTaskError
from tests.checkpoints import MINI, TASKS

CONFIG = read_config(MINI)


def test_a_task_is_an_adapter_and_an_instruction_and_an_unknown_one_is_refused() -> None:
    tasks = Tasks(CONFIG)
    assert [tasks.by_name(name).adapter for name in TASKS] == [0, 1, 2, 3, 4]
    assert tasks.by_name("retrieval.query").instruction == TASKS["retrieval.query"]
    assert tasks.by_name(None) == Task(None, None, "")
    for name in ("retrieval", "Clustering", "Separation", ""):
        with pytest.raises(UnknownTaskError, match=r"retrieval\.query, retrieval\.passage"):
            tasks.by_name(name)


def test_separation_is_also_asked_for_as_clustering() -> None:
    tasks = Tasks(CONFIG)
    assert tasks.by_name("clustering") == tasks.by_argument("clustering")
    assert tasks.by_name("clustering") == tasks.by_name("separation")
    assert "clustering" not in tasks.names


def test_a_models_own_task_of_that_name_comes_first() -> None:
    instructions = {"separation": "", "clustering": "Cluster: "}
    own = replace(CONFIG, tasks=tuple(instructions), instructions=instructions)
    assert Tasks(own).by_name("clustering") == Task("clustering", 1, "Cluster: ")
    without = replace(CONFIG, tasks=("classification",), instructions={"classification": ""})
    with pytest.raises(UnknownTaskError, match="unknown task 'clustering'"):
        Tasks(without).by_name("clustering")
