"""The place a service runs in: variables of others, folders, addresses, logs."""

import ctypes
import errno
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.__main__ import main
from app.processes.metrics_folder import VARIABLE, metrics_folder
from app.settings import Settings, SettingsError
from app.sockets.address import address_of, bound_socket, inherited_socket, listen
from tests.server import Service, running, start

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
NOWHERE = "/nowhere/at/all"
# Others' variables, in each of which something was wrong once.
OTHERS = {
    "PROMETHEUS_MULTIPROC_DIR": NOWHERE,
    "http_proxy": "http://127.0.0.1:9",
    "ALL_PROXY": "socks5://127.0.0.1:9",
}
# As compose passes them on.
EMPTY = {"keys_file": "", "max_batch_tokens": "", "devices": "", "host": "", "dtype": ""}


@pytest.fixture(scope="module")
def alone() -> Iterator[Service]:
    """One HTTP process among others' variables, whose log is for machines."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in OTHERS.items():
            patch.setenv(name, value)
        with running(log_format="json", cpu_threads=1, **EMPTY) as service:
            yield service


def get(service: Service, path: str) -> httpx.Response:
    with httpx.Client(base_url=service.url, trust_env=False, timeout=60) as client:
        return client.get(path)


def events(service: Service, **fields: object) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in service.log.text().splitlines()]
    return [line for line in lines if fields.items() <= line.items()]


def test_in_json_the_start_is_one_event(alone: Service) -> None:
    (start,) = events(alone, logger="quintet")
    assert start["event"] == "serving"
    assert start["address"] == alone.url
    assert start["message"] == f"serving {alone.url}"
    assert start["device"] == "cpu, 1 threads"
    assert start["model"] == "quintet-mini"
    limits = start["limits"]
    assert isinstance(limits, dict)
    assert limits["max_batch_tokens"] == 2048
    assert {"version", "dtype", "attention", "tasks", "default_task", "width"} <= start.keys()


def test_the_parent_has_loaded_nothing_of_what_serves_and_computes(alone: Service) -> None:
    maps = Path(f"/proc/{alone.process.pid}/maps").read_text()
    assert "msgspec" in maps
    assert not re.findall("torch|numpy|uvloop|httptools|tokenizers|orjson", maps)


def test_anothers_folder_for_metrics_is_not_this_services(alone: Service) -> None:
    assert "quintet_workers_ready 1.0" in get(alone, "/metrics").text


def test_the_images_health_check_asks_no_proxy(alone: Service) -> None:
    (line,) = re.findall(r"^HEALTHCHECK [^\n]*\n\s+CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    _, *arguments = json.loads(line)
    port = alone.url.rpartition(":")[2]
    environment = {**os.environ, **OTHERS, "EMBED_PORT": port}
    asked = [sys.executable, *arguments]
    subprocess.run(asked, env=environment, check=True)
    with socket.create_server(("127.0.0.1", 0)) as other:
        closed = str(other.getsockname()[1])
    done = subprocess.run(
        asked, env={**environment, "EMBED_PORT": closed}, capture_output=True, check=False
    )
    assert done.returncode != 0


def test_the_tools_ask_a_service_of_this_machine_without_a_proxy(
    alone: Service, tmp_path: Path
) -> None:
    texts, vectors = tmp_path / "texts.txt", tmp_path / "vectors.jsonl"
    texts.write_text("Guten Morgen!\n", encoding="utf-8")
    asked = [sys.executable, "-m", "app", "embed", texts, "--output", vectors]
    environment = {**os.environ, **OTHERS}
    subprocess.run([*asked, "--url", alone.url], env=environment, check=True)
    assert len(vectors.read_text().splitlines()) == 1
    far = ["--url", "http://embeddings.example", "--overwrite"]
    done = subprocess.run(
        [*asked, *far], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "ALL_PROXY=socks5://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


def test_other_commands_do_not_need_anothers_folder_for_metrics() -> None:
    asked = [sys.executable, "-m", "app", "openapi"]
    done = subprocess.run(asked, env={**os.environ, **OTHERS}, capture_output=True, check=True)
    assert json.loads(done.stdout)["info"]["title"] == "Quintet"


def test_the_metrics_of_several_processes_outlive_the_cleaning_of_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**OTHERS, "TMPDIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    with running(http_processes=2) as service:
        (folder,) = tmp_path.iterdir()
        assert "quintet_workers_ready 1.0" in get(service, "/metrics").text
        shutil.rmtree(folder)
        service.http_processes()[1].kill()
        service.log.wait_for("HTTP process 1 serves", count=2)
        assert folder.stat().st_mode & 0o777 == 0o700
        shutil.rmtree(folder)
        answer = get(service, "/metrics")
        assert answer.status_code == 200
        assert "quintet_requests_total" in answer.text
        service.log.wait_for("are gone: /metrics has the numbers of the process that is asked")
    assert not folder.exists()


@pytest.mark.parametrize("in_memory", [True, False])
def test_where_no_folder_can_be_written_metrics_are_in_memory_or_the_service_says_so(
    in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = tempfile.mkdtemp

    def refused(prefix: str, dir: str | None = None) -> str:  # noqa: A002
        if dir is None or not in_memory:
            raise OSError(errno.EROFS, "Read-only file system")
        return make(prefix=prefix, dir=dir)

    monkeypatch.setenv(VARIABLE, NOWHERE)  # and put back as it was at the end
    monkeypatch.setattr(tempfile, "mkdtemp", refused)
    if in_memory:
        with metrics_folder(2) as folder:
            assert folder is not None
            assert folder.parent == Path("/dev/shm")  # noqa: S108
            assert os.environ[VARIABLE] == str(folder)
        assert not folder.exists()
    else:
        with (
            pytest.raises(SettingsError, match=r"Read-only file system\. Set TMPDIR"),
            metrics_folder(2),
        ):
            pass


def test_text_logs_have_the_date_and_end_their_greeting_with_an_invitation(
    service: Service,
) -> None:
    service.log.wait_for("in a browser")
    lines = service.log.text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (INFO|WARNING) ", line) for line in lines)
    (last,) = [number for number, line in enumerate(lines) if "  serving  http" in line]
    assert lines[last + 1].endswith(f" open {service.url} in a browser")


def test_what_the_page_loads_is_not_in_the_log(service: Service) -> None:
    assert get(service, "/").status_code == 200
    assert get(service, "/playground/main.js").status_code == 200
    assert get(service, "/playground/none.js").status_code == 404
    service.log.wait_for("GET /playground/none.js 404")
    assert "/playground/main.js" not in service.log.text()


@pytest.mark.parametrize(
    ("host", "opened"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),  # noqa: S104
        ("::", "[::1]"),
        ("::1", "[::1]"),
    ],
)
def test_a_browser_is_given_an_address_that_it_can_open(host: str, opened: str) -> None:
    try:
        bound = bound_socket(Settings(host=host, port=0))
    except SettingsError as error:
        pytest.skip(str(error))
    with bound:
        listen(bound, Settings())
        port = bound.getsockname()[1]
        address = address_of(bound)
        assert address.browser_url == f"http://{opened}:{port}"
        assert address.url == f"http://{f'[{host}]' if ':' in host else host}:{port}"
        socket.create_connection((opened.strip("[]"), port)).close()


def test_a_taken_port_is_told_with_the_variable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        service = start(port=port)
        assert service.process.wait(60) == 1
    service.log.wait_for(f"cannot start: EMBED_PORT={port}: another program listens on that port")
    assert len(service.log.text().splitlines()) == 1


def test_an_inherited_socket_is_served_on_whatever_the_settings_say() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = "http://{}:{}".format(*bound.getsockname())
        service = start(bound, port=1)
    try:
        service.wait_until_ready()
        assert service.url == url
        assert get(service, "/ready").status_code == 200
    finally:
        assert service.stop() == 0
    with pytest.raises(httpx.ConnectError):
        get(service, "/live")


def test_an_inherited_socket_that_others_can_reach_needs_keys() -> None:
    with socket.socket() as bound:
        bound.bind(("0.0.0.0", 0))  # noqa: S104  (refused)
        service = start(bound)
    assert service.process.wait(60) == 1
    service.log.wait_for(r"cannot start: EMBED_HOST=0\.0\.0\.0 can be reached by others")


def test_an_inherited_descriptor_that_is_no_bound_socket_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.socket() as unbound, socket.socket(socket.AF_UNIX) as unix:
        for each in (unbound, unix):
            with pytest.raises(SettingsError, match="a TCP socket that is bound"):
                inherited_socket(each.fileno())
    with Path(os.devnull).open("rb") as file, pytest.raises(SettingsError, match="is no socket"):
        inherited_socket(file.fileno())
    with pytest.raises(SettingsError, match="is no socket: descriptors are small"):
        inherited_socket(10**20)
    with pytest.raises(SystemExit):
        main(["serve", "--fd", "-1"])
    assert "--fd: must be a whole number from 0 up, not -1" in capsys.readouterr().err


def test_who_listens_first_has_the_port() -> None:
    """Two sockets may be bound to one address as long as neither listens."""
    with bound_socket(Settings(port=0)) as first:
        settings = Settings(port=first.getsockname()[1])
        with bound_socket(settings) as second:
            listen(second, settings)
            with pytest.raises(SettingsError, match=r"EMBED_PORT=.* another program"):
                listen(first, settings)


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("198.51.100.7", "EMBED_HOST=198.51.100.7 is no address of this machine"),
        ("no.such.host.invalid", "EMBED_HOST=no.such.host.invalid is no address and no name"),
        ("a" * 70, "is no address and no name"),
    ],
)
def test_an_address_of_another_machine_is_told(host: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        bound_socket(Settings(host=host, port=0))


def drop_low_ports() -> None:
    """Take the right to listen on ports below 1024 from a process that root starts."""
    pr_capbset_drop, cap_net_bind_service = 24, 10
    ctypes.CDLL(None).prctl(pr_capbset_drop, cap_net_bind_service, 0, 0, 0)


def test_a_port_that_only_root_may_have_is_told() -> None:
    first = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if not first.exists() or int(first.read_text()) <= 1:
        pytest.skip("every user may listen on every port here")
    program = "from app.sockets.address import *; bound_socket(Settings(port=1))"
    asked = [sys.executable, "-c", program]
    done = subprocess.run(
        asked, preexec_fn=drop_low_ports, capture_output=True, text=True, check=False
    )
    assert "EMBED_PORT=1: this user may not listen there" in done.stderr
