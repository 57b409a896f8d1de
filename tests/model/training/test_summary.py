"""The summary of a training, and the error where it cannot be written."""

from pathlib import Path

import pytest

from tests.model.training.records import labelled, train_adapter, write


def test_it_says_whether_more_steps_may_help_and_what_to_do_next(
    tmp_path: Path, original: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write(tmp_path / "data.jsonl", labelled()), tmp_path / "my out"
    with data.open("a") as file:
        file.write('{"text": "half of it \\ud83d", "label": 7}\n' * 4)
    where = ("--base", original, "--task", "mine", "--data", data, "--out")
    short = ("--batch-size", 24, "--validate-every", 2, "--max-steps", 4, "--learning-rate", 0.02)
    assert train_adapter(*where, out, *short) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-4].startswith("validation loss ")
    assert printed[-3].startswith("it was still getting better at the end: more --epochs")
    compared = f"--model '{out}' --against {original}"
    assert printed[-2] == f"measure it: quintet evaluate --data DIR {compared}"
    assert printed[-1] == f"serve it: EMBED_MODEL='{out}' quintet serve; the task is mine"
    warning = (
        "warning: 4 records had lone surrogates, such as half an emoji; each is read as U+FFFD."
    )
    assert warning in printed
    wild = ("--learning-rate", 50, "--validate-every", 1, "--patience", 2, "--start", "none")
    assert train_adapter(*where, tmp_path / "wild", *wild, "--epochs", 9) == 0
    assert "it never got better than at the start: try" in capsys.readouterr().out


def test_a_folder_that_cannot_be_made_or_filled_is_a_sentence(
    tmp_path: Path, original: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "data.jsonl", labelled())
    where = ("--base", original, "--task", "mine", "--data", data, "--max-steps", 1, "--out")
    for out in ("/proc/nowhere/out", data / "out"):
        assert train_adapter(*where, out) == 2
        assert capsys.readouterr().err.startswith(f"error: cannot write to {out}: ")
    # The disk is full when the state of the run is saved, or its log.
    for name in ("state.new", "log.jsonl.new"):
        out = tmp_path / name
        (out / "training").mkdir(parents=True)
        (out / "training" / name).symlink_to("/dev/full")
        assert train_adapter(*where, out) == 2
        assert capsys.readouterr().err.startswith(f"error: cannot write to {out}: ")
