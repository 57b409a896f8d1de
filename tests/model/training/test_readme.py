"""The README's worked example runs as it is written, here on a few small texts."""

import json
import lzma
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from model import embedder
from model.config import read_config
from tests.checkpoints import MINI
from tests.model.training.records import labelled, teach

README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")


def test_the_worked_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = README.partition("### Example: intents")[2].partition("\n##")[0]
    prepare, commands = re.findall(r"^```\n(.*?)^```", example, re.MULTILINE | re.DOTALL)
    records = [
        {"set": name, "split": split, **each}
        for name in ("banking77", "clinc150")
        for split, seed in (("train", 1), ("test" if name == "banking77" else "val", 2))
        for each in labelled(6, seed)
    ]
    with lzma.open(tmp_path / "intents.jsonl.xz", "wt") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
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
    assert teach(*options) == 0
    assert embedder.load("intents").tasks.names == read_config(MINI).tasks
