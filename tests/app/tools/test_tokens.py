"""`quintet tokens`: the same counts as /tokenize and the same charge as /v1/embeddings."""

import array
import fcntl
import json
import os
import subprocess
import sys
import termios
from pathlib import Path

from tests.app.tools.command import Command, run, run_here, write_jsonl
from tests.server import Service
from tests.waiting import wait_until

TEXTS = ["Guten Morgen!", "", "新しいメイクのトレンド", "a much longer text " * 20, "x\ty"]


def test_each_text_counts_what_tokenize_says(service: Service, tmp_path: Path) -> None:
    file = write_jsonl(
        tmp_path / "in.jsonl", ({"id": f"t{n}", "text": t} for n, t in enumerate(TEXTS))
    )
    with service.client() as http:
        said = http.post("/tokenize", json={"input": TEXTS, "counts_only": True}).json()
    ended = run_here("tokens", file, "--each")
    lines = [f"t{each['index']}\t{each['tokens']}" for each in said["inputs"]]
    assert (ended.code, ended.out.splitlines(), ended.err) == (0, lines, "")


def test_the_sums_are_the_services(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_text("".join(text + "\n" for text in TEXTS), encoding="utf-8")
    answer = service.embed(input=TEXTS, task="retrieval.query").json()
    with service.client() as http:
        counts = http.post("/tokenize", json={"input": TEXTS}).json()
    ended = run_here("tokens", file, "--json", "--task", "retrieval.query")
    tokens = sorted(each["tokens"] for each in counts["inputs"])
    assert json.loads(ended.out) == {
        "model": "quintet-mini",
        "task": "retrieval.query",
        "texts": 5,
        "total_tokens": counts["total_tokens"],
        "median_tokens": tokens[2],
        "p95_tokens": tokens[4],
        "max_tokens": tokens[4],
        "limit": 8192,
        "over_limit": 0,
        "first_over_limit": [],
        "charged_tokens": answer["usage"]["total_tokens"],
    }


def test_the_table_names_the_first_ten_that_are_too_long() -> None:
    lines = "".join(f"{'word ' * 9000}\nshort\n" for _ in range(12))
    ended = run("tokens", "-", "--input-format", "text", text=lines)
    assert ended.code == 0
    assert "of 8192 tokens; record 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, ..." in ended.out
    table = dict(line.rsplit("  ", 1)[0].rsplit(None, 1) for line in ended.out.splitlines())
    assert table["texts"] == "24"
    assert table["over the limit"] == "12"
    assert int(table["charged"]) == int(table["tokens"]) + 2 * 24


def test_a_full_pipe_that_does_not_block_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_text("some words\n" * 20_000)
    command = Command("tokens", file, "--each", blocking=False)
    pipe = command.process.stdout
    assert pipe is not None
    room = fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 4096)
    waiting = array.array("i", [0])

    def full() -> bool:
        fcntl.ioctl(pipe, termios.FIONREAD, waiting)
        return waiting[0] == room

    wait_until(full, "a full pipe")
    ended = command.wait()
    assert (ended.code, ended.err, len(ended.out.splitlines())) == (0, "", 20_000)


def test_wrong_options_and_lines_are_sentences(tmp_path: Path) -> None:
    bad = run("tokens", "-", text='{"text": "a"}\n{}\n')
    assert (bad.code, bad.err) == (1, "error: line 2: no field 'text'; there is nothing.\n")
    (tmp_path / "in.txt").touch()
    task = run_here("tokens", tmp_path / "in.txt", "--task", "translation")
    assert (task.code, "error: unknown task 'translation'" in task.err) == (1, True)
    model = run_here("tokens", tmp_path / "in.txt", "--model", "./nowhere")
    assert (model.code, "error: ./nowhere is neither a folder" in model.err) == (1, True)
    gone = run_here("tokens", tmp_path / "gone.txt")
    assert (gone.code, gone.err) == (1, f"error: there is no file {tmp_path}/gone.txt.\n")
    (tmp_path / "in.dat").touch()
    assert (
        "says what it is; say it with --input-format."
        in run_here("tokens", tmp_path / "in.dat").err
    )


def test_a_reader_who_leaves_early_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_text("word\n" * 20_000)
    command = [sys.executable, "-m", "app", "tokens", str(file), "--each"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"0\t1\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_counting_needs_no_torch() -> None:
    code = (
        "import sys, app.__main__ as m; m.main(['tokens', '-']); "
        "m.main(['embed', '-', '-o', '/nowhere/x']); assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
