"""Tasks: the adapter and the instruction of each name."""

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
    for name in ("retrieval", "clustering", "Separation", ""):
        with pytest.raises(UnknownTaskError, match=r"retrieval\.query, retrieval\.passage"):
            tasks.by_name(name)
