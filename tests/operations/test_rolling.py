"""Replicas come and go under load, and no caller notices: none waits in vain, none gets an error.

Planned ends are covered by the drain, crashes by the balancer's retry; the controls take both away
and lose requests, so these tests can fail.
"""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.load import Outcome, under_load
from tests.mixture import WRONG, Mixture, bodies
from tests.operations.fleet import BALANCER, Fleet, balanced, running_fleet

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


def assert_nothing_lost(outcome: Outcome) -> None:
    print(outcome.report())
    assert len(outcome.samples) > RATE
    assert outcome.failed == 0, outcome.kinds


def test_a_rolling_restart_loses_nothing(fleet: Fleet, balancer: str, mixture: Mixture) -> None:
    with under_load(balancer, RATE, mixture) as outcome:
        for index in range(len(fleet.replicas)):
            assert fleet.replicas[index].stop(signal.SIGTERM) == 0
            fleet.replace(index)
    assert_nothing_lost(outcome)


def test_a_killed_replica_loses_nothing(fleet: Fleet, balancer: str, mixture: Mixture) -> None:
    with under_load(balancer, RATE, mixture) as outcome:
        for index in (0, 1):
            assert fleet.replicas[index].stop(signal.SIGKILL) == -signal.SIGKILL
            fleet.replace(index)
    assert_nothing_lost(outcome)


def test_a_killed_worker_loses_nothing(fleet: Fleet, balancer: str, mixture: Mixture) -> None:
    with under_load(balancer, RATE, mixture) as outcome:
        for _ in range(2):
            ready = fleet.replicas[2].log.text().count("serving  http")
            (worker,) = fleet.replicas[2].workers()
            worker.kill()
            fleet.replicas[2].log.wait_for("serving +http", count=ready + 1)
    assert_nothing_lost(outcome)


def test_control_without_drain_and_retry_requests_are_lost(
    fleet: Fleet, mixture: Mixture, tmp_path: Path
) -> None:
    """The same load and the same measure, and it sees what is lost."""
    plain = tmp_path / "haproxy.cfg"
    kept = [
        line
        for line in BALANCER.read_text().splitlines()
        if not line.strip().startswith(("retry-on", "option redispatch"))
    ]
    plain.write_text("\n".join(kept).replace("retries 3", "retries 0") + "\n")
    with balanced(fleet, plain) as url, under_load(url, RATE, mixture) as outcome:
        for index in range(len(fleet.replicas)):
            fleet.replicas[index].stop(signal.SIGKILL)
            fleet.replace(index)
    print(outcome.report())
    assert outcome.failed > 0
    assert outcome.kinds[WRONG] == 0
