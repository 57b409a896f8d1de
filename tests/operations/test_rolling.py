"""Replicas come and go under load, and no caller notices: none waits in vain, none gets an error.

Planned ends are covered by the drain alone, crashes by the balancer's retry. Each has its control,
which takes that one away and loses requests, so these tests can fail.
"""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.load import Outcome, under_load
from tests.mixture import WRONG, Mixture, bodies
from tests.operations.fleet import BALANCER, Fleet, balanced, running_fleet
from tests.server import Service

pytestmark = [pytest.mark.operations, pytest.mark.timeout(400)]

# Requests a second: a small part of what the replicas can do, also on a machine that others use.
RATE = 20
# The balancer looks every second, and looks away after two refusals.
DRAIN_S = 4


@pytest.fixture(scope="module")
def fleet(original: Path) -> Iterator[Fleet]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        with running_fleet(original, drain_delay_s=DRAIN_S) as fleet:
            yield fleet


@pytest.fixture(scope="module")
def mixture(fleet: Fleet) -> Mixture:
    return Mixture(fleet.replicas[0].url, bodies())


@pytest.fixture(scope="module")
def balancer(fleet: Fleet) -> Iterator[str]:
    with balanced(fleet) as url:
        yield url


@pytest.fixture(scope="module")
def without_retry(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with balanced(fleet, plain(tmp_path_factory.mktemp("plain"))) as url:
        yield url


def plain(folder: Path) -> Path:
    """The balancer's file without what sends a request again."""
    kept = [
        line
        for line in BALANCER.read_text().splitlines()
        if not line.strip().startswith(("retry-on", "option redispatch"))
    ]
    text = "\n".join(kept) + "\n"
    assert "retries 1\n" in text
    (folder / "haproxy.cfg").write_text(text.replace("retries 1\n", "retries 0\n"))
    return folder / "haproxy.cfg"


def assert_nothing_lost(outcome: Outcome, least: int = RATE) -> None:
    print(outcome.report())
    assert len(outcome.samples) > least
    assert outcome.failed == 0, outcome.kinds


def test_a_rolling_restart_loses_nothing(fleet: Fleet, balancer: str, mixture: Mixture) -> None:
    with under_load(balancer, RATE, mixture) as outcome:
        for index in range(len(fleet.replicas)):
            fleet.renew(index, signal.SIGTERM)
    assert_nothing_lost(outcome)


@pytest.mark.parametrize("index", [0, 1])
def test_a_killed_replica_loses_nothing(
    fleet: Fleet, balancer: str, mixture: Mixture, index: int
) -> None:
    """One at a time: a request whose second replica is killed too has had its retry."""
    with under_load(balancer, RATE, mixture) as outcome:
        fleet.renew(index, signal.SIGKILL)
    assert_nothing_lost(outcome, least=RATE // 2)  # one start may take less than a second


@pytest.mark.parametrize(("inputs", "status"), [(25, 200), (50, 502)])
def test_a_killed_replica_loses_what_does_not_fit_into_the_balancers_buffer(
    fleet: Fleet, balancer: str, inputs: int, status: int
) -> None:
    """Of 50 and 100 KB; the larger one's caller is told to send it again."""
    body = {"input": [f"{inputs} {'tea ' * 500}"] * inputs}
    with ThreadPoolExecutor() as pool, ExitStack() as stack:
        for worker in [worker for replica in fleet.replicas for worker in replica.workers()]:
            worker.suspend()
            stack.callback(worker.resume)
        asked = pool.submit(httpx.post, f"{balancer}/v1/embeddings", json=body, timeout=60)
        holders: list[int] = []
        while not holders:
            holders = [i for i, each in enumerate(fleet.replicas) if each.metric("queue_rows")]
        fleet.renew(holders[0], signal.SIGKILL)
        stack.close()
        answer = asked.result()
    assert answer.status_code == status
    assert status == 200 or int(answer.headers["retry-after"]) >= 1


def test_a_killed_worker_loses_nothing(fleet: Fleet, balancer: str, mixture: Mixture) -> None:
    with under_load(balancer, RATE, mixture) as outcome:
        for _ in range(2):
            kill_worker(fleet.replicas[2])
    assert_nothing_lost(outcome)


def kill_worker(replica: Service) -> None:
    """Kill it and wait for the next one."""
    ready = replica.log.text().count("serving  http")
    (worker,) = replica.workers()
    worker.kill()
    replica.log.wait_for("serving +http", count=ready + 1)


def assert_some_lost(outcome: Outcome) -> None:
    """The same load and the same measure, and it sees what is lost."""
    print(outcome.report())
    assert outcome.failed > 0
    assert outcome.kinds[WRONG] == 0


def test_the_drain_alone_loses_nothing(fleet: Fleet, without_retry: str, mixture: Mixture) -> None:
    with under_load(without_retry, RATE, mixture) as outcome:
        for index in (0, 1):
            fleet.renew(index, signal.SIGTERM)
    assert_nothing_lost(outcome)


def test_control_without_a_drain_a_restart_loses_requests(
    original: Path, mixture: Mixture, tmp_path: Path
) -> None:
    with (
        running_fleet(original, replicas=2, drain_delay_s=0) as hasty,
        balanced(hasty, plain(tmp_path)) as url,
        under_load(url, RATE, mixture) as outcome,
    ):
        for index in (0, 1):
            hasty.renew(index, signal.SIGTERM)
    assert_some_lost(outcome)


def test_control_without_a_retry_a_killed_replica_loses_requests(
    fleet: Fleet, without_retry: str, mixture: Mixture
) -> None:
    with under_load(without_retry, RATE, mixture) as outcome:
        for index in (0, 1):
            fleet.renew(index, signal.SIGKILL)
    assert_some_lost(outcome)


def test_control_without_a_retry_a_killed_worker_loses_requests(
    fleet: Fleet, without_retry: str, mixture: Mixture
) -> None:
    with under_load(without_retry, RATE, mixture) as outcome:
        kill_worker(fleet.replicas[2])
    assert_some_lost(outcome)
