"""`quintet batches` and its keys: its own, which the service asks for, and those of its callers."""

from pathlib import Path

from app.access.keyfile import digest
from tests.app.batches.asking import ended, jsonl, line, lines_of, seen, submit
from tests.app.batches.conftest import key
from tests.app.batches.test_killed_services import own_process
from tests.server import bearer, running
from tests.waiting import wait_until

LINES = 40
BOUNDS = {"cpu_threads": 1, "cache_bytes": 0}
CONTENT = jsonl([line(f"c{n}", input=f"{n} is a text", dimensions=16) for n in range(LINES)])


def test_lines_wait_while_the_service_does_not_know_the_key_of_the_process(
    original: Path, tmp_path: Path
) -> None:
    """It is no fault of theirs: the log says so, and they go on with the key."""
    replicas, mine = tmp_path / "replicas", "a key that is not there yet"
    key(replicas, "other")
    with (
        running(model=original, keys_file=replicas, **BOUNDS) as service,
        own_process(service.url, mine, data_dir=tmp_path / "data", open=True) as batches,
        batches.client() as client,
    ):
        job = submit(client, CONTENT)
        said = batches.log.wait_for("lines of batch jobs wait: http.*refuses the key").string
        assert "QUINTET_API_KEY" in said
        assert mine not in said
        held = seen(client, job)
        assert (held["status"], held["request_counts"]["failed"]) == ("in_progress", 0)
        with replicas.open("a") as file:
            file.write(f"{digest(mine)}  batches\n")
        job = ended(client, job)
        assert job["request_counts"] == {"total": LINES, "completed": LINES, "failed": 0}
        assert batches.log.count("lines of batch jobs wait") == 1


def test_a_service_that_is_not_there_is_told(tmp_path: Path) -> None:
    with (
        own_process("http://127.0.0.1:9", "", data_dir=tmp_path) as batches,
        batches.client() as client,
    ):
        job = submit(client, CONTENT)
        batches.log.wait_for("lines of batch jobs wait: http://127.0.0.1:9 does not answer")
        assert seen(client, job)["request_counts"]["failed"] == 0


def test_the_lines_of_a_key_that_is_removed_are_refused(original: Path, tmp_path: Path) -> None:
    """Nobody could cancel the job any more."""
    keys = tmp_path / "callers"
    caller = key(keys, "team")
    key(keys, "other")
    before = keys.read_text()
    bounds = {"batch_job_inputs": 4, "keys_file": keys, "data_dir": tmp_path / "data"}
    with (
        running(model=original, **BOUNDS) as service,
        own_process(service.url, "", **bounds) as batches,
        batches.client(headers=bearer(caller)) as client,
    ):
        with service.suspended():
            job = submit(client, CONTENT)
            service.wait_for_queue(4)
            keys.write_text("".join(e for e in before.splitlines(True) if "team" not in e))
            assert client.get("/v1/batches").status_code == 401
        batches.log.wait_for(f"{job['id']} is completed")
        keys.write_text(before)
        job = wait_until(
            lambda: (found := seen(client, job)).get("id") and found, "the key to be known again"
        )
        assert job["request_counts"] == {"total": LINES, "completed": 4, "failed": LINES - 4}
        errors = lines_of(client, job["error_file_id"])
        assert {each["response"]["status_code"] for each in errors} == {401}
        assert all(each["response"]["request_id"].startswith(job["id"]) for each in errors)
