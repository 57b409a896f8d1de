"""A real Redis in a process of its own."""

import re
import socket
import subprocess
from pathlib import Path

import redis

# As in compose.yaml: what it forgets in a restart is a minute of limits.
OPTIONS = ("--save", "", "--appendonly", "no")


class RedisServer:
    """Keeps its port when it is started again."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = redis.Redis(port=self.port, decode_responses=True)
        self._folder = folder
        self.start()

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        place = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder)]
        self.process = subprocess.Popen(
            ["redis-server", *place, *OPTIONS],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        log = ""
        for line in self.process.stdout:
            log += line
            if re.search("Ready to accept connections", line):
                return
        raise AssertionError(f"redis-server ended:\n{log}")

    def kill(self) -> None:
        """As a machine that is gone."""
        self.process.kill()
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def stop(self) -> None:
        """End it."""
        self.client.close()
        if self.process.poll() is None:
            self.kill()
