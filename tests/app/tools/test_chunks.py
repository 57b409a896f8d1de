"""`quintet embed --chunk`: a record for each chunk, in every format, resumed and skipped."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet
import pytest

from tests.app.tools.command import Command, read_jsonl, run, run_here, write_jsonl
from tests.app.tools.scripted import Asked, Refusal, Scripted
from tests.server import Service

TEXTS = ["One sentence. Two!", "", "Drei Sätze. 你好。再见！ 😀", "x " * 300, "Last one."]  # noqa: RUF001
CUT = ("--chunk", "sentences", "--max-tokens", 16, "--min-tokens", 1)
COLUMNS = ("id", "chunk", "start", "end", "text", "embedding_space", "embedding")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    records = [{"id": f"d{index}", "text": text} for index, text in enumerate(TEXTS)]
    return write_jsonl(tmp_path / "docs.jsonl", records)


@pytest.fixture(scope="module")
def expected(service: Service) -> list[dict[str, Any]]:
    body = {"input": TEXTS, "chunking": {"max_tokens": 16, "min_tokens": 1}, "dimensions": 32}
    answer = service.post("/v1/documents", **body).json()
    told = ("start", "end", "text", "embedding")
    return [
        {"id": f"d{each['index']}", "chunk": chunk["index"], **{name: chunk[name] for name in told}}
        for each in answer["data"]
        for chunk in each["chunks"]
    ]


def assert_same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    def told(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {name: line[name] for name in line if not name.startswith("embedding")}
            for line in lines
        ]

    assert told(found) == told(expected)
    both = [np.array([line["embedding"] for line in lines]) for lines in (found, expected)]
    np.testing.assert_allclose((both[0] * both[1]).sum(axis=1), 1, atol=1e-3)


@pytest.mark.parametrize("batch", [1, 64])
def test_jsonl_has_a_line_for_each_chunk(
    service: Service, file: Path, expected: list[dict[str, Any]], tmp_path: Path, batch: int
) -> None:
    output = tmp_path / "out.jsonl"
    asked = ("--url", service.url, "--dimensions", 32, "--batch-size", batch)
    ended = run_here("embed", file, "-o", output, *asked, *CUT)
    assert ended.code == 0, ended.err
    lines = read_jsonl(output)
    assert {tuple(line) for line in lines} == {COLUMNS}
    assert_same(lines, expected)
    assert ended.err.startswith("5 texts, ")
    for line in lines:
        text = TEXTS[int(line["id"][1:])]
        assert text[line["start"] : line["end"]] == line["text"]


def test_parquet_has_a_row_for_each_chunk(
    service: Service, file: Path, expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    output = tmp_path / "out.parquet"
    asked = ("--url", service.url, "--dimensions", 32, *CUT)
    assert run_here("embed", file, "-o", output, *asked).code == 0
    table = pyarrow.parquet.read_table(output)
    assert tuple(table.column_names) == COLUMNS
    assert_same(table.to_pylist(), expected)


def test_npy_has_what_is_told_of_each_row_beside_it(
    service: Service, file: Path, expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    asked = ("--url", service.url, "--dimensions", 32, *CUT)
    assert run_here("embed", file, "-o", tmp_path / "out.npy", *asked).code == 0
    vectors, told = np.load(tmp_path / "out.npy"), read_jsonl(tmp_path / "out.npy.ids.jsonl")
    lines = [{**each, "embedding": vector} for each, vector in zip(told, vectors, strict=True)]
    assert_same(lines, expected)


def test_a_stream_gets_chunks_and_a_file_without_a_token_has_none(
    service: Service, tmp_path: Path
) -> None:
    for texts, chunks in ((["a", "b c"], 2), (["", " "], 0)):
        lines = "".join(orjson.dumps({"text": text}).decode() + "\n" for text in texts)
        ended = run("embed", "-", "-o", "-", "--url", service.url, "--chunk", "tokens", text=lines)
        assert ended.code == 0, ended.err
        assert len(ended.out.splitlines()) == chunks


def test_documents_that_are_too_many_chunks_together_are_sent_in_parts(
    engine: Service, tmp_path: Path
) -> None:
    file = write_jsonl(tmp_path / "in.jsonl", [{"text": "A. " * 2500} for _ in range(5)])
    output = tmp_path / "out.npy"
    asked = ("--url", engine.url, "--dimensions", 1, *CUT)
    ended = run_here("embed", file, "-o", output, *asked)
    assert ended.code == 0, ended.err
    assert np.load(output).shape == (5 * 2500, 1)


def test_a_refused_document_is_left_out_alone(service: Service, tmp_path: Path) -> None:
    texts = ["good one.", "a " * 131_073, "good too."]
    file = write_jsonl(tmp_path / "in.jsonl", [{"text": text} for text in texts])
    output = tmp_path / "out.jsonl"
    asked = ("--url", service.url, *CUT)
    ended = run_here("embed", file, "-o", output, *asked)
    assert ended.code == 1
    assert "record 1 (line 2): the text has 131073 tokens; a document may have" in ended.err
    ended = run_here("embed", file, "-o", output, *asked, "--skip-errors")
    assert ended.code == 2
    assert [line["id"] for line in read_jsonl(output)] == [0, 2]
    (failed,) = read_jsonl(tmp_path / "out.jsonl.errors.jsonl")
    assert (failed["record"], failed["status"]) == (1, 400)


@pytest.mark.parametrize("named", [True, False])
def test_a_refused_document_of_a_request_that_was_split_is_named(
    scripted: Scripted, tmp_path: Path, named: bool
) -> None:
    """Records 3 to 6 are one batch, which is too much together; its third document is refused."""

    def act(asked: Asked) -> Refusal | None:
        if len(asked.texts) == 4:
            return Refusal(400, "the documents are too much together.", param="input")
        if "bad" not in asked.texts:
            return None
        if not named and len(asked.texts) == 2:
            return Refusal(400, "two are too much.", param="input")
        index = f"input[{asked.texts.index('bad')}]" if named else "it"
        return Refusal(400, f"{index} is too long.", param="input")

    scripted.act = act
    texts = ["good"] * 5 + ["bad", "good"]
    file = write_jsonl(tmp_path / "in.jsonl", [{"text": text} for text in texts])
    asked = ("--url", scripted.url, *CUT)
    ended = run_here("embed", file, "-o", tmp_path / "out.jsonl", *asked)
    assert ended.code == 1
    subject = "the text" if named else "it"
    assert ended.err.startswith(f"error: record 5 (line 6): {subject} is too long.\n")


def test_a_run_that_was_killed_goes_on_with_the_rest(
    scripted: Scripted, file: Path, tmp_path: Path
) -> None:
    def hold(asked: Asked) -> None:
        if asked.number == 2:
            assert scripted.released.wait(60)

    scripted.act = hold
    output = tmp_path / "out.jsonl"
    asked = ("embed", file, "-o", output, "--url", scripted.url, "--batch-size", 1, *CUT)
    command = Command(*asked, "--concurrency", 1)
    scripted.wait_for_requests(3)
    command.kill()
    scripted.released.set()
    before = len(scripted.asked)
    changed = run(*asked[:-1], 2)
    assert changed.code == 1
    assert "--chunking was {'by': 'sentences'" in changed.err
    ended = run(*asked)
    assert ended.code == 0, ended.err
    assert sorted(scripted.texts(before)) == sorted(TEXTS[2:])  # sent side by side
    whole = tmp_path / "whole.jsonl"
    assert run(*asked[:3], whole, *asked[4:]).code == 0
    assert output.read_bytes() == whole.read_bytes()
    assert all(each.body["chunking"]["max_tokens"] == 16 for each in scripted.asked)
    assert not any(each.body["document_embedding"] for each in scripted.asked)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--max-tokens", 3), "--max-tokens goes with --chunk."),
        (("--overlap", 0), "--overlap goes with --chunk."),
        (("--chunk", "tokens", "--truncate"), "--truncate does not go with --chunk"),
        (
            ("--chunk", "tokens", "--late-chunking", "--group", "id"),
            "--late-chunking does not go with --chunk",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    file: Path, tmp_path: Path, arguments: tuple[object, ...], said: str
) -> None:
    ended = run_here("embed", file, "-o", tmp_path / "out.jsonl", *arguments)
    assert ended.code == 1
    assert said in ended.err


def test_the_service_judges_the_sizes(service: Service, file: Path, tmp_path: Path) -> None:
    wrong = ("--url", service.url, "--chunk", "tokens", "--max-tokens", 9000)
    ended = run_here("embed", file, "-o", tmp_path / "out.jsonl", *wrong)
    assert ended.code == 1
    assert "chunking.max_tokens is 9000; this model takes 1 to 8192." in ended.err
