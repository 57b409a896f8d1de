"""The Dockerfile's cpu target, really built and run, without a container engine.

Needs root. QUINTET_IMAGE names a folder to build into and keep, so that a second run is quick.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.operations.programs import ROOT
from tests.server import Service

pytestmark = [pytest.mark.operations, pytest.mark.timeout(1200)]

HERE = ROOT / "tests" / "operations"


class Image:
    """Files and configuration of a built image."""

    def __init__(self, folder: Path) -> None:
        self.root = (folder / "root").resolve()
        described = json.loads((folder / "image.json").read_text())
        self.configuration: dict[str, Any] = described["Docker"]["config"]

    def start(self, *command: str, **settings: object) -> subprocess.Popen[str]:
        """Start a command as a container engine does: its environment, its user, read-only."""
        variables = [*self.configuration["Env"]]
        variables += [f"EMBED_{name.upper()}={value}" for name, value in settings.items()]
        user = self.configuration["User"]
        return subprocess.Popen(
            [HERE / "run_image.sh", self.root, user, *variables, *command],
            stderr=subprocess.PIPE,
            text=True,
        )

    def serve(self, *arguments: str, **settings: object) -> Service:
        return Service(self.start(*self.configuration["Entrypoint"], *arguments, **settings))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    assert os.getuid() == 0, "only root may build and run an image"
    kept = os.environ.get("QUINTET_IMAGE")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("image")
    if not (folder / "root").exists():
        environment = {**os.environ, "PYTHON": sys.executable}
        subprocess.run([HERE / "build_image.sh", folder], env=environment, check=True)
    yield Image(folder)
    if not kept:
        shutil.rmtree(folder)  # several GB


@pytest.fixture(scope="module")
def container(image: Image) -> Iterator[Service]:
    """Served on loopback, since the network is the machine's own."""
    service = image.serve("serve", host="127.0.0.1", port=0, drain_delay_s=1)
    try:
        service.wait_until_ready()
        yield service
    finally:
        if service.process.poll() is None:
            service.stop()


def test_the_image_says_how_it_is_run(image: Image) -> None:
    told = image.configuration
    assert told["User"] == "10001"
    assert told["Cmd"] == ["serve"]
    assert told["StopSignal"] == "SIGTERM"
    assert told["ExposedPorts"] == {"8080/tcp": {}}
    assert told["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert not any(name.startswith("PIP_") for name in told["Env"])


def test_no_compiler_and_no_installer_is_left_in_the_image(image: Image) -> None:
    found = {
        path.name
        for folder in ("usr/bin", "opt/quintet/bin")
        for path in (image.root / folder).iterdir()
    }
    assert "python3" in found
    assert not found & {"gcc", "cc", "c++", "make", "pip", "pip3", "apt-add-repository", "git"}


def test_the_container_answers_what_sagemaker_asks(container: Service) -> None:
    assert httpx.get(f"{container.url}/ping", timeout=60).status_code == 200
    body = {"data": [{"text": "Guten Morgen!"}], "parameters": {"dimensions": 64}}
    answer = httpx.post(f"{container.url}/invocations", json=body, timeout=60)
    assert len(answer.json()["data"][0]["embedding"]) == 64


def test_the_container_runs_as_nobody_who_may_do_anything(container: Service) -> None:
    status = Path(f"/proc/{container.process.pid}/status").read_text()
    lines = dict(line.split(":\t", 1) for line in status.splitlines())
    assert set(lines["Uid"].split()) == {"10001"}
    assert lines["NoNewPrivs"] == "1"
    assert int(lines["CapEff"], 16) == 0
    assert int(lines["CapBnd"], 16) == 0


def test_the_health_check_of_the_image_sees_a_service_that_is_ready_and_one_that_is_not(
    image: Image, container: Service
) -> None:
    kind, *command = image.configuration["Healthcheck"]["Test"]
    assert kind == "CMD"
    port = container.url.rpartition(":")[2]
    for asked, expected in ((port, 0), (9, 1)):
        with image.start(*command, port=asked) as check:
            assert check.wait(60) == expected


def test_sigterm_drains_the_container_and_it_ends_with_0(image: Image, container: Service) -> None:
    container.process.send_signal(signal.SIGTERM)
    container.log.wait_for("draining")
    assert httpx.get(f"{container.url}/ready", timeout=60).status_code == 503
    assert container.embed(input=["one more"]).status_code == 200
    assert container.process.wait(60) == 0
