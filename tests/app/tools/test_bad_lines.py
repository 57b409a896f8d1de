"""Lines that are no records: what --skip-errors leaves out, and which option may be the cause."""

from pathlib import Path

import numpy as np
import pytest

from tests.app.tools.command import read_jsonl, run_here, write_jsonl
from tests.app.tools.scripted import Refusal, Scripted, vector

LINES = [
    b'{"id": "a", "text": "one"}',
    b"",
    b'{"id": "b", "text": "\xe9"}',
    b"{",
    b'{"id": "c", "text": 3}',
    b'{"id": "d"}',
    b'["e", "five"]',
    b'{"id": [], "text": "six"}',
    b'{"id": "f", "text": "bad"}',
    b'{"text": "seven"}',
]
# The numbers of the lines that cannot be read, counted from 1, and of their records from 0.
BAD = {3: 1, 4: 2, 5: 3, 6: 4, 7: 5, 8: 6}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(LINES))
    return tmp_path / "in.jsonl"


def test_bad_lines_are_left_out_with_their_numbers_like_refused_texts(
    scripted: Scripted, file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    refusal = Refusal(400, "input[0] is bad.", param="input")
    scripted.act = lambda asked: refusal if "bad" in asked.texts else None
    given = ("embed", file, "-o", output, "--url", scripted.url)
    stopped = run_here(*given)
    assert (stopped.code, scripted.asked) == (1, [])
    assert stopped.err.startswith("error: line 3: byte 22 of the line, 0xe9, is not UTF-8")
    ended = run_here(*given, "--skip-errors")
    assert ended.code == 2, ended.err
    # A bad line counts as a record: mending it changes no other one's number.
    assert [line["id"] for line in read_jsonl(output)] == ["a", 8]
    failed = read_jsonl(tmp_path / "out.jsonl.errors.jsonl")
    assert [each["record"] for each in failed] == [*BAD.values(), 7]
    assert {tuple(each) for each in failed} == {
        ("id", "text", "record", "line", "status", "error"),
    }
    for each, (line, record) in zip(failed[:-1], BAD.items(), strict=True):
        assert each["error"].startswith(f"line {line}: ")
        assert (each["line"], each["record"]) == (line, record)
        assert (each["id"], each["text"], each["status"]) == (None, None, None)
    refused = {"id": "f", "text": "bad", "record": 7, "line": 9, "status": 400}
    assert failed[-1] == refused | {"error": "the text is bad."}
    assert ended.err.splitlines()[0].startswith("2 texts, ")
    assert "7 failed" in ended.err
    said = f"7 records were left out; {output}.errors.jsonl says which and why."
    assert ended.err.splitlines()[-1] == said


def test_bad_lines_in_a_run_that_goes_on(scripted: Scripted, file: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    given = ("embed", file, "-o", output, "--url", scripted.url, "--skip-errors")
    scripted.act = lambda asked: Refusal(500, "x", param="model") if "bad" in asked.texts else None
    stopped = run_here(*given, "--batch-size", 2)
    assert stopped.code == 1
    assert "7 of 9 texts are kept" in stopped.err
    scripted.act = lambda _: None
    since = len(scripted.asked)
    assert run_here(*given).code == 2
    assert scripted.texts(since) == ["bad", "seven"]
    expected = [vector(text) for text in ("one", "bad", "seven")]
    assert np.array_equal(np.load(output), np.array(expected))
    assert [each["line"] for each in read_jsonl(tmp_path / "out.npy.errors.jsonl")] == [*BAD]


def test_a_document_around_a_bad_line_fails_as_one(scripted: Scripted, tmp_path: Path) -> None:
    """Its other texts alone would get other vectors, and nobody would know."""
    lines = [f'{{"text": "{n}", "doc": "{n // 3}"}}' for n in range(12)]
    lines[4] = "{"  # inside of document 1
    lines.insert(9, "{")  # between documents 2 and 3
    file, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    file.write_text("\n".join(lines))
    given = ("embed", file, "-o", output, "--url", scripted.url, "--skip-errors")
    ended = run_here(*given, "--late-chunking", "--group", "doc")
    assert ended.code == 2
    assert [asked.texts for asked in scripted.asked] == [["0", "1", "2"]]
    failed = read_jsonl(tmp_path / "out.jsonl.errors.jsonl")
    assert [each["record"] for each in failed] == list(range(3, 13))
    assert failed[0]["error"].startswith("not sent, since its document is not whole: line 5: ")
    assert failed[1]["error"].startswith("line 5: invalid JSON")


def test_tokens_leaves_bad_lines_out_too(file: Path) -> None:
    stopped = run_here("tokens", file)
    assert (stopped.code, stopped.out) == (1, "")
    ended = run_here("tokens", file, "--skip-errors", "--each")
    assert ended.code == 2
    assert [line.partition("\t")[0] for line in ended.out.splitlines()] == ["a", "f", "8"]
    said = ended.err.splitlines()
    assert [line.partition(": ")[2].partition(": ")[0] for line in said[:-1]] == [
        f"line {number}" for number in BAD
    ]
    assert said[-1] == "6 lines were left out."


def test_lone_surrogates_are_replaced_and_counted(scripted: Scripted, tmp_path: Path) -> None:
    """What a chunker in JavaScript leaves: both halves of an emoji, each in a text of its own."""
    file = tmp_path / "in.jsonl"
    lines = (r'"one \ud83d"', r'"\ude00 two", "id": "\ud83d"', r'"\ud83d\ude00"')
    file.write_text("\n".join(f'{{"text": {line}}}' for line in lines))
    ended = run_here("embed", file, "-o", tmp_path / "out.jsonl", "--url", scripted.url)
    assert ended.code == 0
    assert set(scripted.texts()) == {"one �", "� two", "\N{GRINNING FACE}"}
    assert [line["id"] for line in read_jsonl(tmp_path / "out.jsonl")] == [0, "�", 2]
    said = "warning: 2 texts had lone surrogates, such as half an emoji; each is read as U+FFFD."
    assert ended.err.splitlines()[-1] == said
    counted = run_here("tokens", file)
    assert (counted.code, counted.err) == (0, said + "\n")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"body": "x", "id": 1}', "no field 'text'; there is 'body', 'id'. Is 'body' "),
        ("a.jsonl", '{"Title": "x", "page content": "x y"}', "say --text-field 'page content'."),
        ("a.csv", "body;id\nx;1\n", "Are the columns separated by ';'? Then say --delimiter ';'."),
        ("a.csv", "body;id\nx,y;1\n", "Are the columns separated by ';'? Then say --delimiter"),
        ("a.csv", "body\tid\nx\t1\n", "Are the columns separated by '\\t'? Then say --delimiter"),
        ("a.jsonl", '{"text": "x"}', "no field 'doc'; there is 'text'. Name one with --group."),
    ],
)
def test_the_option_that_may_be_the_cause_is_named(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    file = tmp_path / name
    file.write_text(content)
    more = ("--late-chunking", "--group", "doc") if "'doc'" in said else ()
    ended = run_here("embed", file, "-o", tmp_path / "o.npy", "--url", "http://127.0.0.1:9", *more)
    assert ended.code == 1
    assert said in ended.err


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("a.csv", "body;text\nx;one, two\n", ("--delimiter", ";")),
        ("a.csv", "body\ttext\nx\tone, two\n", ("--delimiter", "\\t")),
        ("a.tsv", "body\ttext\nx\tone, two\n", ()),
    ],
)
def test_columns_may_be_separated_by_something_else(
    scripted: Scripted, tmp_path: Path, name: str, content: str, options: tuple[str, ...]
) -> None:
    file = tmp_path / name
    file.write_text(content)
    given = ("-o", tmp_path / "out.npy", "--url", scripted.url, *options)
    assert run_here("embed", file, *given).code == 0
    assert scripted.texts() == ["one, two"]


def test_options_that_do_not_fit_the_input_are_sentences(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "in.jsonl", [{"text": "x"}])
    ended = run_here("tokens", file, "--delimiter", ";")
    assert ended.err == f"error: --delimiter is for CSV, and {file} is read as jsonl.\n"
    ended = run_here("tokens", file / "x.jsonl")
    assert ended.err == f"error: cannot read {file}/x.jsonl: Not a directory.\n"
    with pytest.raises(SystemExit):
        run_here("tokens", file, "--delimiter", ";;")


def test_the_first_requests_are_small(scripted: Scripted, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "in.jsonl", ({"text": f"{n}"} for n in range(100)))
    given = ("-o", tmp_path / "out.npy", "--url", scripted.url, "--concurrency", 1)
    assert run_here("embed", file, *given).code == 0
    assert [len(asked.texts) for asked in scripted.asked] == [1, 2, 4, 8, 16, 32, 37]
