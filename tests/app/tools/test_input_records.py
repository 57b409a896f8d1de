"""Inputs: what is written is read, and what is wrong is said with its line."""

import csv
import io
import itertools
import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tools import input_records
from app.tools.input_records import Fields, Record, group_records, records, request_batches
from app.tools.tool_errors import ToolError
from model import parsing
from model.records import RecordsError
from model.records import read as lines_of

texts = st.text(st.characters(codec="utf-8"), max_size=20)
lines = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=20)
ids = st.integers(-(2**63), 2**64 - 1) | texts


def read(content: bytes | str, kind: str = "jsonl", fields: Fields | None = None) -> list[Record]:
    stream = io.BytesIO(content.encode() if isinstance(content, str) else content)
    return list(records(lines_of(stream, kind), fields or Fields()))


@given(st.lists(st.tuples(ids, texts)))
def test_jsonl_is_read_as_it_was_written(written: list[tuple[Any, str]]) -> None:
    content = b"".join(orjson.dumps({"id": own, "text": text}) + b"\n" for own, text in written)
    found = read(content)
    assert [(each.id, each.text) for each in found] == written
    assert [each.number for each in found] == list(range(len(written)))
    assert [each.line for each in found] == list(range(1, len(written) + 1))


@given(st.lists(st.tuples(texts, texts)), st.sampled_from(["\n", "\r\n"]))
def test_csv_is_read_as_it_was_written(written: list[tuple[str, str]], end: str) -> None:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator=end)
    writer.writerows([("id", "text"), *written])
    found = read(stream.getvalue(), "csv")
    assert [(each.id, each.text) for each in found] == written
    content = stream.getvalue().split("\n")
    for each in found:
        assert content[each.line - 1].startswith('"')


@given(st.lists(lines), st.sampled_from(["\n", "\r\n"]))
def test_a_text_file_has_one_text_a_line_the_empty_ones_too(written: list[str], end: str) -> None:
    found = read("".join(line + end for line in written), "text")
    # A byte order mark in front of the first text belongs to the file.
    expected = [written[0].removeprefix("\ufeff"), *written[1:]] if written else []
    assert [each.text for each in found] == expected
    assert [each.name for each in found] == list(range(len(written)))


def test_a_last_line_without_an_end_counts_and_blank_lines_of_jsonl_do_not() -> None:
    found = read('{"text": "a"}\n\n  \n{"text": "b"}')
    assert [(each.text, each.number, each.line) for each in found] == [("a", 0, 1), ("b", 1, 4)]
    assert [each.text for each in read("a\nb", "text")] == ["a", "b"]
    assert read('\ufeff{"text": "a"}')[0].text == "a"


@pytest.mark.parametrize("kind", ["jsonl", "csv", "text"])
def test_an_empty_file_has_no_records(kind: str) -> None:
    assert read("", kind) == []


def test_fields_have_the_names_that_are_asked_for() -> None:
    (record,) = read('{"t": "a", "k": 7, "g": "x"}', fields=Fields("t", "k", "g"))
    assert record == Record(0, 1, 7, "a", "x")
    (record,) = read('{"text": "a", "id": null}')
    assert (record.id, record.name) == (None, 0)


@pytest.mark.parametrize(
    ("kind", "content", "fields", "sentence"),
    [
        ("jsonl", '{"text": "a"}\n{"text"', {}, "line 2: invalid JSON, at column 8"),
        ("jsonl", '{"text": "a"}\n["a"]', {}, "line 2: must be an object, not a list."),
        ("jsonl", '\n{"txt": "a"}', {}, "line 2: no field 'text'; there is 'txt'."),
        ("jsonl", "{}", {}, "line 1: no field 'text'; there is nothing."),
        ("jsonl", '{"text": 1}', {}, "line 1: the field 'text' must be a text, not a number."),
        ("jsonl", '{"text": null}', {}, "line 1: the field 'text' must be a text, not null."),
        (
            "jsonl",
            '{"text": "a", "id": []}',
            {},
            "line 1: the field 'id' must be a text or a whole",
        ),
        ("jsonl", '{"text": "a", "id": true}', {}, "not true or false."),
        ("jsonl", '{"text": "a"}', {"id": "id"}, "line 1: no field 'id'; there is 'text'."),
        ("jsonl", '{"text": "a"}', {"group": "doc"}, "line 1: no field 'doc'"),
        ("jsonl", b'{"text": "a"}\n{"text": "\xe9"}', {}, "line 2: byte 11 of the line, 0xe9, is"),
        ("text", b"a\n\xff", {}, "line 2: byte 1 of the line, 0xff, is not UTF-8"),
        ("csv", 'id,text\n1,a\n\n"2\n\n",b\n3\n', {}, "line 7: 1 column, but the header has 2."),
        ("csv", "id,text\n1,a,b\n", {}, "line 2: 3 columns, but the header has 2."),
        ("csv", "id;text\n1;a\n", {}, "line 2: no field 'text'; there is 'id;text'."),
        ("csv", 'id,text\n1,a\n2,"b\nc', {}, "line 3: invalid CSV"),
        ("csv", "text,text\n1,a\n", {}, "line 1: two columns have the name 'text'."),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    kind: str, content: bytes | str, fields: dict[str, str], sentence: str
) -> None:
    with pytest.raises((ToolError, RecordsError), match=re.escape(sentence)):
        read(content, kind, Fields(**fields))


def test_a_line_without_an_end_is_not_read_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "LONGEST_LINE", 100)
    stream = io.BytesIO(b"x" * 1000)
    with pytest.raises(ToolError, match="line 1: longer than 100 bytes"):
        list(records(lines_of(stream, "text"), Fields()))
    assert stream.tell() == 101


@given(st.lists(st.text(max_size=8)), st.integers(1, 5), st.integers(1, 12))
def test_batches_are_all_records_in_order_and_within_both_limits(
    written: list[str], size: int, characters: int
) -> None:
    found = [Record(number, number, None, text) for number, text in enumerate(written)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(input_records, "MOST_CHARACTERS", characters)
        made = list(request_batches(found, size))
    # The first ones are small: 1, 2, 4 and so on.
    assert all(len(batch) <= batch[0].number + 1 for batch in made)
    assert [record for batch in made for record in batch] == found
    for batch in made:
        assert 1 <= len(batch) <= size
        assert len(batch) == 1 or sum(len(each.text) for each in batch) <= characters


@given(st.lists(st.sampled_from(["a", "b", 1, "1"])))
def test_documents_are_consecutive_records_of_one_group(groups: list[str | int]) -> None:
    found = [Record(number, number, None, "x", group) for number, group in enumerate(groups)]
    made = list(group_records(found))
    assert [record for document in made for record in document] == found
    assert all(len({each.group for each in document}) == 1 for document in made)
    for one, other in itertools.pairwise(made):
        assert one[-1].group != other[0].group


def test_a_document_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_records, "MOST_RECORDS", 10)
    found = (Record(number, number + 1, None, "x", "one") for number in range(1000))
    with pytest.raises(ToolError, match="line 11: the document 'one' has more than 10 records"):
        list(group_records(found))
    assert next(found).number == 11
