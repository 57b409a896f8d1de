"""The folder of a training run, which can be interrupted at any point and resumed.

OUT/training/settings.json   what was asked for; a run is resumed only with the same settings
OUT/training/log.jsonl       the learning curve: a line for each step and each validation
OUT/training/state.pt        everything the next step depends on; deleted when the run is done
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from model.training.errors import TrainingError


class RunFolder:
    """The folder of one run. One process writes; others may read the state."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._files = out / "training"
        self._settings = self._files / "settings.json"
        self._log = self._files / "log.jsonl"
        self._state = self._files / "state.pt"

    @contextmanager
    def reporting_write_errors(self) -> Iterator[None]:
        """
        Raises:
            TrainingError: what is written in the block cannot be. The libraries have errors of
                their own for a full disk: torch a RuntimeError.
        """
        try:
            yield
        except (OSError, RuntimeError, SafetensorError) as error:
            why = getattr(error, "strerror", None) or str(error).partition("\n")[0]
            raise TrainingError(f"cannot write to {self.out}: {why}") from None

    def claim(self, settings: Mapping[str, Any]) -> None:
        """Start a run in an empty folder, or resume the run that was interrupted there.

        Raises:
            TrainingError: the folder has something else; nothing in it is touched.
        """
        with self.reporting_write_errors():
            if self.out.exists() and not self.out.is_dir():
                raise TrainingError(f"{self.out} is a file; name a new folder.")
            if not self._settings.is_file():
                others = [path.name for path in self.out.glob("*") if path != self._files]
                if others:
                    raise TrainingError(
                        f"{self.out} is not empty ({others[0]}) and not an interrupted run; name a "
                        "new folder."
                    )
                self._files.mkdir(parents=True, exist_ok=True)
                _write(self._settings, json.dumps(dict(settings), indent=1).encode())
                return
            before = json.loads(self._settings.read_text(encoding="utf-8"))
            # A finished run has its checkpoint and no state any more.
            if (self.out / "config.json").is_file() and not self._state.is_file():
                raise TrainingError(f"{self.out} has a finished run; name a new folder.")
            for name in sorted(before.keys() | settings.keys()):
                if before.get(name) != settings.get(name):
                    raise TrainingError(
                        f"{self.out} has an interrupted run with {name} {before.get(name)!r}, not "
                        f"{settings.get(name)!r}; say the same to go on, or name a new folder."
                    )

    def load(self) -> dict[str, Any] | None:
        """The state that was saved last, on the CPU; None before the first."""
        if not self._state.is_file():
            return None
        state: dict[str, Any] = torch.load(self._state, map_location="cpu", weights_only=True)
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state, atomically."""
        new = self._state.with_suffix(".new")
        with self.reporting_write_errors():
            torch.save(dict(state), new)
            new.replace(self._state)

    def finish(self) -> None:
        """Delete the state: the run's checkpoint is written."""
        self._state.unlink(missing_ok=True)

    def truncate_log(self, step: int) -> None:
        """Drop what was logged after that step, which will be done and logged again."""
        kept = []
        for line in self._log.read_text("utf-8").splitlines() if self._log.is_file() else ():
            try:
                fields = json.loads(line)
            except ValueError:  # cut short by the interruption
                break
            if fields["step"] > step:
                break
            kept.append(line + "\n")
        with self.reporting_write_errors():
            _write(self._log, "".join(kept).encode())

    def log(self, **fields: float) -> None:
        """Append a line to the log; one of the fields is `step`."""
        with self.reporting_write_errors(), self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(fields) + "\n")


def _write(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(content)
    new.replace(path)
