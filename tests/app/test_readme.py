"""What is written down agrees with what runs: openapi.json, README.md, app/README.md, docker's."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.__main__ import settings_table
from app.errors import ClientDisconnectedError, QuintetError
from tests.server import LogLines, Service

ROOT = Path(__file__).parents[2]
README, APP, DOCKER = (
    (ROOT / name).read_text(encoding="utf-8")
    for name in ("README.md", "app/README.md", "docker/README.md")
)
ADDRESS = "http://127.0.0.1:8080"


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_committed_openapi_document_is_the_served_one(service: Service) -> None:
    served = httpx.get(f"{service.url}/openapi.json").json()
    assert json.loads((ROOT / "openapi.json").read_text(encoding="utf-8")) == served


def test_the_apps_readme_has_the_table_of_settings() -> None:
    (table,) = re.findall(r"<!-- settings.*?-->\n(.*?)\n<!-- end", APP, re.DOTALL)
    assert table == settings_table(), "put what `quintet settings` prints into app/README.md"


def test_the_apps_readme_has_every_error_by_status_and_code() -> None:
    rows = re.findall(r"^\| (\d{3}) \| (.*?) \|", APP, re.MULTILINE)
    written = {(int(status), code) for status, codes in rows for code in codes.split("`")[1::2]}
    kinds = [QuintetError]
    for kind in kinds:  # it grows while it is gone through
        kinds += kind.__subclasses__()
    answered = {(kind.status, kind.code) for kind in kinds if kind is not ClientDisconnectedError}
    assert written <= answered
    leaves = {(kind.status, kind.code) for kind in kinds if not kind.__subclasses__()}
    assert leaves - {(ClientDisconnectedError.status, ClientDisconnectedError.code)} <= written


def test_the_readmes_have_the_types_that_vectors_may_be_written_in() -> None:
    document = json.loads((ROOT / "openapi.json").read_text(encoding="utf-8"))
    field = document["components"]["schemas"]["EmbeddingsRequest"]["properties"]["embedding_type"]
    for text in (README, APP):
        (types,) = re.findall(
            r"^\| `embedding_type` \| `float` \| (.*?), or a list", text, re.MULTILINE
        )
        assert re.findall(r"`(\w+)`", types) == field["anyOf"][0]["enum"]


def test_settings_and_metrics_of_the_readmes_exist(service: Service) -> None:
    known = set(re.findall(r"`(EMBED_\w+)`", settings_table()))
    exposition = httpx.get(f"{service.url}/metrics").text
    series = set(re.findall(r"^# TYPE (\w+)", exposition, re.MULTILINE))
    for text in (README, APP, DOCKER):
        named = set(re.findall(r"\bEMBED_[A-Z_]+[A-Z]\b", text))
        assert named <= known, named - known
        metrics = {name.removesuffix("_total") for name in re.findall(r"`(quintet_\w+)`", text)}
        assert metrics <= {name.removesuffix("_total") for name in series}


def test_the_readmes_make_commands_are_the_two_and_serve_serves() -> None:
    made = [block.strip() for block in blocks("sh") if block.startswith("make")]
    assert made == ["make serve", "make test"]
    # `make test` is this run; `make serve` is run here with the environment that runs the tests.
    command = ["make", "serve", f"VENV={sys.prefix}"]
    environment = {**os.environ, "EMBED_PORT": "0"}
    options = {"cwd": ROOT, "env": environment, "stdout": subprocess.DEVNULL}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, **options
    ) as process:
        log = LogLines(process.stderr)
        url = log.wait_for(r"serving +(http://\S+)", 300).group(1)
        assert httpx.get(f"{url}/ready").status_code == 200
        os.killpg(process.pid, 2)
        assert process.wait(60) in (0, 2, -2), log.text()


def test_the_readmes_curl_gives_the_readmes_answer(service: Service) -> None:
    answer, shown = asked_and_shown(service, "/v1/embeddings")
    assert list(answer) == list(shown)
    assert answer["usage"] == shown["usage"]
    for each in shown["data"]:
        found = answer["data"][each["index"]]
        assert list(found) == list(each)
        assert_begins(found, each)
    vectors = np.array([each["embedding"] for each in answer["data"]])
    similarity = vectors @ vectors.T
    pairs = similarity[:4, :4][np.triu_indices(4, 1)]
    claimed = re.search(r"cosine of (\.\d+) .*?, and of (\.\d+)", README)
    assert claimed
    assert abs(pairs.mean() - float(claimed[1])) < 0.01
    assert abs(similarity[:4, 4].mean() - float(claimed[2])) < 0.01


def test_the_readmes_document_has_the_readmes_chunks(service: Service) -> None:
    answer, shown = asked_and_shown(service, "/v1/documents")
    assert list(answer) == list(shown)
    for name in ("usage", "embedding_space", "document_embedding_space"):
        assert answer[name] == shown[name]
    (found,), (said,) = answer["data"], shown["data"]
    assert_begins(found, said)
    (chunk,) = said["chunks"]
    own = found["chunks"][chunk["index"]]
    assert_begins(own, chunk)
    for each, other in ((found, said), (own, chunk)):
        vague = ("embedding", "chunks")
        assert [(k, v) for k, v in each.items() if k not in vague] == [
            (k, v) for k, v in other.items() if k not in vague
        ]
    claimed = re.search(r'To "(.*?)".*?cosine of (\.\d+).*?it has (\.\d+)', README, re.DOTALL)
    assert claimed
    asked = {"input": claimed[1], "task": "retrieval.query", "dimensions": 128}
    query = service.embed(**asked).json()["data"][0]["embedding"]
    text = "".join(each["text"] + " " for each in found["chunks"])
    body = {"input": text, "chunking": {"min_tokens": 1}, "dimensions": 128}
    alone = service.post("/v1/documents", **body, late_chunking=False).json()["data"][0]
    for each, cosine in ((own, claimed[2]), (alone["chunks"][chunk["index"]], claimed[3])):
        assert abs(np.dot(each["embedding"], query) - float(cosine)) < 0.015


def asked_and_shown(service: Service, path: str) -> tuple[Any, Any]:
    """What a curl of README.md is answered, and the answer that stands below it."""
    curls = [block for block in blocks("sh") if block.startswith("curl")]
    (at,) = [index for index, block in enumerate(curls) if path in block]
    command = shlex.split(curls[at].replace(ADDRESS, service.url))
    done = subprocess.run([*command, "--silent"], capture_output=True, check=True)
    shown = [json.loads(block) for block in blocks("json")]
    assert len(shown) == len(curls)
    return json.loads(done.stdout), shown[at]


def assert_begins(found: dict[str, Any], shown: dict[str, Any]) -> None:
    assert list(found) == list(shown)
    head = [number for number in shown["embedding"] if not isinstance(number, str)]
    np.testing.assert_allclose(found["embedding"][: len(head)], head, atol=0.015)


@pytest.mark.parametrize("block", [*blocks("python"), *blocks("python", APP)])
def test_the_readmes_python_runs(service: Service, block: str) -> None:
    ast.parse(block)
    code = block.replace(ADDRESS, service.url)
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=120)


def test_the_apps_readme_names_every_route(service: Service) -> None:
    for path in httpx.get(f"{service.url}/openapi.json").json()["paths"]:
        named = re.escape(path.replace("{name}", "NAME"))
        assert re.search(rf"{named}(?![/\w])", APP), path
