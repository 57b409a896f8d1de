"""Interrupted at any moment and started again: nothing lost, nothing twice, the same output."""

import os
import random
import re
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.app.tools.command import Command, read_jsonl, run, run_here, write_jsonl
from tests.app.tools.scripted import Asked, Refusal, Scripted, vector

BATCH, CONCURRENCY, RECORDS = 3, 2, 100
WINDOW = 2 * CONCURRENCY * BATCH
TEXTS = [f"text number {number}" for number in range(RECORDS)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    records = [{"id": f"id {number}", "text": text} for number, text in enumerate(TEXTS)]
    return write_jsonl(tmp_path / "in.jsonl", records)


def arguments(scripted: Scripted, file: Path, output: Path, *more: object) -> list[object]:
    own = ["--url", scripted.url, "--batch-size", BATCH, "--concurrency", CONCURRENCY]
    return ["embed", file, "-o", output, *own, *more]


def hold_after(scripted: Scripted, answers: int) -> None:
    """Answer so many requests from now on and hold the others, until `act` is set anew."""
    first = len(scripted.asked)

    def act(asked: Asked) -> Refusal | None:
        if asked.number >= first + answers:
            assert scripted.released.wait(60)
        return None

    scripted.released.clear()
    scripted.act = act


def held_run(scripted: Scripted, answers: int, given: list[object]) -> Command:
    """A run that has had so many answers and waits for as many as it asks for at once."""
    hold_after(scripted, answers)
    command = Command(*given)
    scripted.wait_for_requests(answers + CONCURRENCY)
    return command


def kill_while_answering(scripted: Scripted, command: Command, number: int) -> None:
    """kill -9 when the request `number` has been decided on, and is about to be answered."""

    def act(asked: Asked) -> Refusal | None:
        if asked.number == number:
            command.process.kill()
        return None

    scripted.act = act


def test_after_kills_the_output_is_that_of_an_uninterrupted_run(
    scripted: Scripted, file: Path, tmp_path: Path
) -> None:
    seed = random.randrange(2**32)
    print(f"random seed: {seed}")
    rng, kills, output = random.Random(seed), 5, tmp_path / "out"
    for _ in range(kills):
        since, answers = len(scripted.asked), rng.randint(0, 6)
        hold_after(scripted, answers)
        command = Command(*arguments(scripted, file, output))
        if rng.random() < 0.5:
            kill_while_answering(scripted, command, since + answers)
        else:
            scripted.wait_for_requests(since + answers + 1)
            command.process.kill()
        command.wait()
        scripted.released.set()
        assert not output.exists()
    scripted.act = lambda _: None
    journal = (tmp_path / "out.part").read_bytes()
    before = len(scripted.texts())
    for ending in ("jsonl", "npy", "parquet"):
        # A journal is the same for every format.
        (tmp_path / f"out.{ending}.part").write_bytes(journal)
        asked = len(scripted.asked)
        ended = run_here(*arguments(scripted, file, tmp_path / f"out.{ending}"))
        assert ended.code == 0, ended.err
        # What is asked for more than once was in flight at a kill.
        again = before + len(scripted.texts(asked)) - RECORDS
        assert 0 <= again <= kills * WINDOW
        assert run_here(*arguments(scripted, file, tmp_path / f"whole.{ending}")).code == 0
        for whole in tmp_path.glob(f"whole.{ending}*"):
            other = whole.with_name(whole.name.replace("whole", "out"))
            assert other.read_bytes() == whole.read_bytes()
    endings = {"jsonl", "npy", "npy.ids.jsonl", "parquet"}
    left = {f"{name}.{ending}" for name in ("out", "whole") for ending in endings}
    assert {path.name for path in tmp_path.iterdir()} == left | {"in.jsonl", "out.part"}


def test_what_the_journal_holds_is_not_asked_for_again(
    scripted: Scripted, file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    command = held_run(scripted, 7, arguments(scripted, file, output))
    command.interrupt()
    ended = command.wait()
    assert ended.code == 130
    assert "interrupted" in ended.err
    said = rf"(\d+) of {RECORDS} texts are kept in {output}.part: the same command goes on"
    (kept,) = map(int, re.findall(said, ended.err))
    assert kept in range(6, 7 * BATCH, BATCH)  # batches have 1, 2, 3, 3, ... records
    assert not output.exists()
    # Nothing new was begun for the interrupt.
    assert len(scripted.asked) == 7 + CONCURRENCY
    scripted.released.set()
    since = len(scripted.asked)
    ended = run_here(*arguments(scripted, file, output))
    assert sorted(scripted.texts(since)) == sorted(TEXTS[kept:])
    assert ended.err.startswith(f"{RECORDS - kept} texts, ")
    assert f"{kept} texts were there before" in ended.err
    assert [line["id"] for line in read_jsonl(output)] == [f"id {n}" for n in range(RECORDS)]


def test_another_batch_size_goes_on_and_other_options_do_not(
    scripted: Scripted, file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.npy"
    command = held_run(scripted, 6, arguments(scripted, file, output))
    command.kill()
    scripted.released.set()

    other = run_here(*arguments(scripted, file, output, "--dimensions", 4, "--task", "separation"))
    assert other.code == 1
    assert f"{output}.part is of another run: --task was None, now it is separation; " in other.err
    assert "--dimensions was None, now it is 4. " in other.err
    assert "--restart" in other.err

    scripted.info["revision"] = "abc"
    other = run_here(*arguments(scripted, file, output))
    assert other.code == 1
    assert "is of another service: its revision was None, now it is abc" in other.err
    scripted.info["revision"] = None

    state = file.stat()
    with file.open("a") as stream:
        stream.write("\n")
    other = run_here(*arguments(scripted, file, output))
    said = f"the input's size in bytes was {state.st_size}, now it is {state.st_size + 1}"
    assert said in other.err
    os.truncate(file, state.st_size)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))

    since = len(scripted.asked)
    assert run_here(*arguments(scripted, file, output, "--batch-size", 50)).code == 0
    assert len(scripted.texts(since)) < RECORDS
    assert np.array_equal(np.load(output), np.array([vector(text) for text in TEXTS]))


def test_restart_starts_over(scripted: Scripted, file: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    command = held_run(scripted, 6, arguments(scripted, file, output))
    command.kill()
    scripted.released.set()
    since = len(scripted.asked)
    assert run_here(*arguments(scripted, file, output, "--restart", "--dimensions", 4)).code == 0
    assert len(scripted.texts(since)) == RECORDS


def test_killed_after_the_last_answer_a_run_asks_nothing_and_finishes(
    scripted: Scripted, file: Path, tmp_path: Path
) -> None:
    """The moments around the renaming: all is answered, and the output is there or not."""
    output = tmp_path / "out.jsonl"
    # The output cannot be written yet, which ends the run just where a kill would.
    (tmp_path / "out.jsonl.unfinished").mkdir()
    ended = run_here(*arguments(scripted, file, output))
    assert ended.code == 1
    assert f"cannot write {output}: Is a directory" in ended.err
    assert f"{RECORDS} of {RECORDS} texts are kept" in ended.err
    journal = (tmp_path / "out.jsonl.part").read_bytes()
    (tmp_path / "out.jsonl.unfinished").rmdir()
    since = len(scripted.asked)
    assert run_here(*arguments(scripted, file, output)).code == 0
    whole = output.read_bytes()
    # Renamed, but the journal is still there.
    (tmp_path / "out.jsonl.part").write_bytes(journal)
    assert run_here(*arguments(scripted, file, output)).code == 0
    assert output.read_bytes() == whole
    assert len(scripted.asked) == since
    assert not (tmp_path / "out.jsonl.part").exists()


def test_an_output_that_is_there_is_kept_unless_told_otherwise(
    scripted: Scripted, file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("mine")
    ended = run_here(*arguments(scripted, file, output))
    assert (ended.code, output.read_text()) == (1, "mine")
    assert ended.err == f"error: {output} is already there; --overwrite replaces it.\n"
    # An unfinished run that may overwrite does not make the next one bold.
    command = held_run(scripted, 6, arguments(scripted, file, output, "--overwrite"))
    command.kill()
    scripted.released.set()
    assert run_here(*arguments(scripted, file, output)).code == 1
    assert output.read_text() == "mine"
    since = len(scripted.asked)
    assert run_here(*arguments(scripted, file, output, "--overwrite")).code == 0
    assert len(scripted.texts(since)) < RECORDS
    assert len(read_jsonl(output)) == RECORDS
    # The input is no place for the output.
    ended = run_here(*arguments(scripted, file, file, "--overwrite"))
    assert ended.err == f"error: {file} is the input.\n"


def test_two_runs_do_not_write_one_output(scripted: Scripted, file: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    command = held_run(scripted, 6, arguments(scripted, file, output))
    other = run_here(*arguments(scripted, file, output))
    assert (other.code, "another run is writing" in other.err) == (1, True)
    scripted.released.set()
    assert command.wait().code == 0
    assert len(read_jsonl(output)) == RECORDS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_standard_input_begins_anew(
    scripted: Scripted, tmp_path: Path, number: signal.Signals
) -> None:
    output = tmp_path / "out.jsonl"
    given = arguments(scripted, Path("-"), output, "--input-format", "text", "--batch-size", 1)
    command = Command(*given)
    command.write("one\ntwo\n")
    scripted.wait_for_requests(2)
    # It now waits for a third line, which nobody writes.
    command.process.send_signal(number)
    command.process.wait(30)
    ended = command.wait()
    if number == signal.SIGINT:
        assert ended.code == 130
        assert "nothing is kept: standard input cannot be read again" in ended.err
        assert list(tmp_path.iterdir()) == []
    ended = run(*given, text="one\ntwo\nthree\n")
    assert (ended.code, len(read_jsonl(output))) == (0, 3)
    assert sorted(scripted.texts()) == ["one", "one", "three", "two", "two"]
    assert list(tmp_path.iterdir()) == [output]
