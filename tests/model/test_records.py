"""Files as people have them, through all four readers: each must say the same of every one."""

import bz2
import gzip
import io
import lzma
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tools.input_file import InputFile
from app.tools.input_records import Fields
from app.tools.tool_errors import ToolError
from model import parsing
from model.evaluate.errors import EvaluationError
from model.evaluate.files import read_folder
from model.records import LineError, RecordsError, read_file
from model.training.data import read_examples
from model.training.errors import TrainingError
from model.training.mini.corpora import read_corpora
from model.unicode import well_formed

# The texts of a file's records, each with its label; or where and why there is no reading on.
Verdict = list[tuple[str, str]] | str


def by_embed(file: Path) -> list[tuple[str, str]]:
    source = InputFile(str(file), "jsonl", Fields("text", "label"))
    return [(each.text, str(each.id)) for each in source.records()]


def by_evaluation(file: Path) -> list[tuple[str, str]]:
    (found,), _ = read_folder(file.parent)
    return [(each["text"], each["label"]) for each in found.records]


def by_training(file: Path) -> list[tuple[str, str]]:
    examples = read_examples(file)
    return list(zip(examples.columns[0], map(str, examples.values), strict=True))


def by_corpora(file: Path) -> list[tuple[str, str]]:
    (found,) = read_corpora(file.parent).labelled.values()
    return found


READERS: list[Callable[[Path], list[tuple[str, str]]]] = [
    by_embed,
    by_evaluation,
    by_training,
    by_corpora,
]


def verdict(reader: Callable[[Path], list[tuple[str, str]]], file: Path) -> Verdict:
    try:
        return reader(file)
    except (ToolError, EvaluationError, TrainingError) as error:
        found = re.search(r"line \d+|cannot read", str(error))
        return found.group() if found else f"no place in {error}"


GOOD = b'{"text": "one", "label": "a"}\n{"text": "two", "label": "b"}\n'
BOTH: Verdict = [("one", "a"), ("two", "b")]
ONE, TWO = GOOD.splitlines(keepends=True)

FILES: dict[str, tuple[str, bytes, Verdict]] = {
    "plain": ("t.jsonl", GOOD, BOTH),
    "another ending": ("t.ndjson", GOOD, BOTH),
    "no last line end": ("t.jsonl", GOOD.rstrip(), BOTH),
    "byte order mark": ("t.jsonl", b"\xef\xbb\xbf" + GOOD, BOTH),
    "carriage returns": ("t.jsonl", GOOD.replace(b"\n", b"\r\n"), BOTH),
    "blank lines": ("t.jsonl", b"\n \t\n" + ONE + b"\r\n\n" + TWO + b"\n\n", BOTH),
    "gzip": ("t.jsonl.gz", gzip.compress(GOOD), BOTH),
    "gzip in two pieces": ("t.jsonl.gz", gzip.compress(ONE) + gzip.compress(TWO), BOTH),
    "xz": ("t.jsonl.xz", lzma.compress(GOOD), BOTH),
    "bzip2": ("t.jsonl.bz2", bz2.compress(GOOD), BOTH),
    "loud ending": ("T.JSONL.GZ", gzip.compress(GOOD), BOTH),
    "whole number": ("t.jsonl", GOOD.replace(b'"b"', b"7"), [("one", "a"), ("two", "7")]),
    "half an emoji": (
        "t.jsonl",
        ONE.replace(b"one", b"one \\ud83d") + TWO,
        [("one \N{REPLACEMENT CHARACTER}", "a"), ("two", "b")],
    ),
    "an escaped emoji": (
        "t.jsonl",
        ONE.replace(b"one", b"\\ud83d\\ude00") + TWO,
        [("\N{GRINNING FACE}", "a"), ("two", "b")],
    ),
    "line separators in a text": (
        "t.jsonl",
        ONE.replace(b"one", "x\u2028\x85".encode()) + TWO,
        [("x\u2028\x85", "a"), ("two", "b")],
    ),
    "fraction": ("t.jsonl", ONE + TWO.replace(b'"b"', b"0.5"), "line 2"),
    "true": ("t.jsonl", ONE + TWO.replace(b'"b"', b"true"), "line 2"),
    "null": ("t.jsonl", ONE + TWO.replace(b'"b"', b"null"), "line 2"),
    "text is a number": ("t.jsonl", ONE + TWO.replace(b'"two"', b"2"), "line 2"),
    "not JSON": ("t.jsonl", ONE + b"\n\n{'text': 'x'}\n", "line 4"),
    "not a number of JSON": ("t.jsonl", ONE + TWO.replace(b'"b"', b"NaN"), "line 2"),
    "cut off": ("t.jsonl", ONE + TWO[:-6], "line 2"),
    "a list": ("t.jsonl", ONE + b'["two", "b"]\n', "line 2"),
    "deep": ("t.jsonl", ONE + b"[" * 100_000 + b"\n", "line 2"),
    "Latin-1": ("t.jsonl", ONE + TWO.replace(b"two", b"\xe9"), "line 2"),
    "UTF-8 of a surrogate": ("t.jsonl", ONE + TWO.replace(b"two", b"\xed\xa0\xbd"), "line 2"),
    "UTF-16": ("t.jsonl", GOOD.decode().encode("utf-16"), "cannot read"),
    "carriage returns alone": ("t.jsonl", GOOD.replace(b"\n", b"\r"), "line 1"),
    "half an archive": ("t.jsonl.gz", gzip.compress(GOOD * 99)[:-20], "cannot read"),
    "half an xz": ("t.jsonl.xz", lzma.compress(GOOD * 99)[:-20], "cannot read"),
    "no archive": ("t.jsonl.xz", GOOD, "cannot read"),
    "an archive by another name": ("t.jsonl", gzip.compress(GOOD), "cannot read"),
    "very long": ("t.jsonl", ONE + TWO.replace(b"two", b"x" * 2000), "line 2"),
}


@pytest.mark.parametrize("name", FILES)
def test_all_readers_say_the_same_of_a_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, content, expected = FILES[name]
    if name == "very long":
        monkeypatch.setattr(parsing, "LONGEST_LINE", 1000)
    (tmp_path / file).write_bytes(content)
    # What macOS and editors leave in a folder is none of its files.
    (tmp_path / f"._{file}").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / f".{file}.jsonl").write_bytes(b"x")
    (tmp_path / "folder.jsonl").mkdir()
    found = {reader.__name__: verdict(reader, tmp_path / file) for reader in READERS}
    assert found == dict.fromkeys(found, expected)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "text"])
def test_a_byte_order_mark_alone_is_an_empty_file(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbf")
    assert [*read_file(tmp_path / "a", kind)] == []


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ('{"text": "ü" x}', 14),
        ('{"\N{GRINNING FACE}": 1,,}', 9),
        ('{"é": "\x01"}', 8),
    ],
)
def test_a_column_is_counted_in_characters(tmp_path: Path, line: str, column: int) -> None:
    (tmp_path / "a.jsonl").write_text(line, encoding="utf-8")
    (found,) = read_file(tmp_path / "a.jsonl", "jsonl")
    assert f"line 1: invalid JSON, at column {column}: " in str(found)


def test_a_byte_is_counted_from_the_lines_first_also_behind_a_byte_order_mark(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfab\xff\n\xc3\xa9\xff")
    first, second = map(str, read_file(tmp_path / "a.txt", "text"))
    assert first.startswith("line 1: byte 6 of the line, 0xff, is not UTF-8")
    assert second.startswith("line 2: byte 3 of the line, 0xff, is not UTF-8")


def test_a_number_that_is_infinite_is_refused_beside_half_a_surrogate_too() -> None:
    lines = [
        b'{"text": "one", "n": 1e999}',
        b'{"text": "\\ud83d", "n": 1e999}',
        b'{"text": "\\ud83d", "n": 12345678901234567890123}',
        b'{"text": "one", "n": 12345678901234567890123}',
    ]
    alone, beside, large, plain = parsing.from_jsonl(
        parsing.lines(io.BytesIO(b"\n".join(lines))), ""
    )
    for bad in (alone, beside):
        assert isinstance(bad, LineError)
        assert "invalid JSON" in str(bad)
    assert isinstance(large, parsing.ParsedRecord)
    assert isinstance(plain, parsing.ParsedRecord)
    assert (large.fields["text"], large.fields["n"]) == ("\ufffd", plain.fields["n"])


def test_reading_goes_on_behind_bad_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "LONGEST_LINE", 40)
    lines = [b'{"n": 1}', b"\xff", b"x" * 99, b'{"n": 4}', b"[]", b"{", b'{"n": 7}']
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    found = list(read_file(tmp_path / "a.jsonl", "jsonl"))
    assert [each.line for each in found] == list(range(1, 8))
    assert [each.line for each in found if isinstance(each, LineError)] == [2, 3, 5, 6]
    rows = [b"n,text", b"1,a", b'2,"a', b"\xff", b'b"', b"3,b,c", b'"4"x,b', b"5,c", b""]
    (tmp_path / "a.csv").write_bytes(b"\n".join(rows))
    found = list(read_file(tmp_path / "a.csv", "csv"))
    # The row around the bad line 4 is not there with a part of its text.
    assert [(each.line, isinstance(each, LineError)) for each in found] == [
        *((2, False), (4, True), (6, True), (7, True), (8, False)),
    ]


def test_a_header_that_cannot_be_read_ends_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"n\xff,text\n1,a\n")
    with pytest.raises(LineError, match="line 1: byte 2"):
        list(read_file(tmp_path / "a.csv", "csv"))
    with pytest.raises(RecordsError, match=r"cannot read .*b.csv: No such file"):
        list(read_file(tmp_path / "b.csv", "csv"))


@given(st.text(st.characters() | st.characters(categories=["Cs"])))
def test_well_formed_text_can_be_written_and_says_the_same(text: str) -> None:
    found = well_formed(text)
    found.encode()
    if not any(unicodedata.category(each) == "Cs" for each in text):
        assert found == text
    assert well_formed(found) == found
