"""A release: one version everywhere, and a changelog that says what it does to vectors.

python -m tests.test_release    # writes quintet-mini's vectors anew, where they are to change
"""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app import __version__
from model import embedder
from model.embedder import Embedder
from tests.app.answers import SKINCARE, cosines
from tests.checkpoints import MINI, TASKS

ROOT = Path(__file__).parents[1]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
GOLDEN = ROOT / "tests" / "golden" / "quintet_mini.json"
DIMENSIONS = 64
# The bounds that the changelog promises, by dtype. The file's numbers are rounded ones of float32.
SAME = {"float32": 0.999999, "float16": 0.999999, "bfloat16": 0.999}


def releases() -> dict[str, str]:
    """Version -> what the changelog says of it, the newest one first."""
    parts = re.split(r"^## \[(.*?)\].*$", CHANGELOG, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def kinds(loaded: Embedder) -> dict[str, Any]:
    """Vectors (5, 64) of the launch post's texts: of each task, of none, and late-chunked ones."""
    options = {task: {"task": task} for task in (*TASKS, "none")}
    options["late chunking"] = {"task": "retrieval.passage", "late_chunking": True}
    found = {name: loaded.embed_texts(SKINCARE, **each) for name, each in options.items()}
    cut = {name: vectors[:, :DIMENSIONS] for name, vectors in found.items()}
    return {name: each / np.linalg.norm(each, axis=1, keepdims=True) for name, each in cut.items()}


def test_the_version_is_the_same_everywhere_and_the_newest_in_the_changelog() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    document = json.loads((ROOT / "openapi.json").read_text(encoding="utf-8"))
    label = re.search(r'image\.version="(.*?)"', (ROOT / "Dockerfile").read_text())
    assert label
    newest = next(version for version in releases() if version != "Unreleased")
    assert {project["version"], document["info"]["version"], label[1], newest} == {__version__}


def test_every_release_has_a_date_and_says_what_it_does_to_vectors() -> None:
    for version, text in releases().items():
        if version == "Unreleased":
            continue
        heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$"
        assert re.search(heading, CHANGELOG, re.MULTILINE), version
        assert re.search(r"^### Vectors\n\n\S", text, re.MULTILINE), version


@pytest.mark.parametrize("dtype", SAME)
def test_vectors_of_the_embedded_model_are_those_of_the_release_before(dtype: str) -> None:
    """If this is meant to fail, write them anew and say so under "Vectors" in the changelog."""
    golden = json.loads(GOLDEN.read_text())
    for name, vectors in kinds(embedder.load(MINI, "cpu", dtype)).items():
        assert cosines(vectors, np.array(golden[name])).min() >= SAME[dtype], name


if __name__ == "__main__":
    written = {
        name: [[round(float(number), 4) for number in vector] for vector in vectors]
        for name, vectors in kinds(embedder.load(MINI, "cpu", "float32")).items()
    }
    lines = ",\n".join(f'"{name}": {json.dumps(vectors)}' for name, vectors in written.items())
    GOLDEN.write_text(f"{{\n{lines}\n}}\n")
