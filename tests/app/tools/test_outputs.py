"""What --output may name: links, streams, devices, endings. Nothing is put in the place of what is
no file."""

import os
import select
import socket
import stat
import subprocess
import sys
import threading
import tty
from pathlib import Path

import numpy as np
import orjson
import pytest

from tests.app.tools.command import Command, Ended, read_jsonl, run_here, write_jsonl
from tests.app.tools.scripted import Refusal, Scripted, vector

TEXTS = [f"text number {number}" for number in range(20)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return write_jsonl(folder / "in.jsonl", ({"id": f"id {t}", "text": t} for t in TEXTS))


def embed(scripted: Scripted, file: Path, output: object, *more: object) -> Ended:
    return run_here("embed", file, "-o", output, "--url", scripted.url, *more)


def assert_all(lines: list[dict]) -> None:
    assert [line["id"] for line in lines] == [f"id {text}" for text in TEXTS]
    for line, text in zip(lines, TEXTS, strict=True):
        assert np.array_equal(np.array(line["embedding"], np.float32), vector(text))


def lines_of(content: bytes) -> list[dict]:
    return [orjson.loads(line) for line in content.splitlines()]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed_and_stays(
    scripted: Scripted, file: Path, tmp_path: Path, there: bool
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    target, link = elsewhere / "real.npy", tmp_path / "out.npy"
    link.symlink_to(target)
    if there:
        target.write_bytes(b"old")
        target.chmod(0o600)
        refused = embed(scripted, file, link)
        assert (refused.code, target.read_bytes()) == (1, b"old")
        assert refused.err == f"error: {link} is already there; --overwrite replaces it.\n"
    assert embed(scripted, file, link, "--overwrite").code == 0
    assert link.is_symlink()
    assert np.array_equal(np.load(target), np.array([vector(text) for text in TEXTS]))
    # What stands beside it stands beside what is meant.
    assert {path.name for path in elsewhere.iterdir()} == {"real.npy", "real.npy.ids.jsonl"}
    assert {path.name for path in tmp_path.iterdir()} == {"in", "elsewhere", "out.npy"}
    if there:
        assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_links_beside_the_output_are_followed_too(
    scripted: Scripted, file: Path, tmp_path: Path
) -> None:
    output, errors = tmp_path / "out.jsonl", tmp_path / "elsewhere"
    (tmp_path / "out.jsonl.errors.jsonl").symlink_to(errors)
    (tmp_path / "out.jsonl.unfinished").symlink_to(file)
    refusal = Refusal(400, "input[0] is bad.", param="input")
    scripted.act = lambda asked: refusal if TEXTS[3] in asked.texts else None
    before = file.read_bytes()
    assert embed(scripted, file, output, "--skip-errors").code == 2
    assert [each["record"] for each in read_jsonl(errors)] == [3]
    assert (tmp_path / "out.jsonl.errors.jsonl").is_symlink()
    assert file.read_bytes() == before
    # A run without errors takes the old ones away, and not the link.
    scripted.act = lambda _: None
    assert embed(scripted, file, output, "--overwrite").code == 0
    assert not errors.exists()
    assert (tmp_path / "out.jsonl.errors.jsonl").is_symlink()


def test_a_terminal_is_written_into(scripted: Scripted, file: Path, tmp_path: Path) -> None:
    """A device of the test's own, in a folder in which no file can be put in its place."""
    master, slave = os.openpty()
    tty.setraw(slave)
    read = bytearray()

    def read_all() -> None:
        while read.count(b"\n") < len(TEXTS):
            read.extend(os.read(master, 4096))

    reader = threading.Thread(target=read_all, daemon=True)
    reader.start()
    link = tmp_path / "terminal"
    link.symlink_to(os.ttyname(slave))
    ended = embed(scripted, file, link)
    assert ended.code == 0, ended.err
    assert f" -> {link}" in ended.err
    reader.join(30)
    assert_all(lines_of(bytes(read)))
    assert link.is_symlink()
    assert link.is_char_device()
    assert {path.name for path in tmp_path.iterdir()} == {"in", "terminal"}
    for descriptor in (master, slave):
        os.close(descriptor)


def test_a_full_disk_behind_standard_output_is_a_sentence(scripted: Scripted, file: Path) -> None:
    command = [sys.executable, "-m", "app", "embed", str(file), "-o", "-", "--url", scripted.url]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: cannot write standard output: No space left on device.",
        "0 of 20 texts were written.",
    ]


def test_a_fifo_is_written_into(scripted: Scripted, file: Path, tmp_path: Path) -> None:
    fifo, read = tmp_path / "fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()), daemon=True)
    reader.start()
    ended = embed(scripted, file, fifo)
    assert ended.code == 0, ended.err
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    reader.join(30)
    assert_all(lines_of(read[0]))
    assert {path.name for path in tmp_path.iterdir()} == {"in", "fifo"}


@pytest.fixture
def stdout(tmp_path: Path) -> Path:
    """What /dev/stdout is: a link to the descriptor. An error in the program costs this one."""
    link = tmp_path / "stdout"
    link.symlink_to("/proc/self/fd/1")
    return link


@pytest.mark.parametrize("dash", [True, False])
def test_standard_output_is_jsonl_and_sentences_are_beside_it(
    scripted: Scripted, file: Path, stdout: Path, dash: bool
) -> None:
    output = "-" if dash else stdout
    refusal = Refusal(400, "input[0] is bad.", param="input")
    with file.open("ab") as stream:
        stream.write(b'{"text": "bad"}\n')
    scripted.act = lambda asked: refusal if "bad" in asked.texts else None
    given = (file, "-o", output, "--url", scripted.url, "--progress", "--skip-errors")
    ended = Command("embed", *given).wait()
    assert ended.code == 2
    assert_all(lines_of(ended.out.encode()))
    assert "record 20: the text is bad." in ended.err
    assert "tokens/s" in ended.err
    assert stdout.is_symlink()


def test_standard_output_that_is_a_file_is_appended_to(
    scripted: Scripted, file: Path, stdout: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    output.write_bytes(b"mine\n")
    command = [sys.executable, "-m", "app", "embed", str(file), "--url", scripted.url]
    with output.open("ab") as stream:
        done = subprocess.run(
            [*command, "-o", str(stdout)], stdout=stream, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 0, done.stderr
    first, _, rest = output.read_bytes().partition(b"\n")
    assert first == b"mine"
    assert_all(lines_of(rest))
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out", "stdout"}


def test_a_reader_who_leaves_early_ends_it_with_a_sentence(scripted: Scripted, file: Path) -> None:
    command = Command("embed", file, "-o", "-", "--url", scripted.url, "--concurrency", 1)
    assert command.process.stdout is not None
    command.process.stdout.close()
    command.process.stdout = None
    ended = command.wait()
    assert ended.code == 1
    assert ended.err.startswith("error: whoever read standard output does not read on.\n")


def test_an_interrupt_ends_it_while_nobody_reads(scripted: Scripted, tmp_path: Path) -> None:
    """A pipe takes 64 KiB; then writing waits, and requests wait for the writing."""
    texts = (f"text {number}" for number in range(3000))
    file = write_jsonl(tmp_path / "in.jsonl", ({"text": text} for text in texts))
    command = Command("embed", file, "-o", "-", "--url", scripted.url)
    scripted.wait_for_requests(6 + 8)
    command.interrupt()
    # Its standard output is not read before it has ended.
    assert command.process.wait(60) == 130
    ended = command.wait()
    assert ended.err.startswith("interrupted\n")
    assert "texts were written." in ended.err


def test_a_pipe_has_an_answer_before_the_next_record_is_read(scripted: Scripted) -> None:
    """Whoever writes a record and waits for its vector gets it; a refusal ends the run as soon."""
    refusal = Refusal(400, "input[0] is bad.", param="input")
    scripted.act = lambda asked: refusal if "bad" in asked.texts else None
    command = Command("embed", "-", "-o", "-", "--url", scripted.url)
    assert command.process.stdout is not None
    for batch in (["one"], ["two", "three"]):
        command.write("".join(f'{{"text": "{text}"}}\n' for text in batch))
        assert select.select([command.process.stdout], [], [], 30)[0], batch
        for text in batch:
            found = orjson.loads(command.process.stdout.readline())["embedding"]
            assert np.array_equal(np.array(found, np.float32), vector(text))
    command.write('{"text": "bad"}\n' * 4)
    assert command.process.wait(60) == 1
    assert "the text is bad." in command.wait().err


def test_pipes_that_do_not_block_are_waited_for(scripted: Scripted) -> None:
    """Whoever has an end of them may have set that: an empty pipe is not its end, and a full one
    is no error."""
    command = Command("embed", "-", "-o", "-", "--url", scripted.url, blocking=False)
    assert command.process.stdout is not None
    command.write('{"text": "one"}\n')
    assert "embedding" in orjson.loads(command.process.stdout.readline())
    command.write('{"text": "more"}\n' * 1000)  # several times what the output's pipe takes
    ended = command.wait()
    assert (ended.code, len(ended.out.splitlines())) == (0, 1000), ended.err


def test_what_cannot_be_an_output_is_refused_before_anything_is_sent(
    scripted: Scripted, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(output: object, *more: object) -> str:
        ended = embed(scripted, file, output, *more)
        assert (ended.code, scripted.asked) == (1, [])
        return ended.err.removeprefix("error: ").removesuffix("\n")

    known = ".jsonl .ndjson .parquet .npy; name one of these, or say with --format what to write."
    output = tmp_path / "out.feather"
    assert said(output) == f"{output}: .feather is none of {known}"
    assert said("-", "--format", "npy") == "- is a stream, which takes JSONL; name a file for npy."
    fifo = tmp_path / "fifo.parquet"
    os.mkfifo(fifo)
    assert said(fifo) == f"{fifo} is a stream, which takes JSONL; name a file for parquet."
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(tmp_path)
        listening.bind("socket.npy")
        assert said(tmp_path / "socket.npy").endswith("socket.npy is a socket; name a file.")
    assert said(tmp_path / "in") == f"{tmp_path}/in is a folder; name a file."
    assert said(file / "out.npy") == f"cannot write {file}/out.npy: Not a directory."
    (tmp_path / "loop.npy").symlink_to("loop.npy")
    assert "Too many levels of symbolic links" in said(tmp_path / "loop.npy")
    (tmp_path / "dangling.npy").symlink_to("nowhere/out.npy")
    assert said(tmp_path / "dangling.npy") == f"there is no folder {tmp_path}/nowhere."
    os.mkfifo(tmp_path / "a.npy.errors.jsonl")
    assert said(tmp_path / "a.npy").endswith(
        "a.npy.errors.jsonl is no regular file, and nothing is put in its place."
    )
    (tmp_path / "b.jsonl").symlink_to(file)
    assert said(tmp_path / "b.jsonl", "--overwrite") == f"{tmp_path}/b.jsonl is the input."


@pytest.mark.parametrize(
    "ending",
    [".part", ".errors.jsonl", ".ids.jsonl", ".space.txt", ".unfinished", ".space.txt.unfinished"],
)
@pytest.mark.parametrize("linked", [True, False])
def test_an_input_that_belongs_to_the_output_is_refused_and_stays(
    scripted: Scripted, file: Path, tmp_path: Path, ending: str, linked: bool
) -> None:
    source = file.rename(tmp_path / f"out.jsonl{ending}")
    given = tmp_path / "link.jsonl" if linked else source
    if linked:
        given.symlink_to(source)
    before = source.read_bytes()
    output = tmp_path / "out.jsonl"
    ended = embed(scripted, given, output, "--input-format", "jsonl", "--restart")
    assert (ended.code, scripted.asked) == (1, [])
    assert ended.err == (
        f"error: the input {given} is {source}, which belongs to {output} and would be replaced or "
        "removed; name another output.\n"
    )
    assert source.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_input_without_texts_says_so(scripted: Scripted, tmp_path: Path, content: bytes) -> None:
    """Its output is written all the same: no vectors are what there is of no texts."""
    file, output = tmp_path / "in.jsonl", tmp_path / "out.npy"
    file.write_bytes(content)
    ended = embed(scripted, file, output)
    assert ended.code == 0
    said = f"warning: {file} has no texts, so that the output has no vectors."
    assert ended.err.splitlines()[-1] == said
    assert np.load(output).shape == (0, 8)
    counted = run_here("tokens", file)
    assert (counted.code, counted.err) == (0, f"warning: {file} has no texts.\n")
