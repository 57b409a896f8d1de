"""What a service may do to a request: be slow, overtake, refuse, drop, not be there."""

import asyncio
import socket
from collections import Counter
from pathlib import Path

import numpy as np
import orjson
import pytest

from app.tools.http_client import Client, RetryPolicy, connect
from tests.app.tools.command import Command, Ended, run, run_here, run_with_closed, write_jsonl
from tests.app.tools.scripted import Asked, Refusal, Scripted, scripted_service, vector

TEXTS = [f"text number {number}" for number in range(64)]


def embed(scripted: Scripted, folder: Path, *more: object) -> Ended:
    """Embed TEXTS, four a request, into out.npy."""
    file = folder / "in.txt"
    if not file.exists():
        file.write_text("".join(text + "\n" for text in TEXTS))
    given = (file, "-o", folder / "out.npy", "--url", scripted.url, "--batch-size", 4, *more)
    return run_here("embed", *given)


def assert_complete(folder: Path, texts: list[str] = TEXTS) -> None:
    assert np.array_equal(np.load(folder / "out.npy"), np.array([vector(text) for text in texts]))


def test_answers_that_overtake_each_other_are_put_in_order(
    scripted: Scripted, tmp_path: Path
) -> None:
    def last_of_four_first(asked: Asked) -> None:
        if asked.number % 4 < 3 and asked.number < 16:  # of 18: the first ones are smaller
            assert scripted.answered[asked.number + 1].wait(30)

    scripted.act = last_of_four_first
    assert embed(scripted, tmp_path).code == 0
    assert_complete(tmp_path)
    assert scripted.at_once == 4


def test_a_slow_first_answer_holds_back_no_more_than_the_window(
    scripted: Scripted, tmp_path: Path
) -> None:
    """While the first one waits, the seven behind it are answered, and no eighth is asked for."""

    def act(asked: Asked) -> None:
        if TEXTS[0] in asked.texts:
            for number in range(8):
                if number != asked.number:
                    assert scripted.answered[number].wait(30)
            assert len(scripted.asked) == 8

    scripted.act = act
    assert embed(scripted, tmp_path).code == 0
    assert_complete(tmp_path)


def test_the_request_is_what_the_options_say(scripted: Scripted, tmp_path: Path) -> None:
    records = [{"text": "a", "doc": 1}, {"text": "b", "doc": 1}]
    file = write_jsonl(tmp_path / "in.jsonl", records)
    options = "--task separation --dimensions 8 --model mine --truncate --late-chunking --group doc"
    given = (file, "-o", tmp_path / "o.npy", "--url", scripted.url, *options.split())
    assert run("embed", *given, QUINTET_API_KEY="a key").code == 0
    assert scripted.asked[0].body == {
        "input": ["a", "b"],
        "encoding_format": "base64",
        "model": "mine",
        "task": "separation",
        "dimensions": 8,
        "late_chunking": True,
        "truncate": True,
    }
    assert scripted.asked[0].headers["authorization"] == "Bearer a key"


def test_refused_and_dropped_requests_are_sent_again_and_not_sooner_than_told(
    scripted: Scripted, tmp_path: Path
) -> None:
    told = {"retry-after": "1", "x-should-retry": "true"}
    plan = [
        Refusal(503, "the queue is full", told),
        Refusal(0),
        Refusal(429, "slow down", told),
        None,
        Refusal(504),
        Refusal(400, "once more", {"x-should-retry": "true"}),
        Refusal(0),
    ]
    scripted.act = lambda asked: plan[asked.number] if asked.number < len(plan) else None
    ended = embed(scripted, tmp_path)
    assert ended.code == 0, ended.err
    assert_complete(tmp_path)
    succeeded: Counter[str] = Counter()
    for asked in scripted.asked:
        refusal = plan[asked.number] if asked.number < len(plan) else None
        if refusal is None:
            succeeded.update(asked.texts)
            continue
        again = next(
            other for other in scripted.asked[asked.number + 1 :] if other.texts == asked.texts
        )
        waited = again.at_s - asked.at_s
        assert waited >= (1 if "retry-after" in refusal.headers else 0.25)
    assert succeeded == Counter(TEXTS)


def test_retries_have_an_end_and_what_was_answered_is_kept(
    scripted: Scripted, tmp_path: Path
) -> None:
    def act(asked: Asked) -> Refusal | None:
        return Refusal(503, "the queue is full.") if TEXTS[20] in asked.texts else None

    scripted.act = act
    ended = embed(scripted, tmp_path, "--retries", 1)
    assert ended.code == 1
    said = f"error: {scripted.url} does not answer after 2 attempts: the queue is full."
    assert ended.err.splitlines()[0] == said
    assert f"19 of 64 texts are kept in {tmp_path}/out.npy.part" in ended.err
    assert Counter(scripted.texts())[TEXTS[20]] == 2
    scripted.act = lambda _: None
    since = len(scripted.asked)
    assert embed(scripted, tmp_path).code == 0
    assert len(scripted.texts(since)) == 45
    assert_complete(tmp_path)


def test_a_service_that_says_not_to_retry_is_believed(scripted: Scripted, tmp_path: Path) -> None:
    scripted.act = lambda _: Refusal(503, "gone for good", {"x-should-retry": "false"})
    ended = embed(scripted, tmp_path, "--concurrency", 1)
    assert (ended.code, len(scripted.asked)) == (1, 1)
    assert ended.err == "error: gone for good\n"
    assert [path.name for path in tmp_path.iterdir()] == ["in.txt"]


def test_an_answer_without_vectors_is_a_sentence(scripted: Scripted, tmp_path: Path) -> None:
    scripted.act = lambda _: Refusal(200)
    ended = embed(scripted, tmp_path)
    assert ended.code == 1
    assert "/v1/embeddings answers 200, but not with base64 vectors." in ended.err


def test_nobody_there_is_a_sentence_at_once_and_a_hint(scripted: Scripted, tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        scripted.url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        # As often as it is by default: nothing is retried before a first answer.
        ended = embed(scripted, tmp_path)
    assert ended.code == 1
    assert ended.err.startswith(
        f"error: nothing answers at {scripted.url}: Connection refused. Is the service running? "
        "`quintet serve` starts it, and --wait 60 waits"
    )


def test_a_service_that_comes_later_is_waited_for_if_asked(tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_text("one\n")
    with scripted_service(listening=False) as later:
        given = ("embed", file, "-o", tmp_path / "o.jsonl", "--url", later.url, "--wait", 60)
        command = Command(*given)
        assert command.process.stderr is not None
        said = command.process.stderr.readline()
        assert said == f"waiting for {later.url}: Connection refused\n"
        later.listen()
        assert command.wait().code == 0
    assert later.texts() == ["one"]


def test_an_interrupt_before_the_first_request_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_text("one\n")
    with scripted_service(listening=False) as never:
        given = ("embed", file, "-o", tmp_path / "o.jsonl", "--url", never.url, "--wait", 600)
        command = Command(*given)
        assert command.process.stderr is not None
        assert command.process.stderr.readline().startswith("waiting for ")
        command.interrupt()
        ended = command.wait()
    assert ended.code == 130
    assert ended.err == "interrupted\nnothing was answered yet: the same command begins anew.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["in.txt"]


def test_a_bad_line_is_told_before_anything_is_sent(scripted: Scripted, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes("\n".join(TEXTS).encode() + b"\n\xff\n")
    ended = embed(scripted, tmp_path)
    assert (ended.code, scripted.asked) == (1, [])
    assert ended.err.startswith("error: line 65: byte 1 of the line, 0xff, is not UTF-8")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--late-chunking", "--late-chunking and --group FIELD go together."),
        ("--late-chunking --group doc", "a text file has one text a line and no fields"),
        ("--url localhost:80", "--url must be like http://host:port, not localhost:80."),
        ("-o /nowhere/out.npy", "there is no folder /nowhere."),
        ("-o .", ". is a folder; name a file."),
    ],
)
def test_options_that_cannot_be_are_sentences(
    scripted: Scripted, tmp_path: Path, options: str, sentence: str
) -> None:
    ended = embed(scripted, tmp_path, *options.split())
    assert ended.code == 1
    assert ended.err.startswith(f"error: {sentence}")


@pytest.mark.parametrize("word", ["embed", "bench"])
@pytest.mark.parametrize("url", ["http://127.0.0.1:9\r", "http://exa mple:9", "http://exam\nple:9"])
def test_an_address_with_white_space_is_a_sentence(tmp_path: Path, word: str, url: str) -> None:
    (tmp_path / "in.txt").write_text("one\n")
    given = [tmp_path / "in.txt", "-o", tmp_path / "out.npy"] if word == "embed" else []
    ended = run_here(word, *given, "--url", url)
    shown = url if url.isprintable() else repr(url)
    said = f"error: --url must be like http://host:port, not {shown}.\n"
    assert (ended.code, ended.err) == (1, said)


def test_an_address_without_a_valid_name_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one\n")
    given = (tmp_path / "in.txt", "-o", tmp_path / "out.npy", "--url", "http://\u2603.example")
    ended = run_here("embed", *given)
    assert ended.code == 1
    assert ended.err.startswith("error: cannot ask http://\u2603.example: ")


def test_standard_error_may_be_closed(scripted: Scripted, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one\ntwo\n")
    words = ["embed", tmp_path / "in.txt", "-o", "-", "--url", scripted.url]
    ran = run_with_closed(2, *words)
    assert ran.returncode == 0
    assert [orjson.loads(line)["id"] for line in ran.stdout.splitlines()] == [0, 1]


def test_a_parquet_without_pyarrow_is_a_sentence(scripted: Scripted, tmp_path: Path) -> None:
    (tmp_path / "shadow").mkdir()
    without = "import sys\nsys.modules['pyarrow'] = None\n"
    (tmp_path / "shadow" / "sitecustomize.py").write_text(without)
    out = ("-o", tmp_path / "out.parquet")
    file = write_jsonl(tmp_path / "in.jsonl", [])
    path = str(tmp_path / "shadow")
    ended = run("embed", file, *out, "--url", scripted.url, PYTHONPATH=path)
    assert (ended.code, scripted.asked) == (1, [])
    assert "error: Parquet needs pyarrow" in ended.err


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/v1/embeddings", "/embeddings"])
def test_an_address_may_have_the_path_that_clients_have(
    scripted: Scripted, tmp_path: Path, path: str
) -> None:
    (tmp_path / "in.txt").write_text("one\n")
    given = (tmp_path / "in.txt", "-o", tmp_path / "out.npy", "--url", scripted.url + path)
    assert run_here("embed", *given).code == 0


def test_waiting_for_a_service_uses_up_no_retries() -> None:
    """Connections that break before a first answer, then one 503, then an answer."""
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await reader.readuntil(b"\r\n\r\n")
        asked += 1
        if asked > 3:
            status = b"503 Service Unavailable" if asked == 4 else b"200 OK"
            writer.write(
                b"HTTP/1.1 %s\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}" % status
            )
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            url = "http://{}:{}".format(*server.sockets[0].getsockname())
            async with connect(url, None, 1) as http:
                assert await Client(http, RetryPolicy(retries=1, wait_s=60)).info() == {}

    asyncio.run(main())
    assert asked == 5
