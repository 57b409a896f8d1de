"""Files to learn from: every form that is understood, and a sentence for what is not."""

import json
import lzma
from itertools import chain
from pathlib import Path

import pytest

from model.training.batches import BatchOrder, epoch_batches, split, split_by_file
from model.training.data import LABELLED, PAIRS, SCORED, TRIPLES, read_examples
from model.training.errors import TrainingError
from tests.model.training.records import TOPICS, labelled, pairs, scored, write


@pytest.mark.parametrize(
    ("record", "kind", "columns", "values"),
    [
        ({"anchor": "x", "positive": "y"}, PAIRS, ("x", "y"), ()),
        ({"question": "x", "passage": "y", "id": 7}, PAIRS, ("x", "y"), ()),
        ({"query": "x", "answer": "y", "negative": "z"}, TRIPLES, ("x", "y", "z"), ()),
        ({"sentence1": "x", "sentence2": "y", "score": 1}, SCORED, ("x", "y"), (1.0,)),
        ({"a": "x", "b": "y", "score": 0.5}, SCORED, ("x", "y"), (0.5,)),
        ({"text": "x", "label": 3, "split": "train"}, LABELLED, ("x",), ("3",)),
    ],
)
def test_the_kinds_are_recognised_by_their_fields(
    tmp_path: Path, record: dict, kind: str, columns: tuple, values: tuple
) -> None:
    read = read_examples(write(tmp_path / "data.jsonl", [record]))
    assert read.kind == kind
    assert tuple(column[0] for column in read.columns) == columns
    assert read.values == values


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", "line 2: invalid JSON, at column"),
        ("[]", "line 2: must be an object, not a list."),
        ('{"text": "x"}', "line 2: its fields are text; needed are"),
        ('{"anchor": "x", "positive": "y"}', "line 2: it is of the kind pairs; those before"),
        ('{"text": " ", "label": "y"}', "line 2: the field 'text' is blank"),
        (
            '{"text": "x", "label": null}',
            "line 2: the field 'label' must be a text or a whole number, not null.",
        ),
        ('{"a": "x", "b": "y", "score": "z"}', "line 2: the field 'score' must be a number"),
        ('{"a": "x", "b": "y", "score": NaN}', "line 2: invalid JSON, at column 31"),
        ('{"a": "x", "query": "x", "b": "y"}', "line 2: it has both query and a"),
        ('{"a": 3, "b": "y"}', "line 2: the field 'a' must be a text, not a number."),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, sentence: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"text": "x", "label": "y"}) + "\n" + line + "\n")
    with pytest.raises(TrainingError) as caught:
        read_examples(path)
    assert f"{path}, {sentence}" in str(caught.value)


def test_files_without_anything_to_learn_are_refused(tmp_path: Path) -> None:
    tests = [{"text": "x", "label": "y", "split": "test"}]
    with pytest.raises(TrainingError, match="has no records to learn from"):
        read_examples(write(tmp_path / "data.jsonl", tests))
    (tmp_path / "data.jsonl.xz").write_bytes(b"no archive")
    with pytest.raises(TrainingError, match=r"cannot read .*data\.jsonl\.xz"):
        read_examples(tmp_path / "data.jsonl.xz")
    (tmp_path / "data.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(TrainingError, match="it is UTF-16; save it as UTF-8"):
        read_examples(tmp_path / "data.jsonl")


def test_records_of_other_splits_are_left_out_and_archives_are_read(tmp_path: Path) -> None:
    records = [{**each, "split": "train"} for each in labelled()]
    lines = [json.dumps({**each, "split": "test"}) for each in labelled(3, seed=1)]
    path = tmp_path / "data.jsonl.xz"
    path.write_bytes(lzma.compress("\n".join([*map(json.dumps, records), *lines]).encode()))
    assert len(read_examples(path)) == len(records)


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
