"""The command line as people run it: `quintet embed ...` in a process of its own."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import orjson

from app.__main__ import main

_END_S = 60


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


class Command:
    """A running command. Warnings are errors in it; one that nobody can raise is found in `err`.
    Without `blocking` its standard input and output are pipes with O_NONBLOCK."""

    started: ClassVar[list["Command"]] = []

    def __init__(self, *arguments: object, blocking: bool = True, **environment: str) -> None:
        (stdin, to_it), (from_it, stdout) = os.pipe(), os.pipe()
        for end in (stdin, stdout):
            os.set_blocking(end, blocking)
        own = {name: value for name, value in os.environ.items() if not name.startswith("EMBED_")}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "app", *map(str, arguments)],
            env=own | environment,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(stdin)
        os.close(stdout)
        self.process.stdin, self.process.stdout = os.fdopen(to_it, "w"), os.fdopen(from_it)
        self.started.append(self)

    def write(self, text: str) -> None:
        """Write to its standard input, which stays open."""
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def wait(self, text: str = "") -> Ended:
        """Give it the rest of its input and wait for its end."""
        out, err = self.process.communicate(text, timeout=_END_S)
        assert "Traceback" not in err, err
        assert "Exception ignored" not in err, err
        return Ended(self.process.returncode, out, err)

    def kill(self) -> Ended:
        """kill -9."""
        self.process.kill()
        return self.wait()

    @classmethod
    def end_all(cls) -> None:
        """Leave no process behind, whatever became of the test."""
        while cls.started:
            process = cls.started.pop().process
            if process.poll() is None:
                process.kill()
            with process:  # closes its pipes
                pass

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)


def run(*arguments: object, text: str = "", **environment: str) -> Ended:
    """Run a command to its end, with `text` as its standard input."""
    return Command(*arguments, blocking=True, **environment).wait(text)


def run_here(*arguments: object) -> Ended:
    """Run a command in this process: for those that read no standard input and get no signal."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*map(str, arguments)])
    return Ended(code, out.getvalue(), err.getvalue())


def write_jsonl(path: Path, records: Iterable[dict[str, Any]]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    return path


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def run_with_closed(descriptor: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command without one of its standard streams."""
    closing = f"import os, sys; os.close({descriptor}); os.execv(sys.executable, sys.argv[1:])"
    command = [sys.executable, "-c", closing, sys.executable, "-m", "app", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
