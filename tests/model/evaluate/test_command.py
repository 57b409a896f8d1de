"""The command line: table, JSON, pictures, comparison, exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from app.__main__ import main as quintet
from model.evaluate.scoring import KINDS
from tests.checkpoints import Shape, random_tensors, write_original
from tests.model.evaluate import data
from tests.server import Service


def main(arguments: list[str]) -> int:
    """`quintet evaluate` in this process; its exit status."""
    return quintet(["evaluate", *arguments])


def test_it_prints_a_table_and_writes_json_and_pictures(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(folder), "--out", str(tmp_path), "--dtype", "float32"]) == 0
    shown = capsys.readouterr().out
    for kind in KINDS:
        assert kind.upper() in shown
    assert "passed over: glossary.jsonl" in shown
    assert max(map(len, shown.splitlines())) <= 120
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert (found["name"], found["dtype"], found["width"]) == ("quintet-mini", "float32", 384)
    for line in found["lines"]:
        for values in (line["adapter"], line["none"]):
            assert list(values) == ["384", "256", "128", "64", "32"]
            assert all(-1 <= value <= 1 for value in values.values())
    for picture in ("quality-by-dimensions", "late-chunking"):
        assert (tmp_path / f"{picture}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (tmp_path / f"{picture}.svg").read_text()


def test_a_name_may_look_like_a_formula(tmp_path: Path, original: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    data.write(folder / "a$x^{$.jsonl", data.questions())
    asked = ["--data", str(folder), "--model", str(original), "--out", str(tmp_path)]
    assert main([*asked, "--limit", "4"]) == 0
    assert "a$x^{$ en" in (tmp_path / "late-chunking.svg").read_text()


def test_a_name_may_be_no_utf8(
    tmp_path: Path, original: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    data.write(folder / os.fsdecode(b"fran\xe7ais.jsonl"), data.questions())
    data.write(folder / os.fsdecode(b"\xe7a.jsonl"), [{"en": "sea", "de": "Meer"}])
    asked = ["--data", str(folder), "--model", str(original), "--out", str(tmp_path)]
    assert main([*asked, "--limit", "4"]) == 0
    assert "passed over: \ufffda.jsonl: " in capsys.readouterr().out
    lines = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))["lines"]
    assert {line["file"] for line in lines} == {"fran\ufffdais"}


def test_the_same_run_writes_the_same_bytes(folder: Path, tmp_path: Path, original: Path) -> None:
    asked = ["--data", str(folder), "--model", str(original), "--limit", "8"]
    for name in "ab":
        main([*asked, "--out", str(tmp_path / name)])
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_against_itself_nothing_is_worse_and_against_another_it_says_what(
    folder: Path, tmp_path: Path, service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--data", str(folder), "--dtype", "float32", "--out", str(tmp_path), "--limit", "8"]
    assert main([*asked, "--against", service.url]) == 0
    shown = capsys.readouterr().out
    assert "0 values are worse by more than 0.01" in shown
    assert "+0.000" in shown
    assert max(map(len, shown.splitlines())) <= 120
    assert json.loads((tmp_path / "evaluation.json").read_text())["against"]["by"] == "service"

    # A random checkpoint that is narrower: only sizes that both have are compared.
    other = write_original(tmp_path / "random", Shape())
    assert main(["--data", str(folder), "--model", str(other), "--against", "quintet-mini"]) == 1
    shown = capsys.readouterr().out
    assert "classification labels probe at 64: " in shown
    assert "at 384" not in shown.partition("are worse")[2]


def test_a_service_alone_is_measured_without_torch(folder: Path, service: Service) -> None:
    code = (
        "import sys; from app.__main__ import main;"
        f"main(['evaluate', '--data', {str(folder)!r}, '--url', {service.url!r}, '--limit', '4']);"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_a_model_without_an_adapter_leaves_its_kinds_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    data.write(folder / "labels.jsonl", data.labels())
    shape = Shape(tasks=("classification",))
    model = write_original(tmp_path / "model", shape, random_tensors(shape))
    assert main(["--data", str(folder), "--model", str(model)]) == 0
    shown = capsys.readouterr().out
    assert "no clustering, it has no adapter separation" in shown
    assert "CLASSIFICATION" in shown
    assert "CLUSTERING" not in shown


@pytest.mark.parametrize("kind", ["pairs", "questions", "labels", "parallel"])
def test_a_model_whose_numbers_are_not_finite_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    data.write(tmp_path / f"{kind}.jsonl", getattr(data, kind)())
    shape = Shape()
    tensors = random_tensors(shape)
    tensors["roberta.encoder.layers.1.norm2.bias"][3] = torch.nan
    broken = write_original(tmp_path / "broken", shape, tensors)
    asked = ["--data", str(tmp_path), "--model", str(broken), "--against", "quintet-mini"]
    assert main([*asked, "--limit", "4"]) == 2
    refused = capsys.readouterr()
    assert f"error: the numbers of {broken} for '" in refused.err
    assert "are not finite." in refused.err
    assert "values are worse" not in refused.out


def test_every_seed_is_taken(folder: Path, original: Path) -> None:
    asked = ["--data", str(folder), "--model", str(original), "--limit", "4"]
    assert main([*asked, "--seed", str(2**32 - 1)]) == 0


@pytest.mark.parametrize(
    ("option", "value"), [("seed", "-1"), ("tolerance", "nan"), ("tolerance", "inf")]
)
def test_numbers_that_mean_nothing_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--data", str(folder), f"--{option}", value])
    assert f"argument --{option}: must be a" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--data", "nowhere"], "error: nowhere is not a folder."),
        (["--model", "nowhere"], "error: nowhere is neither a folder nor a hub id"),
        (["--against", "http://127.0.0.1:9"], "error: nothing answers at http://127.0.0.1:9"),
        (["--dimensions", "512"], "error: --dimensions 512: this model's vectors have 1 to 384"),
        (["--dtype", "float8"], "error: unknown dtype 'float8'"),
        (
            ["--languages", "de", "xx"],
            "error: --languages xx: {folder} has no parallel texts in it; they are in de, en.",
        ),
        (["--url", "http://h", "--revision", "v1"], "error: http://h serves what it has loaded"),
        (["--against", "http://h", "--against-revision", "v1"], "error: http://h serves what it"),
        (["--languages", "de", "--out", "{folder}/pairs.jsonl"], "error: cannot write"),
    ],
)
def test_wrong_input_is_a_sentence_and_exit_status_2(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    given = [each.format(folder=folder) for each in arguments]
    assert main(["--data", str(folder), "--limit", "4", *given]) == 2
    assert sentence.format(folder=folder) in capsys.readouterr().err
