"""Real clients, as their users would call them, against a real service.

Each program in programs/ runs in the clients' own environment (`make test-clients` makes it and
names it in CLIENTS_PYTHON and NODE_HOME) and tells what it got; the same requests sent without any
client must give the same vectors.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.app.answers import SKINCARE, cosines, vectors
from tests.server import Service, running

pytestmark = pytest.mark.clients
README = Path(__file__).parent / "README.md"
BLOCKS = re.findall(r"^```py\n(.*?)^```", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
PROGRAMS = sorted(
    path for path in (Path(__file__).parent / "programs").iterdir() if path.stem != "told"
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    # A name of Cohere's, which LlamaIndex's client of it insists on.
    names, folder = "quintet-mini,embed-multilingual-v3.0", tmp_path_factory.mktemp("data")
    with running(served_model_names=names, data_dir=folder) as service:
        yield service


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_a_client_gets_the_vectors_it_asks_for(service: Service, program: Path) -> None:
    runner = os.environ["CLIENTS_PYTHON"] if program.suffix == ".py" else "node"
    done = subprocess.run(
        [runner, str(program), service.url],
        input=json.dumps(SKINCARE),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told
    for case in told:
        expected = vectors(service.embed(**{"input": SKINCARE, **case["request"]}))
        found = np.array(case["vectors"])
        assert found.shape == expected.shape
        assert cosines(found, expected).min() > 0.9995, case["request"]


@pytest.mark.parametrize("block", BLOCKS)
def test_the_readmes_lines_for_a_client_work(service: Service, block: str, tmp_path: Path) -> None:
    """Each block is run as it stands, at the service's address, and reaches it. Where chunks are
    stored, the one that answers is found."""
    before = service.metric("tokens_total")
    code = block.replace("http://127.0.0.1:8080", service.url)
    environment = {**os.environ, "JINA_API_KEY": "none", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    command = [os.environ["CLIENTS_PYTHON"], "-c", code]
    run = {"env": environment, "cwd": tmp_path, "text": True, "timeout": 180}
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True, **run).stdout
    if "/v1/documents" in block:
        assert said == "It may be returned within 30 days.\n"
    assert service.metric("tokens_total") > before
