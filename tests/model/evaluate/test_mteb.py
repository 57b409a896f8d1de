"""The interface to MTEB, tested with MTEB's mock tasks, which need no hub."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pytest

mteb = pytest.importorskip("mteb")

from mteb.abstasks.task_metadata import TaskType  # noqa: E402
from mteb.mocks import mock_tasks  # noqa: E402
from mteb.models.models_protocols import EncoderProtocol  # noqa: E402

from model.evaluate import metrics  # noqa: E402
from model.evaluate.embedding_cache import EmbeddingCache  # noqa: E402
from model.evaluate.inprocess import Checkpoint  # noqa: E402
from model.evaluate.mteb_model import TASKS, Quintet  # noqa: E402
from model.rows import Vectors  # noqa: E402
from tests.model.evaluate.data import pairs  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


class _Recording(Checkpoint):
    """A checkpoint that records the tasks it was asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), dtype="float32")
        self.asked: set[str | None] = set()

    def embed(self, texts: Sequence[str], task: str | None) -> Vectors:
        self.asked.add(task)
        return super().embed(texts, task)


class _Pairs(mock_tasks.MockSTSTask):
    """STS on our own pairs."""

    def load_data(self, **_: object) -> None:
        import datasets

        columns = {"sentence1": "a", "sentence2": "b", "score": "score"}
        records = [{name: each[ours] for name, ours in columns.items()} for each in pairs()]
        self.dataset = datasets.DatasetDict({"test": datasets.Dataset.from_list(records)})
        self.data_loaded = True


def _score(model: Quintet, task: object) -> float:
    found = mteb.evaluate(model, task, cache=None, show_progress_bar=False, co2_tracker=False)
    return found.task_results[0].get_score()


def test_the_table_has_mtebs_task_types(original: Path) -> None:
    assert set(TASKS) <= set(get_args(TaskType))
    assert isinstance(Quintet(_Recording(original)), EncoderProtocol)


@pytest.mark.parametrize(
    ("task", "adapters"),
    [
        (mock_tasks.MockSTSTask, {"text-matching"}),
        (mock_tasks.MockRetrievalTask, {"retrieval.query", "retrieval.passage"}),
        (mock_tasks.MockClassificationTask, {"classification"}),
        (mock_tasks.MockMultilingualClusteringFastTask, {"separation"}),
        (mock_tasks.MockBitextMiningTask, {"text-matching"}),
    ],
)
def test_each_kind_of_task_is_read_with_its_adapter(
    original: Path, task: type, adapters: set[str]
) -> None:
    model = _Recording(original)
    assert 0 <= abs(_score(Quintet(model), task())) <= 1
    assert model.asked == adapters


def test_mtebs_spearman_is_ours_at_every_size(original: Path) -> None:
    model = _Recording(original)
    a, b = ([each[side] for each in pairs()] for side in "ab")
    scores = [each["score"] for each in pairs()]
    for size in model.sizes:
        ours = metrics.spearman(
            *(EmbeddingCache(model).texts(side, "text-matching", size) for side in (a, b)), scores
        )
        # MTEB rounds to six digits.
        assert _score(Quintet(model, size), _Pairs()) == pytest.approx(ours, abs=1e-5)
