"""The Dockerfile's targets, really built and run, without a container engine.

Needs root. QUINTET_IMAGE names a folder to build into and keep, so that a second run is quick.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.mixture import same, vectors
from tests.operations.programs import ROOT
from tests.server import Service, running

pytestmark = [pytest.mark.operations, pytest.mark.timeout(1200)]

HERE = ROOT / "tests" / "operations"
LARGEST_BYTES = 1_600_000_000
BUILDERS = r"gcc|g\+\+|c\+\+|cc|cc1|cc1plus|cpp|clang|clang\+\+|tcc|rustc|go|ld|as|make|cmake|ninja"
INSTALLERS = r"pip[\d.]*|git|curl|wget|conda|uv"


class Image:
    """Files and configuration of a built image."""

    def __init__(self, folder: Path) -> None:
        self.root = (folder / "root").resolve()
        described = json.loads((folder / "image.json").read_text())
        self.configuration: dict[str, Any] = described["Docker"]["config"]

    def files(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Everything in it that is no folder."""
        for folder, _, names in os.walk(self.root):
            for name in names:
                yield (path := Path(folder, name)), path.lstat()

    def start(
        self,
        *command: str,
        volume: Path | None = None,
        user: str | None = None,
        **settings: object,
    ) -> subprocess.Popen[str]:
        """Start a command as a container engine does: its environment, its user or another one,
        read-only, and with `volume` at /weights."""
        variables = [*self.configuration["Env"]]
        variables += [f"EMBED_{name.upper()}={value}" for name, value in settings.items()]
        user = user or self.configuration["User"]
        return subprocess.Popen(
            [HERE / "run_image.sh", self.root, user, *variables, *command],
            env={**os.environ, "VOLUME": str(volume or "")},
            stderr=subprocess.PIPE,
            text=True,
        )

    def serve(self, *arguments: str, volume: Path | None = None, **settings: object) -> Service:
        command = (*self.configuration["Entrypoint"], *arguments)
        return Service(self.start(*command, volume=volume, **settings))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of images, by their targets."""
    assert os.getuid() == 0, "only root may build and run an image"
    kept = os.environ.get("QUINTET_IMAGE")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("image")
    if not (folder / "gpu" / "root").exists():
        environment = {**os.environ, "PYTHON": sys.executable}
        subprocess.run([HERE / "build_image.sh", folder], env=environment, check=True)
    yield folder
    if not kept:
        shutil.rmtree(folder)  # several GB


@pytest.fixture(scope="module")
def image(images: Path) -> Image:
    return Image(images / "cpu")


@pytest.fixture(scope="module")
def gpu_image(images: Path) -> Image:
    """With a torch for CPUs, where pip finds no other one."""
    return Image(images / "gpu")


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
    named = re.compile(rf"(.+-)?({BUILDERS})(-?[\d.]+)?|{INSTALLERS}")
    assert all(map(named.fullmatch, ("gcc", "x86_64-linux-gnu-g++-12", "cc1plus", "ld", "pip3.11")))
    found = [path for path, state in image.files() if state.st_mode & 0o111]
    assert any(path.name == "python3" for path in found)
    assert [path for path in found if named.fullmatch(path.name)] == []
    assert [path for path, _ in image.files() if path.name in ("Python.h", "stdio.h")] == []


def test_the_image_is_no_larger_than_it_has_to_be(image: Image) -> None:
    """Linked files count once. A torch with CUDA's libraries would be more than twice as much."""
    sizes = {(state.st_dev, state.st_ino): state.st_size for _, state in image.files()}
    assert sum(sizes.values()) < LARGEST_BYTES


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


def test_weights_are_served_from_a_mounted_volume(
    image: Image, original: Path, tmp_path: Path
) -> None:
    volume = Path(shutil.copytree(original, tmp_path / "volume"))
    for path in (volume, *volume.iterdir()):
        path.chmod(0o755)  # the image's user is not the one who made them
    place = {"model": "/weights", "host": "127.0.0.1", "port": 0, "drain_delay_s": 0}
    service = image.serve("serve", volume=volume, **place)
    try:
        service.wait_until_ready()
        with running(model=original) as here:
            mounted, own = (vectors(each.embed(input="a").content) for each in (service, here))
        assert same(mounted, own)
        info = httpx.get(f"{service.url}/info", timeout=60).json()
        assert info["model"] == "/weights"
    finally:
        ended = service.stop()
    assert ended == 0


# A module of Python, compiled and loaded in the way of Triton's launcher.
MODULE = """
#include <dlfcn.h>
#include <stdbool.h>
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "launcher"};
PyMODINIT_FUNC PyInit_launcher(void) { return PyModule_Create(&module); }
"""
COMPILE = f"""
import os, subprocess, sys, sysconfig
folder = os.environ["TRITON_CACHE_DIR"]
os.makedirs(folder)
with open(folder + "/launcher.c", "w") as file:
    file.write({MODULE!r})
include = "-I" + sysconfig.get_paths()["include"]
command = ["gcc", "launcher.c", "-O3", "-shared", "-fPIC", "-o", "launcher.so", include]
subprocess.run(command, cwd=folder, check=True)
sys.path.append(folder)
import launcher
"""


@pytest.mark.parametrize("user", [None, "4242"])
def test_the_gpu_image_compiles_and_loads_what_triton_does_also_for_a_user_without_a_name(
    gpu_image: Image, user: str | None
) -> None:
    program = gpu_image.start("/opt/quintet/bin/python", "-c", COMPILE, user=user)
    _, said = program.communicate(timeout=60)
    assert program.returncode == 0, said


def test_the_gpu_image_asks_for_a_driver_that_its_torch_can_use(gpu_image: Image) -> None:
    told = dict(each.split("=", 1) for each in gpu_image.configuration["Env"])
    assert told["NVIDIA_REQUIRE_CUDA"] == "cuda>=13.0"
    assert told["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    assert gpu_image.configuration["User"] == "10001"
