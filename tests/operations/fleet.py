"""Fleet: three replicas behind the balancer of docker/haproxy.cfg, all real processes."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from tests.server import Service, start
from tests.waiting import wait_until

BALANCER = Path(__file__).parents[2] / "docker" / "haproxy.cfg"
_START_S = 60


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Fleet:
    """Replicas at fixed ports, so that a new one takes the place of an old one."""

    def __init__(self, model: Path, replicas: int, **settings: object) -> None:
        self._settings = {"model": model, **settings}
        self.ports = [free_port() for _ in range(replicas)]
        self.replicas = [self._start(port) for port in self.ports]
        for replica in self.replicas:
            replica.wait_until_ready()

    def _start(self, port: int) -> Service:
        return start(port=port, cache_bytes=0, **self._settings)

    def renew(self, index: int, end: signal.Signals) -> None:
        """End a replica by a signal, start another in its place and wait until that is ready."""
        code = self.replicas[index].stop(end)
        assert code == (-end if end == signal.SIGKILL else 0)
        self.replicas[index] = self._start(self.ports[index])
        self.replicas[index].wait_until_ready()

    def end(self) -> None:
        """Kill what still runs: how replicas end is not the question any more."""
        for replica in self.replicas:
            replica.process.kill()
            replica.process.wait()


@contextmanager
def running_fleet(model: Path, replicas: int = 3, **settings: object) -> Iterator[Fleet]:
    """Replicas that are ready, ended when the block is left."""
    fleet = Fleet(model, replicas, **settings)
    try:
        yield fleet
    finally:
        fleet.end()


@contextmanager
def balanced(fleet: Fleet, config: Path = BALANCER) -> Iterator[str]:
    """The URL of a balancer in front of the replicas."""
    port = free_port()
    environment = os.environ | {"QUINTET_BIND": f"127.0.0.1:{port}"}
    for number, replica in enumerate(fleet.ports, 1):
        environment[f"QUINTET_SERVER_{number}"] = f"127.0.0.1:{replica}"
    url = f"http://127.0.0.1:{port}"
    with ExitStack() as stack:
        command = ["haproxy", "-db", "-f", str(config)]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.kill)
        _await_answers(url, process)
        yield url


def _await_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    def answers() -> bool:
        assert process.poll() is None, "haproxy ended"
        try:
            return httpx.get(f"{url}/ready").status_code == 200
        except httpx.ConnectError:
            return False

    wait_until(answers, f"an answer at {url}", _START_S)
