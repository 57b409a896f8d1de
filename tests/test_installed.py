"""Installed: what `pip install .` brings, used from a folder whose files have our names."""

import os
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.app.tools.command import read_jsonl
from tests.server import Service

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# What the console script that an installer writes does.
MODULE, FUNCTION = PROJECT["scripts"]["quintet"].split(":")
SCRIPT = f"import sys; from {MODULE} import {FUNCTION}; sys.exit({FUNCTION}())"
VERSION = "0.0.installed"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages as a wheel has them, and their metadata; they say another version."""
    folder = tmp_path_factory.mktemp("installed")
    setup = [sys.executable, "-c", "import setuptools; setuptools.setup()", "--quiet"]
    build = ["egg_info", "--egg-base", folder, "build_py", "--build-lib", folder]
    subprocess.run([*setup, *build], cwd=ROOT, check=True)
    own = folder / "app" / "__init__.py"
    own.write_text(own.read_text().replace('"0.1.0"', f'"{VERSION}"'))
    return folder


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder of somebody who calls things as we do."""
    for name in ("app.py", "app/__init__.py", "model.py", "model/__init__.py", "numpy.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit(f'not ours: {__file__}')\n")
    return tmp_path


@pytest.fixture
def quintet(installed: Path, hostile: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts the installed command in that folder."""

    def start(*arguments: object, **settings: object) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if "EMBED_" not in name}
        own = {f"EMBED_{name.upper()}": str(value) for name, value in settings.items()}
        return subprocess.Popen(
            [sys.executable, "-P", "-c", SCRIPT, *map(str, arguments)],
            env=kept | own | {"PYTHONPATH": str(installed)},
            cwd=hostile,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def test_every_file_of_the_packages_is_installed(installed: Path) -> None:
    """But for the README of a folder, which is for those who have the repository."""
    for package in ("app", "model"):
        there = {
            path.relative_to(ROOT)
            for path in (ROOT / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts and path.name != "README.md"
        }
        found = {path.relative_to(installed) for path in (installed / package).rglob("*")}
        assert len(there) > 30
        assert there <= found, there - found


def test_it_serves_and_embeds_whatever_the_current_folder_holds(
    quintet: Callable[..., subprocess.Popen[str]], hostile: Path
) -> None:
    """Workers, HTTP processes and the service of `embed` are processes of their own."""
    settings = {"port": 0, "drain_delay_s": 0, "http_processes": 2}
    with quintet("serve", **settings) as process:
        service = Service(process)
        try:
            service.wait_until_ready()
            service.log.wait_for("HTTP process 1 serves")
            assert service.embed(input="Guten Morgen!").status_code == 200
            page = httpx.get(f"{service.url}/", timeout=120)
            assert "<html" in page.text
        finally:
            assert service.stop() == 0
    assert "not ours" not in service.log.text()
    (hostile / "texts.txt").write_text("Guten Morgen!\nbread\n")
    with quintet("embed", "texts.txt", "-o", "vectors.jsonl", **settings) as process:
        _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert len(read_jsonl(hostile / "vectors.jsonl")) == 2


@pytest.mark.parametrize("found_by", ["PYTHONPATH", "current folder"])
def test_a_process_is_started_from_where_its_parent_was_imported(
    installed: Path, hostile: Path, found_by: str
) -> None:
    """Though another one, of another version, is installed in this environment too."""
    code = (
        "import asyncio\n"
        "from app.processes.spawn import start_module\n"
        "async def main():\n"
        "    await (await start_module('app', '--version')).wait()\n"
        "asyncio.run(main())\n"
    )
    by_path = found_by == "PYTHONPATH"
    done = subprocess.run(
        [sys.executable, *(["-P"] if by_path else []), "-c", code],
        cwd=hostile if by_path else installed,
        env={**os.environ, "PYTHONPATH": str(installed) if by_path else ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == VERSION, done.stderr


def hint(installed: Path, before: str = "") -> str:
    """How the extra redis is installed, says the installed package."""
    code = (
        f"import sys\n{before}\nfrom model.extras import how_to_install as how\nprint(how('redis'))"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_outside_of_a_checkout_a_hint_names_the_requirements_and_the_interpreter(
    installed: Path,
) -> None:
    """The distribution is on no index, and the name of the command is somebody else's there."""
    requirements = PROJECT["optional-dependencies"]["redis"]
    command = shlex.split(hint(installed))
    assert command == [sys.executable, "-m", "pip", "install", *requirements]
    without_pip = hint(installed, "sys.modules['pip'] = None")
    assert without_pip.startswith(f"install {requirements[0]} into {sys.prefix}, which has no pip")
