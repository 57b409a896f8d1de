"""Models by name: a folder, or a revision of a hub id, fetched once and found offline."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from model.config import CheckpointError
from model.hub import locate
from tests.checkpoints import MINI, Shape, write_hf

COMMIT = "d18862d9a48706220815554fac3ebb4dfa46fc28"
LOCATE = "import sys; from model.hub import locate; print(locate(*sys.argv[1:]))"


class Hub(BaseHTTPRequestHandler):
    """A hub with one repository, owner/name: as much of the protocol as a download needs."""

    protocol_version = "HTTP/1.1"
    folder: ClassVar[Path]
    asked: ClassVar[list[str]]
    trouble: ClassVar[str] = ""  # what is wrong with its answers: "cut off" or "garbled"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        content, headers = self.found()
        self.send_response(200 if content is not None else 404)
        for name, value in {**headers, "Content-Length": len(content or b"")}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if body and self.trouble == "cut off" and self.path.endswith(".safetensors"):
            self.wfile.write((content or b"")[:1000])
            self.close_connection = True
        elif body:
            self.wfile.write(content or b"")

    def found(self) -> tuple[bytes | None, dict[str, str]]:
        files = {
            str(path.relative_to(self.folder)): path.stat().st_size
            for path in self.folder.rglob("*")
            if path.is_file()
        }
        said: object = None
        if self.path.startswith("/api/models/owner/name/tree/"):
            said = [
                {"type": "file", "path": name, "oid": name, "size": size}
                for name, size in files.items()
            ]
        elif self.path.startswith("/api/models/owner/name"):
            siblings = [{"rfilename": name} for name in files]
            said = {"id": "owner/name", "sha": COMMIT, "siblings": siblings}
        if said is not None and self.trouble == "garbled":
            return b"<html>", {"Content-Type": "application/json"}
        if said is not None:
            return json.dumps(said).encode(), {"Content-Type": "application/json"}
        name = self.path.removeprefix(f"/owner/name/resolve/{COMMIT}/")
        if name not in files:
            return None, {}
        content = (self.folder / name).read_bytes()
        return content, {"ETag": f'"{sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}


@pytest.fixture
def hub(tmp_path: Path, shape: Shape) -> Iterator[tuple[str, list[str]]]:
    """A running hub; its address, and the paths it was asked for."""
    Hub.folder, Hub.asked, Hub.trouble = write_hf(tmp_path / "hub", shape), [], ""
    for stranger in ("pytorch_model.bin", "modeling.py", "onnx/model.onnx"):
        (Hub.folder / stranger).parent.mkdir(exist_ok=True)
        (Hub.folder / stranger).write_text("not to be fetched")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", Hub.asked
    server.shutdown()
    thread.join()
    server.server_close()


def locate_apart(
    tmp_path: Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """model.hub.locate in a process of its own: the hub's client reads its settings once."""
    environment = {**os.environ, "HF_HOME": str(tmp_path / "cache"), **variables}
    command = [sys.executable, "-c", LOCATE, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_revision_is_fetched_once_and_found_offline(
    hub: tuple[str, list[str]], tmp_path: Path, hf: Path
) -> None:
    address, asked = hub
    first = locate_apart(tmp_path, "owner/name", COMMIT, HF_ENDPOINT=address)
    assert first.returncode == 0, first.stderr
    assert "100%|" in first.stderr  # a progress bar
    folder = Path(first.stdout.strip())
    fetched = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    expected = {str(path.relative_to(hf)) for path in hf.rglob("*") if path.is_file()}
    assert fetched == expected
    assert not [path for path in asked if path.endswith((".bin", ".py", ".onnx"))]
    offline = locate_apart(tmp_path, "owner/name", COMMIT, HF_HUB_OFFLINE="1")
    assert offline.stdout.strip() == str(folder)


@pytest.mark.parametrize("trouble", ["cut off", "garbled"])
def test_a_download_that_fails_midway_is_a_sentence(
    hub: tuple[str, list[str]], tmp_path: Path, trouble: str
) -> None:
    Hub.trouble = trouble
    failed = locate_apart(tmp_path, "owner/name", COMMIT, HF_ENDPOINT=hub[0])
    assert failed.returncode == 1
    assert (
        f"CheckpointError: cannot fetch owner/name at revision {COMMIT} from the hub: "
        in (failed.stderr.splitlines()[-1])
    )


@pytest.mark.parametrize("command", ["tokens", "verify", "evaluate"])
def test_commands_take_a_revision_and_that_of_the_settings_is_of_their_model_alone(
    hub: tuple[str, list[str]], tmp_path: Path, command: str
) -> None:
    address, asked = hub
    (tmp_path / "pairs.jsonl").write_text(
        "".join(f'{{"a": "a", "b": "b {score}", "score": {score}}}\n' for score in range(3))
    )
    environment = {**os.environ, "HF_ENDPOINT": address, "EMBED_MODEL": "owner/other"}
    environment |= {"HF_HOME": str(tmp_path / "cache"), "EMBED_MODEL_REVISION": "of-other"}
    given = {
        "tokens": [str(tmp_path / "pairs.jsonl"), "--text-field", "a"],
        "verify": [],
        "evaluate": ["--data", str(tmp_path)],
    }[command]
    for revision, found in (([], "main"), (["--revision", "v1"], "v1")):
        asked.clear()
        subprocess.run(
            [sys.executable, "-m", "app", command, *given, "--model", "owner/name", *revision],
            env=environment,
            capture_output=True,
            check=command != "verify",  # these are not the published weights
        )
        assert [path for path in asked if f"/revision/{found}" in path], asked


def test_what_is_not_in_the_cache_is_not_there_offline(tmp_path: Path) -> None:
    missing = locate_apart(tmp_path, "owner/other", HF_HUB_OFFLINE="1")
    assert missing.returncode == 1
    assert "CheckpointError: cannot fetch owner/other from the hub" in missing.stderr


def test_a_model_is_a_folder_or_a_hub_id() -> None:
    assert locate(str(MINI)) == MINI.resolve()
    for nothing in ("./nowhere", "nowhere", "a/b/c"):
        with pytest.raises(CheckpointError, match="neither a folder nor a hub id"):
            locate(nothing)
