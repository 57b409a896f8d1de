"""`quintet corpus` as people run it, in a process of its own, and what it writes."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psutil
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[3]
# What the console script does that an installer writes.
SCRIPT = "import sys; from app.__main__ import main; sys.exit(main())"


class Corpus:
    """A running `quintet corpus`; it ends with all that it started."""

    started: ClassVar[list["Corpus"]] = []

    def __init__(self, *arguments: object, cwd: Path = ROOT, **environment: str) -> None:
        # Nobody's own keys and addresses of object stores.
        own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", SCRIPT, "corpus", *map(str, arguments)],
            env={**own, "PYTHONPATH": str(ROOT), **environment},
            cwd=cwd,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(self)

    def wait(self) -> tuple[int, str]:
        """The exit status, and what was said."""
        _, said = self.process.communicate(timeout=200)
        return self.process.returncode, said

    def descendants(self, title: str = "") -> list[psutil.Process]:
        """Its processes whose title has that."""
        found = []
        for each in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if title in " ".join(each.cmdline()):
                    found.append(each)
        return found

    def kill(self) -> None:
        """kill -9 of it and of all that it started, as a machine that goes off does."""
        for each in [*self.descendants(), psutil.Process(self.process.pid)]:
            with contextlib.suppress(psutil.Error):
                each.kill()
        self.wait()

    @classmethod
    def end_all(cls) -> None:
        while cls.started:
            corpus = cls.started.pop()
            if corpus.process.poll() is None:
                corpus.kill()


def run(*arguments: object, **more: Any) -> tuple[int, str]:
    return Corpus(*arguments, **more).wait()


def rows(path: Path | str, filesystem: Any = None) -> tuple[list[str], np.ndarray]:
    """The ids and vectors of an output file."""
    table = pq.read_table(path, filesystem=filesystem)
    column = table.column("embedding").combine_chunks()
    numbers = column.values.to_numpy().reshape(len(table), column.type.list_size)
    return table.column("id").to_pylist(), numbers
