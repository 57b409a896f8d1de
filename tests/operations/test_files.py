"""Dockerfile, compose.yaml and the unit are what their own programs accept."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from app import __version__
from app.settings import PREFIX, Settings
from tests.operations.programs import DOCKER, ROOT, program, run

pytestmark = pytest.mark.operations


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    run("hadolint", ROOT / "Dockerfile")


def test_the_image_is_labelled_with_the_version_of_the_service() -> None:
    assert f'image.version="{__version__}"' in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("profile", ["", "gpu"])
def test_compose_accepts_its_file_and_every_file_it_mounts_is_there(profile: str) -> None:
    rendered = run("docker-compose", "--profile", profile, "config", cwd=ROOT)
    services = yaml.safe_load(rendered)["services"]
    assert ("quintet-gpu" in services) == (profile == "gpu")
    mounted = [
        Path(volume["source"])
        for service in services.values()
        for volume in service.get("volumes", ())
        if volume["type"] == "bind"
    ]
    assert len(mounted) == 4
    assert all(path.exists() for path in mounted), mounted


def test_settings_in_compose_are_settings_of_the_service() -> None:
    services = yaml.safe_load(run("docker-compose", "--profile", "gpu", "config", cwd=ROOT))
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name in ("quintet", "quintet-gpu"):
        assert set(services["services"][name]["environment"]) <= known


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """With an interpreter that is there, since systemd looks for it."""
    unit = (DOCKER / "systemd" / "quintet.service").read_text()
    here = tmp_path / "quintet.service"
    here.write_text(unit.replace("/opt/quintet/bin/python", sys.executable))
    assert sys.executable in here.read_text()
    command = [program("systemd-analyze"), "verify", here]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert here.name not in done.stderr, "an unknown line is only warned of"


def test_every_file_of_docker_is_used_or_told_of() -> None:
    """A file that nothing uses rots: Kustomize or compose takes it, or a README names it."""
    compose = (ROOT / "compose.yaml").read_text()
    readmes = (ROOT / "README.md", DOCKER / "kubernetes" / "README.md")
    told = compose + "".join(
        path.read_text() for path in (*readmes, *DOCKER.rglob("kustomization.yaml"))
    )
    for path in DOCKER.rglob("*"):
        if path.is_dir() or path.name in ("kustomization.yaml", "README.md"):
            continue
        folders = [
            f"./{folder.relative_to(ROOT)}:" for folder in path.parents if ROOT in folder.parents
        ]
        assert path.name in told or any(folder in compose for folder in folders), path
