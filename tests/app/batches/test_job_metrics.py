"""What /metrics says of batch jobs: the same whichever of two HTTP processes is asked."""

import httpx

from tests.app.batches.asking import ended, jsonl, line, submit
from tests.app.batches.conftest import Served
from tests.waiting import wait_until

OUTCOMES = ("completed", "failed", "expired", "cancelled")


def lines(number: int) -> list[object]:
    return [line(f"c{n}", input=f"{n} is a text", dimensions=2) for n in range(number)]


def test_jobs_are_shown_by_state_and_ended_ones_counted_once(served: Served) -> None:
    now = served.service.metric

    def said(name: str, **labels: str) -> float:
        """The same whoever is asked, each time over a connection of its own."""
        shown = ",".join(f'{label}="{value}"' for label, value in labels.items())
        (value,) = {now(f"{name}{{{shown}}}" if shown else name) for _ in range(5)}
        return value

    def counts() -> dict[str, float]:
        jobs = {each: said("batch_jobs_ended_total", outcome=each) for each in OUTCOMES}
        done = {
            f"{each} lines": said("batch_job_lines_total", outcome=each) for each in OUTCOMES[:2]
        }
        return jobs | done

    def state(name: str) -> float:
        return now(f'batch_jobs{{state="{name}"}}')

    wait_until(lambda: now("batch_jobs") == 0, "the end of other tests' jobs")
    before = counts()
    with served.service.suspended():
        first = submit(served.one, jsonl([*lines(30), "no json", "{}"]))
        behind = submit(served.one, jsonl(lines(9)))
        others = submit(served.other, jsonl(lines(5)))
        wait_until(lambda: state("in_progress") == 2, "two jobs that are worked on")
        assert state("queued") == 1
        wait_until(lambda: now("batch_job_lines_waiting") == 37, "their lines")
        assert served.one.post(f"/v1/batches/{behind['id']}/cancel").status_code == 200
        wait_until(lambda: state("queued") == 0, "the end of the job that was cancelled")
    broken = submit(served.one, b"no json")
    for client, job in ((served.one, first), (served.one, broken), (served.other, others)):
        ended(client, job)
    wait_until(lambda: now("batch_jobs") == 0, "nothing to do")
    wait_until(lambda: now("batch_job_lines_waiting") == 0, "no lines")
    after = counts()
    assert {name: after[name] - before[name] for name in after} == {
        "completed": 2,
        "failed": 1,
        "expired": 0,
        "cancelled": 1,
        "completed lines": 35,
        "failed lines": 2,
    }


def test_the_bytes_of_all_files_stand_beside_their_bound(served: Served) -> None:
    folder = served.folder / "files"

    def is_told() -> bool:
        on_disk = sum(path.stat().st_size for path in folder.iterdir())
        return served.service.metric("data_bytes") == on_disk > 0

    ended(served.one, submit(served.one, jsonl(lines(3))))
    wait_until(is_told, "the bytes on the disk")
    assert served.service.metric("data_bytes_limit") == 20 * 2**30


def test_no_label_says_whose_a_job_is(served: Served) -> None:
    job = ended(served.one, submit(served.one, jsonl(lines(1))))
    text = httpx.get(f"{served.service.url}/metrics").text
    own = [each for each in text.splitlines() if each.startswith("quintet_batch_job")]
    assert len(own) == 6 + len(OUTCOMES) + 2 + 1
    assert job["id"] not in text
    assert not any('"one"' in each for each in own)
