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

# What Trainer saves.
_STATE = {"state", "now", "best", "optimizers"}


@contextmanager
def reporting_write_errors(out: Path) -> Iterator[None]:
    """
    Raises:
        TrainingError: what is written to the folder `out` in the block cannot be. The libraries
            have errors of their own for a full disk: torch a RuntimeError.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise TrainingError(f"cannot write to {out}: {why}") from None


def damaged(path: Path) -> TrainingError:
    """Why a run does not go on with a file that it has written."""
    return TrainingError(f"{path} is damaged; delete it, and the same command makes it anew.")


class RunFolder:
    """The folder of one run. One process writes; others may read the state."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._files = out / "training"
        self._settings = self._files / "settings.json"
        self._log = self._files / "log.jsonl"
        self._state = self._files / "state.pt"

    def claim(self, settings: Mapping[str, Any]) -> None:
        """Start a run in an empty folder, or resume the run that was interrupted there.

        Raises:
            TrainingError: the folder has something else; nothing in it is touched.
        """
        with reporting_write_errors(self.out):
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
            before = _settings_in(self._settings)
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
        """The state that was saved last, on the CPU; None before the first.

        Raises:
            TrainingError: it is damaged.
        """
        if not self._state.is_file():
            return None
        try:
            state = torch.load(self._state, map_location="cpu", weights_only=True)
        except Exception as error:
            # What torch raises depends on which byte is wrong.
            raise damaged(self._state) from error
        if not isinstance(state, dict) or state.keys() != _STATE:
            raise damaged(self._state)
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state, atomically."""
        new = self._state.with_suffix(".new")
        with reporting_write_errors(self.out):
            torch.save(dict(state), new)
            new.replace(self._state)

    def finish(self) -> None:
        """Delete the state: the run's checkpoint is written."""
        with reporting_write_errors(self.out):
            self._state.unlink(missing_ok=True)

    def truncate_log(self, step: int) -> None:
        """Drop what was logged after that step, which will be done and logged again."""
        kept = []
        with reporting_write_errors(self.out):
            content = self._log.read_bytes() if self._log.is_file() else b""
            for line in content.splitlines():
                try:
                    if json.loads(line)["step"] > step:
                        break
                except (KeyError, TypeError, ValueError):  # cut short by the interruption
                    break
                kept.append(line + b"\n")
            _write(self._log, b"".join(kept))

    def log(self, **fields: float) -> None:
        """Append a line to the log; one of the fields is `step`."""
        with reporting_write_errors(self.out), self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(fields) + "\n")


def _settings_in(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_bytes())
    except ValueError:
        settings = None
    if not isinstance(settings, dict):
        raise TrainingError(f"{path} is damaged; name a new folder.")
    return settings


def _write(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(content)
    new.replace(path)
