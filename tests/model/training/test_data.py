"""Files to learn from: every form that is understood, and a sentence for what is not."""

import json
import lzma
from pathlib import Path

import pytest

from model.training.data import LABELLED, PAIRS, SCORED, TRIPLES, read_examples
from model.training.errors import TrainingError
from tests.model.training.records import labelled, write


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


@pytest.mark.parametrize("split", ["dev", "val", "valid", "validation"])
def test_a_file_to_validate_with_may_say_that_it_is_one(tmp_path: Path, split: str) -> None:
    dev = [{**each, "split": split} for each in labelled(3, seed=1)]
    rest = [{**each, "split": name} for each in labelled() for name in ("train", "test")]
    path = tmp_path / "data.jsonl"
    for records in (dev, [*rest, *dev]):
        found = read_examples(write(path, records), validation=True)
        assert found.columns[0] == tuple(each["text"] for each in dev)
    assert len(read_examples(path)) == len(labelled())
    for records in (labelled(), rest):
        found = read_examples(write(path, records), validation=True)
        assert len(found) == len(labelled())
