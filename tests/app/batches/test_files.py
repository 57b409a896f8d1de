"""Files of batch jobs: within bounds, kept, expired, deleted; a full disk is a sentence."""

import os
import resource
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prometheus_client import CollectorRegistry

from app.batches import store
from app.batches.folder import open_shelf
from app.batches.store import Store
from app.settings import Settings, SettingsError
from tests.app.answers import assert_error
from tests.app.batches.asking import ended, jsonl, line, lines_of, seen, submit, upload
from tests.app.batches.conftest import Served
from tests.server import Service, running, start
from tests.waiting import wait_until

BOUNDS = {"cpu_threads": 1, "cache_bytes": 0}


def left(folder: Path) -> list[Path]:
    return [*(folder / "uploads").iterdir()]


def test_a_file_comes_back_as_it_was_and_can_be_deleted(served: Served) -> None:
    content = bytes(range(256)) * 700
    told = upload(served.one, content).json()
    assert told["object"] == "file"
    assert (told["bytes"], told["filename"]) == (len(content), "in.jsonl")
    assert (told["purpose"], told["status"]) == ("batch", "processed")
    path = f"/v1/files/{told['id']}"
    assert served.one.get(path).json() == told
    assert served.one.get(f"{path}/content").content == content
    assert served.one.delete(path).json() == {"id": told["id"], "object": "file", "deleted": True}
    assert served.one.get(path).status_code == served.one.delete(path).status_code == 404
    assert not (served.folder / "files" / told["id"]).exists()
    assert left(served.folder) == []


def test_others_of_the_machine_read_none_of_it_in_a_folder_that_they_may_open(
    original: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    for made in (folder, folder / "files", folder / "uploads"):
        made.mkdir()
        made.chmod(0o755)
    with running(model=original, data_dir=folder, **BOUNDS) as service, service.client() as client:
        job = ended(client, submit(client, jsonl([line("a", input="x"), line("b", input=3)])))
        assert job["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
        modes = {path: path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}
    assert {"jobs.sqlite", "jobs.sqlite-wal", "jobs.sqlite-shm"} <= {path.name for path in modes}
    assert len([path for path in modes if path.parent.name == "files"]) == 3
    assert set(modes.values()) == {0o600}, modes


@pytest.mark.parametrize(
    ("content", "fields", "status", "said"),
    [
        (b"x" * 200_001, {}, 413, "at most 200000"),
        (b"x" * 400_000, {}, 413, "at most 200000"),
        (b"x", {"purpose": "fine-tune"}, 400, "`purpose` is 'fine-tune'"),
        (b"x", {"expires_after[seconds]": "soon"}, 400, "expires_after"),
        (b"x", {"note": "y" * 70_000}, 400, "more than 65536 bytes beside the content"),
        (b"x", {f"{n}": "y" * 30_000 for n in range(3)}, 400, "more than 65536 bytes beside"),
        (b"x", {f"{n}": "" for n in range(15)}, 400, "more than 16 parts"),
    ],
)
def test_what_is_no_upload(
    served: Served, content: bytes, fields: dict[str, str], status: int, said: str
) -> None:
    refused = upload(served.one, content, **fields)
    assert refused.status_code == status
    assert said in refused.json()["detail"]
    assert left(served.folder) == []


def test_a_form_may_have_fields_that_mean_nothing_beside_a_large_file(served: Served) -> None:
    fields = {f"{n}": "y" * 4000 for n in range(14)}
    assert upload(served.one, b"x" * 200_000, **fields).json()["bytes"] == 200_000


def test_a_body_that_is_no_form_or_breaks_off(served: Served) -> None:
    whole = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc'
    kinds = {
        ("application/json", b"{}"): "multipart/form-data",
        ("multipart/form-data; boundary=x", whole): "before its last boundary",
        ("multipart/form-data; boundary=x", b"nonsense"): "the form is broken",
        ("multipart/form-data; boundary=x", b"--x--\r\n"): "has no `file`",
    }
    for (kind, body), said in kinds.items():
        refused = served.one.post("/v1/files", content=body, headers={"content-type": kind})
        assert_error(refused, 400, "INPUT_INVALID", said)
    # A caller who hangs up in the middle leaves nothing.
    parts = urlsplit(served.service.url)
    head = "\r\n".join(
        [
            "POST /v1/files HTTP/1.1",
            "Host: localhost",
            f"Authorization: {served.one.headers['authorization']}",
            "Content-Type: multipart/form-data; boundary=x",
            "Content-Length: 100000",
            *("", ""),
        ]
    )
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(head.encode() + whole)
        wait_until(lambda: left(served.folder), "an upload under way")
    wait_until(lambda: not left(served.folder), "its end")


def test_a_file_expires_when_its_owner_says(served: Served) -> None:
    told = upload(served.one, b"x", **{"expires_after[seconds]": "1"}).json()
    assert told["expires_at"] == told["created_at"] + 1
    path = f"/v1/files/{told['id']}"
    wait_until(lambda: served.one.get(path).status_code == 404, "its end")


@pytest.fixture(scope="module")
def short_lived(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """It keeps files for three seconds, of 20,000 bytes in all."""
    bounds = {**BOUNDS, "data_days": 3 / 86_400, "max_data_bytes": 20_000}
    with running(model=original, data_dir=tmp_path_factory.mktemp("x"), **bounds) as service:
        yield service


def test_jobs_and_files_are_gone_after_their_days(short_lived: Service) -> None:
    with short_lived.client() as client:
        job = ended(client, submit(client, jsonl([line("a", input="x", dimensions=2)])))
        assert lines_of(client, job["output_file_id"])
        wait_until(lambda: client.get(f"/v1/batches/{job['id']}").status_code == 404, "its end")
        wait_until(lambda: not client.get("/v1/files").json()["data"], "the end of files")


def test_over_the_bytes_of_all_files_uploads_are_refused_and_jobs_wait(
    short_lived: Service,
) -> None:
    with short_lived.client() as client:
        wait_until(lambda: upload(client, b"x" * 15_000).status_code == 200, "room")
        refused = upload(client, b"x" * 15_000)
        assert_error(refused, 507, "STORAGE_FULL", "EMBED_MAX_DATA_BYTES=20000")
        job = submit(client, jsonl([line(f"c{n}", input="x") for n in range(10)]))
        waits = wait_until(lambda: seen(client, job)["errors"], "a job that waits")
        assert waits["data"][0]["code"] == "storage_full"
        job = ended(client, job)  # when the large file has expired
        assert (job["status"], job["errors"]) == ("completed", None)
        assert job["request_counts"]["completed"] == 10


def test_a_caller_may_have_so_many_jobs_that_have_not_ended(original: Path, tmp_path: Path) -> None:
    bounds = {**BOUNDS, "max_batch_jobs": 2, "request_timeout_s": 600, "batch_timeout_s": 600}
    with running(model=original, data_dir=tmp_path, **bounds) as service:
        with service.suspended(), service.client() as client:
            jobs = [submit(client, jsonl([line("a", input="x")])) for _ in range(2)]
            files = client.get("/v1/files").json()["data"]
            body = {"input_file_id": files[0]["id"], "endpoint": "/v1/embeddings"}
            asked = {"/v1/batches": body, "/v1/batch/embeddings": {"input": ["x"]}}
            said = "2 batch jobs of this caller have not ended, and at most 2 are kept."
            for path, each in asked.items():
                refused = client.post(path, json=each)
                assert_error(refused, 429, "RATE_JOB_LIMIT_EXCEEDED", said)
                assert refused.headers["retry-after"] == "120"
            assert client.get("/v1/files").json()["data"] == files
        with service.client() as client:
            assert {ended(client, job)["status"] for job in jobs} == {"completed"}
            for path, each in asked.items():
                assert client.post(path, json=each).status_code in (200, 202)


def limit_files(service: Service, size: int) -> None:
    """No process of the service may have a file longer than that: its write fails as on a full
    disk, with a reason of its own."""
    for process in service.http_processes():
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_what_cannot_be_written_is_a_sentence_and_a_job_goes_on_when_it_can(
    original: Path, tmp_path: Path
) -> None:
    with (
        running(model=original, data_dir=tmp_path, **BOUNDS) as service,
        service.client() as client,
    ):
        lines = [line(f"c{n}", input=[f"{n} {i}" for i in range(20)]) for n in range(100)]
        content = jsonl(lines)
        limit_files(service, 200_000)
        refused = upload(client, b"x" * 300_000)
        assert_error(refused, 507, "STORAGE_FULL", "File too large")
        assert left(tmp_path) == []
        job = submit(client, content)
        waits = wait_until(lambda: seen(client, job)["errors"], "a job that waits")
        assert "File too large" in waits["data"][0]["message"]
        service.log.wait_for(f"{job['id']} waits: nothing can be written into EMBED_DATA_DIR")
        limit_files(service, resource.RLIM_INFINITY)
        job = ended(client, job)
        assert job["status"] == "completed"
        found = [each["custom_id"] for each in lines_of(client, job["output_file_id"])]
        assert found == [f"c{n}" for n in range(100)]
        assert "Traceback" not in service.log.text()


def test_a_folder_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SettingsError, match=r"EMBED_DATA_DIR=.* cannot be used: "):
        open_shelf(Settings(), str(tmp_path / "file"), CollectorRegistry())
    service = start(data_dir=tmp_path / "file")
    assert service.process.wait(60) == 1
    service.log.wait_for("cannot start: EMBED_DATA_DIR=")
    assert "Traceback" not in service.log.text()


def test_an_upload_that_stands_still_is_given_up(original: Path, tmp_path: Path) -> None:
    settings = {"body_timeout_s": 0.3, "data_dir": tmp_path}
    with running(model=original, **settings, **BOUNDS) as service:
        parts = urlsplit(service.url)
        with socket.create_connection((parts.hostname, parts.port)) as connection:
            connection.sendall(
                b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
                b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
            )
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 408 ")
        wait_until(lambda: not left(tmp_path), "nothing left of it")


def outcome_of(work: Callable[[], object]) -> str:
    """What a child says that does that: nothing, or its error."""
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        try:
            work()
        except BaseException as error:  # noqa: BLE001
            os.write(writing, f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(process, 0)
    with os.fdopen(reading) as said:
        return said.read()


def test_a_process_that_starts_again_opens_the_folder_on_a_full_disk(tmp_path: Path) -> None:
    """Else the whole service would not come back."""
    there = Store(tmp_path)  # as the other processes have it open

    def open_again() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        Store(tmp_path)

    assert outcome_of(open_again) == ""
    there.close()


def test_a_folder_that_is_locked_stops_the_start_with_a_sentence(tmp_path: Path) -> None:
    Store(tmp_path).close()
    other = sqlite3.connect(tmp_path / "jobs.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    def open_it() -> None:
        store._BUSY_S = 0.01
        Store(tmp_path)

    expected = f"SettingsError: EMBED_DATA_DIR={tmp_path} cannot be used: database is locked."
    assert outcome_of(open_it) == expected
    other.close()


# 100 times four processes, which open a new folder at the same moment; prints what fails.
TOGETHER = """
import os, pathlib, sys
from app.batches.store import Store
for number in range(100):
    begin, go = os.pipe()
    children = []
    for _ in range(4):
        if not (child := os.fork()):
            os.close(go)
            os.read(begin, 1)
            try:
                Store(pathlib.Path(sys.argv[1], str(number)))
            except Exception as error:
                print(error, flush=True)
            os._exit(0)
        children.append(child)
    os.close(go)
    os.close(begin)
    for child in children:
        os.waitpid(child, 0)
"""


def test_processes_that_begin_together_all_open_a_new_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TOGETHER, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""
