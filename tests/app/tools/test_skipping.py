"""Records that a service refuses: who is blamed, what stops, what --skip-errors leaves out."""

from pathlib import Path

import numpy as np
import pytest

from tests.app.tools.command import read_jsonl, run_here, write_jsonl
from tests.app.tools.scripted import Refusal, Scripted
from tests.app.tools.test_http_client import TEXTS, assert_complete, embed
from tests.server import Service, running


def bad_texts(*numbers: int) -> tuple[set[str], Refusal]:
    return {TEXTS[number] for number in numbers}, Refusal(400, "input[0] is bad.", param="input")


def test_a_refused_text_ends_the_run_with_its_number_id_and_line(
    service: Service, tmp_path: Path
) -> None:
    records = [{"id": f"id {n}", "text": "short"} for n in range(20)]
    records[13]["text"] = "word " * 9000
    file, output = write_jsonl(tmp_path / "in.jsonl", records), tmp_path / "out.jsonl"
    given = ("embed", file, "-o", output, "--url", service.url, "--batch-size", 4)
    ended = run_here(*given)
    assert ended.code == 1
    said = "error: record 13 (id 'id 13', line 14): the text has 9000 tokens; this model reads at"
    assert ended.err.startswith(said)
    assert "11 of 20 texts are kept" in ended.err
    assert not output.exists()
    # The way on without it.
    ended = run_here(*given, "--skip-errors")
    assert ended.code == 2
    assert "1 failed" in ended.err
    kept = [record["id"] for record in records if record is not records[13]]
    assert [line["id"] for line in read_jsonl(output)] == kept
    (failed,) = read_jsonl(tmp_path / "out.jsonl.errors.jsonl")
    sentence = failed.pop("error")
    assert failed == {**records[13], "record": 13, "line": 14, "status": 400}
    assert sentence.startswith("the text has 9000 tokens")


def test_skipping_finds_the_bad_texts_by_halves(scripted: Scripted, tmp_path: Path) -> None:
    bad, refusal = bad_texts(0, 13, 14, 63)
    scripted.act = lambda asked: refusal if bad & set(asked.texts) else None
    ended = embed(scripted, tmp_path, "--skip-errors", "--batch-size", 16)
    assert ended.code == 2
    assert_complete(tmp_path, [text for text in TEXTS if text not in bad])
    failed = read_jsonl(tmp_path / "out.npy.errors.jsonl")
    assert [each["record"] for each in failed] == [0, 13, 14, 63]
    assert {each["text"] for each in failed} == bad
    # Logarithmic, and not one by one.
    assert len(scripted.asked) <= 4 + 4 * 2 * 4


def test_a_document_is_skipped_whole(scripted: Scripted, tmp_path: Path) -> None:
    records = [{"text": text, "doc": number // 4} for number, text in enumerate(TEXTS)]
    file = write_jsonl(tmp_path / "in.jsonl", records)
    bad, refusal = bad_texts(5)
    scripted.act = lambda asked: refusal if bad & set(asked.texts) else None
    given = (file, "-o", tmp_path / "out.npy", "--url", scripted.url)
    ended = run_here("embed", *given, "--late-chunking", "--group", "doc", "--skip-errors")
    assert ended.code == 2
    assert_complete(tmp_path, TEXTS[:4] + TEXTS[8:])
    failed = read_jsonl(tmp_path / "out.npy.errors.jsonl")
    assert [each["record"] for each in failed] == [4, 5, 6, 7]
    assert len(scripted.asked) == 16


@pytest.mark.parametrize(
    "refusal",
    [Refusal(401, "no key"), Refusal(422, "no such task", param="task"), Refusal(404, "no model")],
)
def test_a_wrong_option_is_not_blamed_on_texts(
    scripted: Scripted, tmp_path: Path, refusal: Refusal
) -> None:
    scripted.act = lambda _: refusal
    ended = embed(scripted, tmp_path, "--skip-errors", "--concurrency", 1)
    assert (ended.code, len(scripted.asked)) == (1, 1)
    assert ended.err.startswith(f"error: {refusal.detail}\n")


@pytest.mark.parametrize("skipping", [False, True])
def test_texts_that_are_too_many_tokens_together_are_sent_in_parts(
    tmp_path: Path, skipping: bool
) -> None:
    texts = ["word " * 30] * 16
    file, output = tmp_path / "in.txt", tmp_path / "out.npy"
    file.write_text("".join(f"{text}\n" for text in texts))
    with running(max_flex_queue_tokens=100) as small:
        given = ("embed", file, "-o", output, "--url", small.url, "--flex", "--concurrency", 1)
        ended = run_here(*given, *(["--skip-errors"] if skipping else []))
    assert ended.code == 0, ended.err
    vectors = np.load(output)
    assert len(vectors) == len(texts)
    assert np.allclose(vectors, vectors[0], atol=1e-3)
