"""Keys: made by the command, asked for by the service, followed without a restart, never shown."""

import hashlib
import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import openai
import pytest

from app.settings import Settings, SettingsError, check_servable
from tests.server import Service, bearer, running, start
from tests.waiting import wait_until

Keys = Callable[..., subprocess.CompletedProcess[str]]


def command(file: Path) -> Keys:
    def keys(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "EMBED_KEYS_FILE": str(file)}
        whole = [sys.executable, "-m", "app", "keys", *arguments]
        return subprocess.run(whole, env=environment, capture_output=True, text=True, check=False)

    return keys


def made(keys: Keys, name: str) -> str:
    done = keys("add", name)
    assert done.returncode == 0, done.stderr
    return done.stdout.removesuffix("\n")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys"


@pytest.fixture(scope="module")
def key(file: Path) -> str:
    return made(command(file), "search")


@pytest.mark.parametrize("closed", [True, False])
def test_a_key_that_cannot_be_printed_is_not_kept(tmp_path: Path, closed: bool) -> None:
    """On a full disk, or into a pipe that nobody reads."""
    file = tmp_path / "keys"
    made(command(file), "other")
    before = file.read_text()
    if closed:
        reading, output = os.pipe()
        os.close(reading)
    else:
        output = os.open("/dev/full", os.O_WRONLY)
    whole = [sys.executable, "-m", "app", "keys", "--file", str(file)]
    with os.fdopen(output, "w") as out:
        added, listed = (
            subprocess.run([*whole, *action], stdout=out, stderr=-1, text=True, check=False)
            for action in (("add", "search"), ("list",))
        )
    reason = "Broken pipe" if closed else "No space left on device"
    told = f"error: the key of search could not be printed ({reason}); it was removed again\n"
    assert (added.returncode, added.stderr.splitlines(keepends=True)[-1]) == (1, told)
    full = f"error: cannot write standard output: {reason}.\n"
    assert (listed.returncode, listed.stderr) == ((0, "") if closed else (1, full))
    assert file.read_text() == before


@pytest.fixture(scope="module")
def keyed(file: Path, key: str) -> Iterator[Service]:
    with running(keys_file=file, metrics_open=False, log_format="text") as service:
        yield service


def status(service: Service, key: str) -> int:
    return httpx.get(f"{service.url}/v1/models", headers=bearer(key), timeout=60).status_code


def test_a_key_is_printed_once_and_only_its_digest_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    keys = command(file)
    key = made(keys, "team-a")
    assert len(key) > 40
    assert key not in file.read_text()
    line = f"{hashlib.sha256(key.encode()).hexdigest()}  team-a\n"
    assert file.read_text().endswith(line)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    other = made(keys, "team-b")
    assert other != key
    assert keys("list").stdout == "team-a\nteam-b\n"
    assert keys("remove", "team-a").returncode == 0
    assert keys("list").stdout == "team-b\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["keys"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "twice"), "has a key named twice"),
        (("add", "two words"), "a name has 1 to 64 letters"),
        (("add", "-x"), "NAME"),
        (("remove", "nobody"), "has no key named nobody"),
    ],
)
def test_what_the_command_refuses(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    keys = command(tmp_path / "keys")
    made(keys, "twice")
    done = keys(*arguments)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert keys("list").stdout == "twice\n"


def test_probes_and_the_page_need_no_key_and_metrics_do_when_told_so(
    keyed: Service, key: str, service: Service
) -> None:
    for path in ("/live", "/ready", "/health", "/ping", "/", "/playground/main.js", "/docs"):
        assert httpx.get(keyed.url + path).status_code == 200, path
    assert httpx.get(f"{keyed.url}/metrics").status_code == 401
    assert httpx.get(f"{keyed.url}/metrics", headers=bearer(key)).status_code == 200
    assert httpx.get(f"{service.url}/metrics").status_code == 200


def test_any_key_is_ignored_where_there_are_none(service: Service) -> None:
    for headers in (bearer("none"), {"authorization": "x"}):
        assert httpx.get(f"{service.url}/v1/models", headers=headers).status_code == 200


def test_openais_sdk_knows_what_is_wrong(keyed: Service, key: str) -> None:
    for given, expected in ((key, None), ("wrong", openai.AuthenticationError)):
        with openai.OpenAI(base_url=f"{keyed.url}/v1", api_key=given) as client:
            if expected is None:
                assert client.embeddings.create(model="quintet-mini", input="x").data
                continue
            with pytest.raises(expected) as caught:
                client.embeddings.create(model="quintet-mini", input="x")
            assert caught.value.code == "invalid_api_key"
            assert caught.value.type == "invalid_request_error"


def test_names_are_in_the_log_and_the_metrics_and_keys_nowhere(keyed: Service, key: str) -> None:
    headers = {**bearer(key), "x-request-id": "by-name"}
    body = {"input": ["a b c", "d"]}
    answer = httpx.post(f"{keyed.url}/v1/embeddings", json=body, headers=headers, timeout=60)
    keyed.log.wait_for(r"request_id=by-name key=search .*tokens=")
    httpx.get(f"{keyed.url}/info", headers=bearer("not-a-known-one"))
    metrics = httpx.get(f"{keyed.url}/metrics", headers=bearer(key)).text
    (tokens,) = re.findall(
        r'^quintet_key_tokens_total\{key="search"\} (\S+)', metrics, re.MULTILINE
    )
    (requests,) = re.findall(
        r'^quintet_key_requests_total\{key="search"\} (\S+)', metrics, re.MULTILINE
    )
    assert float(tokens) >= answer.json()["usage"]["total_tokens"]
    assert float(requests) > 1
    for reason in ("no key", "wrong key"):
        assert re.search(
            rf'^quintet_refused_total\{{reason="{reason}"\}} [1-9]', metrics, re.MULTILINE
        )
    shown = keyed.log.text() + metrics
    for secret in (key, "not-a-known-one", hashlib.sha256(key.encode()).hexdigest()):
        assert secret not in shown


def test_keys_rotate_while_requests_run(keyed: Service, file: Path) -> None:
    keys = command(file)
    old = made(keys, "old")
    current, seen, stop = [old], [], threading.Event()

    def ask() -> None:
        with keyed.client() as client:
            while not stop.is_set():
                body = {"input": "x"}
                headers = bearer(current[0])
                seen.append(client.post("/v1/embeddings", json=body, headers=headers).status_code)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        new = made(keys, "new")
        assert status(keyed, new) == status(keyed, old) == 200
        current[0] = new
        both = len(seen)
        wait_until(lambda: len(seen) >= both + 16, "whoever still had the old key has asked")
        assert keys("remove", "old").returncode == 0
        assert status(keyed, old) == 401
        assert status(keyed, new) == 200
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert set(seen) == {200}
    assert keys("remove", "new").returncode == 0
    assert status(keyed, new) == 401


def test_a_file_that_breaks_leaves_the_keys_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    key = made(command(file), "first")
    good = file.read_text()
    with running(keys_file=file) as service:
        file.write_text(good + f"{key}  pasted\n")
        assert status(service, key) == 200
        service.log.wait_for("the keys from before stay: line 3 of the keys file .* is not a SHA-")
        file.unlink()
        assert status(service, key) == 200
        service.log.wait_for("the keys from before stay: the keys file .* cannot be read: No such")
        file.write_text(good)
        assert status(service, key) == 200
        service.log.wait_for("read 1 keys again")
        # All keys may be taken away: an empty file is no broken one.
        assert command(file)("remove", "first").returncode == 0
        assert status(service, key) == 401
        assert key not in service.log.text()


DIGEST = "0" * 64


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "EMBED_KEYS_FILE: the keys file .* cannot be read: No such file"),
        (b"\xff\xfe", "cannot be read: it is no text"),
        (b"quintet-secret  me\n", "line 1 of the keys file .* is not a SHA-256 in lower-case hex"),
        (f"{DIGEST}  a\n{DIGEST}  b\n".encode(), "line 2 of the keys file .* is there twice"),
    ],
)
def test_a_file_that_cannot_be_used_stops_the_start(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / "keys").write_bytes(content)
    service = start(keys_file=tmp_path / "keys")
    service.log.wait_for(f"cannot start: .*{said}")
    assert service.process.wait(60) == 1
    assert "Traceback" not in service.log.text()
    assert "quintet-secret" not in service.log.text()


def test_nobody_is_served_from_outside_without_keys_unless_told_so() -> None:
    service = start(host="0.0.0.0")  # noqa: S104  (refused before it listens)
    service.log.wait_for(
        "cannot start: EMBED_HOST=0.0.0.0 can be reached by others, and there are no key"
    )
    assert service.process.wait(60) == 1
    assert "serving" not in service.log.text()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "embeddings.example"])  # noqa: S104
def test_which_addresses_need_keys(host: str) -> None:
    with pytest.raises(SettingsError, match="EMBED_KEYS_FILE"):
        check_servable(Settings(host=host))
    check_servable(Settings(host=host, open=True))
    check_servable(Settings(host=host, keys_file="keys"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    check_servable(Settings(host=host))
