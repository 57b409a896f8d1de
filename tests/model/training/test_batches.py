"""Examples are split without a text on both sides, and ordered into batches by the seed."""

from itertools import chain
from pathlib import Path

import pytest

from model.training.batches import BatchOrder, epoch_batches, split, split_by_file
from model.training.data import read_examples
from tests.model.training.records import TOPICS, labelled, pairs, scored, write


@pytest.mark.parametrize("records", [labelled(), pairs(), scored()])
def test_no_text_is_both_learned_from_and_validated_with(tmp_path: Path, records: list) -> None:
    """Some first texts have two second ones here, and the other way round."""
    extra = [{**records[0], name: records[-1][name]} for name in records[0] if name != "score"]
    examples = read_examples(write(tmp_path / "data.jsonl", [*records, *records[:9], *extra]))
    for seed in range(20):
        parts = split(examples, 0.3, seed)
        learned = {text for column in parts.training.columns for text in column}
        held = {text for column in parts.validation.columns for text in column}
        assert not learned & held
        sizes = len(parts.training), len(parts.validation), parts.dropped
        assert sum(sizes) == len(examples)
        assert min(sizes[:2]) > 0
    assert split(examples, 0.3, 1) == split(examples, 0.3, 1) != split(examples, 0.3, 2)
    shuffled = read_examples(write(tmp_path / "other.jsonl", [*extra, *records[:9], *records]))
    held = split(shuffled, 0.3, 1).validation
    assert sorted(held.columns[0]) == sorted(split(examples, 0.3, 1).validation.columns[0])
    assert len(split_by_file(examples, held).validation) == len(held)


def test_a_negative_may_be_another_record_s_positive(tmp_path: Path) -> None:
    records = [{**each, "negative": pairs()[0]["positive"]} for each in pairs()]
    examples = read_examples(write(tmp_path / "data.jsonl", records))
    assert split(examples, 0.3, 0).dropped == 0


def test_an_epoch_has_every_record_once_and_another_order_each_time(tmp_path: Path) -> None:
    examples = read_examples(write(tmp_path / "data.jsonl", pairs()))
    batches = epoch_batches(examples, 30, [0, 1])
    assert sorted(chain(*batches)) == list(range(len(examples)))
    assert batches != epoch_batches(examples, 30, [0, 2])
    assert {len(batch) for batch in epoch_batches(examples, 50, [0, 1])} == {50}
    assert len(epoch_batches(examples, 500, [0, 1])) == 1


def test_texts_of_a_label_come_together(tmp_path: Path) -> None:
    examples = read_examples(write(tmp_path / "data.jsonl", labelled()))
    for batch in epoch_batches(examples, 8, [0, 1]):
        labels = [examples.values[index] for index in batch]
        assert all(labels.count(label) % 4 == 0 for label in set(labels))
    assert len(set(chain(*epoch_batches(examples, 8, [0, 1])))) == len(TOPICS) * 20


def test_a_batch_depends_on_its_number_alone(tmp_path: Path) -> None:
    examples = read_examples(write(tmp_path / "data.jsonl", pairs()))
    one, other = BatchOrder(examples, 25, 7), BatchOrder(examples, 25, 7)
    expected = [one.batch(number) for number in range(12)]
    assert [other.batch(number) for number in reversed(range(12))] == expected[::-1]
    assert expected != [BatchOrder(examples, 25, 8).batch(number) for number in range(12)]
