"""`quintet embed` writes the embedding space beside the vectors, and has all of them in one."""

from pathlib import Path

import httpx
import numpy as np
import pyarrow.parquet
import pytest

from tests.app.tools.command import read_jsonl, run_here, write_jsonl
from tests.app.tools.scripted import Refusal, Scripted
from tests.server import Service

HEADER = "x-embedding-space"
TEXTS = [f"text number {number}" for number in range(20)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "in.jsonl", ({"text": text} for text in TEXTS))


@pytest.fixture(scope="module")
def space(service: Service) -> str:
    spaces = httpx.get(f"{service.url}/info").json()["embedding_spaces"]
    return str(spaces["retrieval.passage"])


def test_every_format_has_the_space(
    service: Service, space: str, file: Path, tmp_path: Path
) -> None:
    asked = ("--url", service.url, "--task", "retrieval.passage", "--dimensions", 8)
    for name in ("out.jsonl", "out.parquet", "out.npy"):
        assert run_here("embed", file, "-o", tmp_path / name, *asked).code == 0
    lines = read_jsonl(tmp_path / "out.jsonl")
    assert [*lines[0]] == ["id", "embedding_space", "embedding"]
    assert {line["embedding_space"] for line in lines} == {space}
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert table.column("embedding_space").to_pylist() == [space] * len(TEXTS)
    assert np.load(tmp_path / "out.npy").shape == (len(TEXTS), 8)
    assert (tmp_path / "out.npy.space.txt").read_text() == f"{space}\n"


def test_chunks_have_it_too(service: Service, space: str, file: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    asked = ("--url", service.url, "--task", "retrieval.passage", "--chunk", "sentences")
    assert run_here("embed", file, "-o", output, *asked).code == 0
    (found,) = {line["embedding_space"] for line in read_jsonl(output)}
    assert found.split(".")[0] == space.split(".", maxsplit=1)[0]
    assert found != space


def test_a_service_that_says_no_space_is_taken_as_it_is(
    scripted: Scripted, file: Path, tmp_path: Path
) -> None:
    for name in ("out.jsonl", "out.parquet", "out.npy"):
        assert run_here("embed", file, "-o", tmp_path / name, "--url", scripted.url).code == 0
    assert [*read_jsonl(tmp_path / "out.jsonl")[0]] == ["id", "embedding"]
    names = pyarrow.parquet.read_table(tmp_path / "out.parquet").column_names
    assert names == ["id", "embedding"]
    assert not (tmp_path / "out.npy.space.txt").exists()
    assert all(HEADER not in asked.headers for asked in scripted.asked)


def test_a_run_goes_on_in_the_space_that_it_began_in_or_not_at_all(
    scripted: Scripted, file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    command = ("embed", file, "-o", output, "--url", scripted.url)
    one_at_a_time = ("--batch-size", 4, "--concurrency", 1)
    scripted.answer_headers = {HEADER: "aaaaaaaaaaaa.bbbbbbbbbbbb"}
    scripted.act = lambda asked: Refusal(403, "no more") if asked.number == 2 else None
    assert run_here(*command, *one_at_a_time).code == 1
    expected = [asked.headers.get(HEADER) for asked in scripted.asked]
    assert expected == [None, "aaaaaaaaaaaa.bbbbbbbbbbbb", "aaaaaaaaaaaa.bbbbbbbbbbbb"]

    scripted.answer_headers = {HEADER: "cccccccccccc.dddddddddddd"}
    scripted.act = lambda _: None
    changed = run_here(*command, *one_at_a_time)
    assert changed.code == 1
    assert scripted.asked[3].headers[HEADER] == "aaaaaaaaaaaa.bbbbbbbbbbbb"
    assert "answers in the embedding space cccccccccccc.dddddddddddd" in changed.err
    assert "in aaaaaaaaaaaa.bbbbbbbbbbbb" in changed.err

    scripted.answer_headers = {HEADER: "aaaaaaaaaaaa.bbbbbbbbbbbb"}
    assert run_here(*command, *one_at_a_time).code == 0
    assert len(read_jsonl(output)) == len(TEXTS)
