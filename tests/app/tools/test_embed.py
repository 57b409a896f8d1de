"""`quintet embed` with a real service: every format, and what the service itself answers."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet
import pytest

from tests.app.tools.command import Command, Ended, read_jsonl, run, run_here, write_jsonl
from tests.server import Service
from tests.waiting import wait_until

TEXTS = [
    "Bio-Hautpflege für empfindliche Haut",
    "新しいメイクのトレンド",
    'a "quoted", text',
    "",
    "tax, bread and winter",
] * 3


@pytest.fixture(scope="module")
def expected(service: Service) -> np.ndarray:
    return embedded(service, TEXTS)


def embedded(service: Service, texts: list[str], **options: Any) -> np.ndarray:
    """(texts, D): the service's own answer."""
    answer = service.embed(input=texts, **options).json()
    return np.array([each["embedding"] for each in answer["data"]], np.float32)


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    # A batch has other neighbours than the one the service was asked for here.
    assert (found * expected).sum(axis=1) == pytest.approx(np.ones(len(expected)), abs=5e-4)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(len(found)), abs=1e-5)


def vectors_of(lines: list[dict[str, Any]]) -> np.ndarray:
    return np.array([line["embedding"] for line in lines], np.float32)


def asked(service: Service, *arguments: object) -> Ended:
    ended = run_here("embed", "--url", service.url, *arguments)
    assert (ended.code, ended.out) == (0, ""), ended.err
    return ended


def only(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_jsonl_to_jsonl_with_ids_of_either_kind(
    service: Service, expected: np.ndarray, tmp_path: Path
) -> None:
    ids = [index if index % 2 else f"id-{index}" for index in range(len(TEXTS))]
    records = [{"id": own, "text": text} for own, text in zip(ids, TEXTS, strict=True)]
    file, output = write_jsonl(tmp_path / "in.jsonl", records), tmp_path / "out.jsonl"
    ended = run("embed", file, "-o", output, "--url", service.url, "--batch-size", 4)
    assert ended.code == 0, ended.err
    lines = read_jsonl(output)
    assert [line["id"] for line in lines] == ids
    assert {tuple(line) for line in lines} == {("id", "embedding_space", "embedding")}
    assert_same(vectors_of(lines), expected)
    tokens = service.embed(input=TEXTS).json()["usage"]["total_tokens"]
    assert ended.err.startswith(f"15 texts, {tokens} tokens in ")
    assert only(tmp_path) == {"in.jsonl", "out.jsonl"}


def test_csv_to_parquet(service: Service, expected: np.ndarray, tmp_path: Path) -> None:
    file, output = tmp_path / "in.csv", tmp_path / "out.parquet"
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["number", "body"])
        writer.writerows(enumerate(TEXTS))
    asked(service, file, "-o", output, "--id-field", "number", "--text-field", "body", "--quiet")
    table = pyarrow.parquet.read_table(output)
    assert table.column("id").to_pylist() == [str(number) for number in range(len(TEXTS))]
    width = expected.shape[1]
    assert str(table.schema.field("embedding").type) == f"fixed_size_list<element: float>[{width}]"
    numbers = table.column("embedding").combine_chunks().flatten().to_numpy()
    assert_same(numbers.reshape(-1, width), expected)


def test_text_to_npy_with_every_option(service: Service, tmp_path: Path) -> None:
    file, output = tmp_path / "in.txt", tmp_path / "out.bin"
    file.write_text("".join(text + "\n" for text in TEXTS), encoding="utf-8")
    options = {"task": "retrieval.query", "dimensions": 32, "model": "quintet-mini"}
    given = [word for name, value in options.items() for word in (f"--{name}", value)]
    ended = asked(service, file, "-o", output, "--format", "npy", "--truncate", "--quiet", *given)
    assert_same(np.load(output), embedded(service, TEXTS, **options))
    # No ids were given: rows are lines. And quiet is quiet.
    assert only(tmp_path) == {"in.txt", "out.bin", "out.bin.space.txt"}
    assert ended.err == ""


def test_flex_is_asked_for_and_goes_with_a_service_that_others_use(
    service: Service, expected: np.ndarray, tmp_path: Path
) -> None:
    file, output = tmp_path / "in.txt", tmp_path / "out.npy"
    file.write_text("".join(text + "\n" for text in TEXTS), encoding="utf-8")
    before = service.log.count("service_tier=flex")
    asked(service, file, "-o", output, "--flex")
    assert_same(np.load(output), expected)
    assert service.log.count("service_tier=flex") > before
    ended = run("embed", file, "-o", tmp_path / "own.npy", "--flex")
    assert (ended.code, "--flex goes with --url" in ended.err) == (1, True)


def test_npy_has_the_ids_beside_it_exactly(service: Service, tmp_path: Path) -> None:
    ids = ["a\nb", 7, "7", "ü"]
    file = write_jsonl(tmp_path / "in.jsonl", [{"id": own, "text": "x"} for own in ids])
    output = tmp_path / "out.npy"
    asked(service, file, "-o", output)
    lines = (tmp_path / "out.npy.ids.jsonl").read_text(encoding="utf-8")
    assert lines == '"a\\nb"\n7\n"7"\n"ü"\n'
    assert len(np.load(output)) == 4


def test_standard_input_and_the_bar_where_it_is_asked_for(
    service: Service, expected: np.ndarray, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    text = "".join(f"{text}\n" for text in TEXTS)
    arguments = ("-", "-o", output, "--input-format", "text", "--progress")
    # An address may have the /v1 that clients of OpenAI's API are given.
    ended = run("embed", "--url", f"{service.url}/v1/", *arguments, text=text)
    assert ended.code == 0, ended.err
    assert [line["id"] for line in read_jsonl(output)] == list(range(15))
    assert_same(vectors_of(read_jsonl(output)), expected)
    assert " texts/s" in ended.err
    assert "tokens/s" in ended.err
    assert only(tmp_path) == {"out.jsonl"}


def test_consecutive_records_of_a_group_are_one_document(service: Service, tmp_path: Path) -> None:
    groups = {"one": TEXTS[:3], "two": TEXTS[:2], "three": ["tax"], "one again": TEXTS[:4]}
    records = [
        {"text": text, "doc": name.removesuffix(" again")}
        for name, texts in groups.items()
        for text in texts
    ]
    file, output = write_jsonl(tmp_path / "in.jsonl", records), tmp_path / "out.jsonl"
    # A document is never split, whatever the batch size.
    asked(service, file, "-o", output, "--late-chunking", "--group", "doc", "--batch-size", 2)
    parts = [embedded(service, texts, late_chunking=True) for texts in groups.values()]
    found = vectors_of(read_jsonl(output))
    assert_same(found, np.concatenate(parts))
    plain = embedded(service, [record["text"] for record in records])
    assert (found * plain).sum(axis=1).min() < 0.99


def test_a_document_over_the_limit_is_read_in_windows_when_asked(
    service: Service, tmp_path: Path
) -> None:
    texts = ["alpha " * 2500, "beta " * 3000, "tax"]
    file = write_jsonl(tmp_path / "in.jsonl", [{"text": text, "doc": "one"} for text in texts])
    options = ("--late-chunking", "--group", "doc", "--late-chunking-overlap", 128)
    asked(service, file, "-o", tmp_path / "out.jsonl", *options)
    direct = embedded(service, texts, late_chunking=True, late_chunking_overlap=128)
    assert_same(vectors_of(read_jsonl(tmp_path / "out.jsonl")), direct)


@pytest.mark.parametrize("ending", ["jsonl", "npy", "parquet"])
def test_an_empty_file_gives_no_vectors(service: Service, tmp_path: Path, ending: str) -> None:
    file, output = tmp_path / "in.jsonl", tmp_path / f"out.{ending}"
    file.touch()
    asked(service, file, "-o", output)
    width = embedded(service, ["x"]).shape[1]
    if ending == "jsonl":
        assert output.read_bytes() == b""
    elif ending == "npy":
        assert np.load(output).shape == (0, width)
    else:
        assert pyarrow.parquet.read_table(output).num_rows == 0


def test_without_a_url_a_service_is_started_and_ended(
    service: Service, expected: np.ndarray, tmp_path: Path
) -> None:
    file, output = tmp_path / "in.txt", tmp_path / "out.npy"
    file.write_text("".join(text + "\n" for text in TEXTS), encoding="utf-8")
    jobs = tmp_path / "jobs of another service"
    ended = run("embed", file, "-o", output, MARK=str(tmp_path), EMBED_DATA_DIR=str(jobs))
    assert ended.code == 0, ended.err
    assert not jobs.exists()
    assert_same(np.load(output), expected)
    assert marked(str(tmp_path)) == []


def marked(mark: str) -> list[psutil.Process]:
    """Processes that inherited the mark of a command."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MARK") == mark and process.status() != "zombie":
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("end", [Command.interrupt, lambda command: command.process.kill()])
def test_a_service_that_was_started_ends_with_the_command(tmp_path: Path, end: Any) -> None:
    command = Command("embed", "-", "-o", tmp_path / "out.jsonl", MARK=str(tmp_path))

    def worker_is_started() -> bool:
        assert command.process.poll() is None
        return any(
            "app.engine.worker" in word for p in marked(str(tmp_path)) for word in p.cmdline()
        )

    wait_until(worker_is_started, "the worker is started")
    processes = [each for each in marked(str(tmp_path)) if each.pid != command.process.pid]
    end(command)
    command.wait()
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert alive == []
    assert marked(str(tmp_path)) == []


def test_a_service_that_does_not_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    ended = run(
        "embed", tmp_path / "in.txt", "-o", tmp_path / "o.npy", "--model", tmp_path / "empty"
    )
    assert ended.code == 1
    assert "error: the embedded service did not start" in ended.err
    assert "has no config.json" in ended.err
    assert only(tmp_path) == {"in.txt", "empty"}
