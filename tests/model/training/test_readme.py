"""The README's worked example runs as it is written, here on a few small texts."""

import csv
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from model import embedder
from model.config import read_config
from tests.checkpoints import MINI
from tests.model.training.records import labelled, train_adapter

ROOT = Path(__file__).parents[3]
README = (ROOT / "model" / "training" / "README.md").read_text(encoding="utf-8")


def test_the_worked_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = README.partition("## Example: intents")[2].partition("\n##")[0]
    _, prepare, commands = re.findall(r"^```\n(.*?)^```", example, re.MULTILINE | re.DOTALL)
    write_sets(tmp_path)
    subprocess.run([sys.executable, "-c", prepare], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    learned, unseen = (
        {json.loads(line)["label"] for line in Path(file).read_text().splitlines()}
        for file in ("learned.jsonl", "unseen/intents.jsonl")
    )
    assert learned
    assert unseen
    assert not learned & unseen
    command = commands.replace("\\\n", " ").splitlines()[0]
    assert command.startswith(".venv/bin/quintet train adapter ")
    options = shlex.split(re.sub(r"--max-steps \d+", "--max-steps 1", command))[3:]
    assert train_adapter(*options) == 0
    assert embedder.load("intents").tasks.names == read_config(MINI).tasks


def write_sets(folder: Path) -> None:
    """The two sets as their repositories have them, with a few texts."""
    banking, clinc = folder / "task-specific-datasets/banking_data", folder / "oos-eval/data"
    banking.mkdir(parents=True)
    clinc.mkdir(parents=True)
    for split, seed in (("train", 1), ("test", 2)):
        with (banking / f"{split}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["text", "category"])
            rows.writerows([each["text"], each["label"]] for each in labelled(6, seed))
    texts = {
        split: [[each["text"], each["label"]] for each in labelled(6, seed)]
        for split, seed in (("train", 1), ("val", 2))
    }
    (clinc / "data_full.json").write_text(json.dumps(texts))
