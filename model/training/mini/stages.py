"""The stages of a run: each leaves its outcome in the folder, and is done once.

OUT/training/NAME.safetensors   what a stage has made
OUT/training/stages.jsonl       a line for each stage: its seconds, and what it gained
OUT/training/NAME/training/     a training's settings, curve, and, until it is done, its state
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.training.run_folder import RunFolder, damaged, reporting_write_errors
from model.training.weights import Adapter, LoraPair

Tensors = dict[str, Tensor]
# What is written down of a stage beside its seconds.
Gain = Mapping[str, float]


class Stages:
    """The stages of the run in a folder. One process of several writes; all read what it wrote."""

    def __init__(self, folder: Path, accelerator: Accelerator, seed: int) -> None:
        self._folder, self._accelerator, self._seed = folder, accelerator, seed

    @contextmanager
    def timed(self, name: str) -> Iterator[dict[str, float]]:
        """Write down how long the block takes, and what it puts into the dictionary."""
        started = time.monotonic()
        gain: dict[str, float] = {}
        yield gain
        if self._accelerator.is_main_process:
            line = {"stage": name, "seconds": round(time.monotonic() - started), **gain}
            with (
                reporting_write_errors(self._folder),
                (self._folder / "stages.jsonl").open("a", encoding="utf-8") as file,
            ):
                file.write(json.dumps(line) + "\n")

    def made(self, name: str, make: Callable[[], tuple[Tensors, Gain]]) -> Tensors:
        """What the stage made, now or before an interruption."""
        path = self._folder / f"{name}.safetensors"
        if not path.is_file():
            with self.timed(name) as gain:
                tensors, gained = make()
                gain.update(gained)
            if self._accelerator.is_main_process:
                new = path.with_suffix(".new")
                with reporting_write_errors(self._folder):
                    save_file({key: each.contiguous() for key, each in tensors.items()}, new)
                    new.replace(path)
        self._accelerator.wait_for_everyone()
        if self._accelerator.is_main_process:
            # What a training went on with is not needed once its outcome is there.
            RunFolder(self._folder / name).finish()
        try:
            return load_file(path)
        except SafetensorError:
            raise damaged(path) from None

    def training(self, name: str) -> RunFolder:
        """The folder of a stage's training, claimed."""
        run_folder = RunFolder(self._folder / name)
        if self._accelerator.is_main_process:
            run_folder.claim({"seed": self._seed})
        self._accelerator.wait_for_everyone()
        return run_folder


def flat(adapters: Mapping[str, Adapter]) -> Tensors:
    """Adapters by task -> tensors by task, module and part."""
    return {
        f"{task}/{module}/{part}": tensor
        for task, adapter in adapters.items()
        for module, correction in adapter.items()
        for part, tensor in (("a", correction.a), ("b", correction.b))
    }


def nested(tensors: Mapping[str, Tensor]) -> dict[str, Adapter]:
    """The inverse of `flat`."""
    adapters: dict[str, dict[str, LoraPair]] = defaultdict(dict)
    for name in tensors:
        task, module, _ = name.split("/")
        a, b = (tensors[f"{task}/{module}/{part}"] for part in "ab")
        adapters[task][module] = LoraPair(a, b)
    return dict(adapters)
