"""GPUs that are not there: stand-ins for torch.cuda's answers and classes, computed on the CPU.

    python -m tests.emulated_cuda COUNT FD      # a worker (app.engine.worker) on such a machine

What it shows is what our code asks of torch, in which order, and what it does when that fails. It
shows nothing of a real GPU: no kernel, no race between streams, no memory. torch.cuda.graph itself
is torch's own.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from model.gpu_encoder import GpuEncoder
from model.packing import PackedBatch

Patch = Callable[[object, str, object], None]


class Stream:
    """A stream of a GPU."""

    def __init__(self, gpu: int | None, number: int) -> None:
        self.gpu = gpu
        self.number = number

    def wait_stream(self, other: "Stream") -> None:
        assert isinstance(other, Stream)


class EmulatedCuda:
    """`gpus` GPUs, seen through CUDA_VISIBLE_DEVICES as it is when CUDA is first asked; while no
    tensor is there torch counts them another way (NVML), by the variable as it is then.

    `fail` may name the places where a recording fails: "begin", "end", "body" or "warm up"; from
    the recording of number `fail_at` on.
    """

    def __init__(self, gpus: int, fail: str = "", fail_at: int = 0) -> None:
        self.gpus, self.fail, self.fail_at = gpus, fail, fail_at
        self.free = 1 << 40  # bytes of memory
        self.shown: list[int] | None = None
        self.used = False
        self.current = 0
        self.default = Stream(0, 0)
        self.stream = self.default
        self.made: list[Stream] = []
        self.pinned: list[int] = []  # the GPU that was current
        self.recordings = 0
        self.recording: Graph | None = None
        self.passes: list[tuple[int, int]] = []  # the GPU and the stream that were current

    def fail_if(self, place: str, error: type[Exception] = torch.AcceleratorError) -> None:
        """Fail if this is the place."""
        if self.fail == place and self.recordings >= self.fail_at:
            raise error(f"CUDA error: emulated, {place}")

    def count(self) -> int:
        """How many GPUs this process sees."""
        return len(self.seen() if self.used else self.by_variable())

    def seen(self) -> list[int]:
        """The numbers of the GPUs that CUDA has shown to this process."""
        if self.shown is None:
            self.shown = self.by_variable()
        return self.shown

    def by_variable(self) -> list[int]:
        names = {name: gpu for gpu in range(self.gpus) for name in (str(gpu), f"GPU-{gpu}")}
        seen: list[int] = []
        for entry in os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(names)).split(","):
            if entry not in names:
                break
            seen += [names[entry]] if names[entry] not in seen else []
        return seen

    def name(self, device: torch.device) -> str:
        """Which GPU of the machine a device of this process is."""
        return f"emulated GPU {self.seen()[device.index]} of {len(self.seen())} seen"

    @contextlib.contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        before, self.current = self.current, device.index
        try:
            yield
        finally:
            self.current = before

    def new_stream(self, device: torch.device | None = None) -> Stream:
        index = None if device is None else device.index  # None too where a GPU is the CPU
        self.made.append(Stream(self.current if index is None else index, len(self.made) + 1))
        return self.made[-1]

    def set_stream(self, stream: Stream) -> None:
        self.stream = stream

    @contextlib.contextmanager
    def streaming(self, stream: Stream) -> Iterator[None]:
        before, self.stream = self.stream, stream
        try:
            yield
        finally:
            self.stream = before

    def to(self, tensor: torch.Tensor, *where: Any, **how: Any) -> torch.Tensor:
        """Tensor.to, for which a GPU that is visible is the CPU."""
        if where and isinstance(where[0], torch.device) and where[0].type == "cuda":
            self.used = True
            assert where[0].index < self.count(), "no such GPU"
            where = where[1:]
            how.pop("non_blocking", None)
        return _TO(tensor, *where, **how) if where or how else tensor

    def install(self, patch: Patch) -> None:
        """Stand in for torch's own."""

        def to(tensor: torch.Tensor, *where: Any, **how: Any) -> torch.Tensor:
            return self.to(tensor, *where, **how)

        def pin_memory(tensor: torch.Tensor) -> torch.Tensor:
            self.pinned.append(self.current)
            return tensor

        cuda = torch.cuda
        for place, name, value in (
            (torch.version, "cuda", "13.0"),
            (torch.Tensor, "to", to),
            (torch.Tensor, "pin_memory", pin_memory),
            (torch._C, "_host_emptyCache", lambda: None),
            (cuda, "is_available", lambda: bool(self.seen())),
            (cuda, "device_count", self.count),
            (cuda, "current_device", lambda: self.current),
            (cuda, "get_device_capability", lambda _: (7, 5)),
            (cuda, "get_device_name", self.name),
            (cuda, "device", self.device),
            (cuda, "mem_get_info", lambda _=None: (self.free, self.free)),
            (cuda, "synchronize", lambda _=None: None),
            (cuda, "Stream", self.new_stream),
            (cuda, "stream", self.streaming),
            (cuda, "current_stream", lambda _=None: self.stream),
            (cuda, "set_stream", self.set_stream),
            (cuda, "graph_pool_handle", lambda: (0, 1)),
            (cuda, "CUDAGraph", lambda: Graph(self)),
            (cuda.graph, "default_capture_stream", None),
        ):
            patch(place, name, value)


_TO = torch.Tensor.to


class Graph:
    """A CUDAGraph that fails where it is told to. Its replay computes the recorded pass anew."""

    def __init__(self, machine: EmulatedCuda) -> None:
        self.machine = machine
        self.again: Callable[[], None] = lambda: None
        self.fail = machine.fail_if

    def capture_begin(self, *_: object, **__: object) -> None:
        self.fail("begin")
        self.machine.recording = self

    def capture_end(self) -> None:
        self.machine.recording = None
        self.fail("body")  # the end of a recording that an error has broken is an error too
        self.fail("end")
        self.machine.recordings += 1

    def replay(self) -> None:
        self.again()


def watch(machine: EmulatedCuda, encoder: GpuEncoder) -> None:
    """Let passes of that encoder be recorded, and fail, as the machine is told to."""
    compute = encoder.hidden

    def hidden(batch: PackedBatch, mode: int) -> torch.Tensor:
        out = compute(batch, mode)
        machine.passes.append((machine.current, machine.stream.number))
        graph = machine.recording
        if graph is not None:
            graph.fail("body")
            graph.again = partial(_replay, compute, batch, mode, out)
        elif machine.stream is not machine.default:
            machine.fail_if("warm up", torch.OutOfMemoryError)
        return out

    encoder.hidden = hidden  # type: ignore[method-assign]


def _replay(
    compute: Callable[[PackedBatch, int], torch.Tensor],
    batch: PackedBatch,
    mode: int,
    hidden: torch.Tensor,
) -> None:
    with torch.inference_mode():
        hidden.copy_(compute(batch, mode))


if __name__ == "__main__":
    EmulatedCuda(int(sys.argv.pop(1))).install(setattr)
    from app.engine.worker import main

    main()
