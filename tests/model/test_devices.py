"""Devices by name: what is not here is refused with a sentence, what is not used is said."""

import logging
import os
from pathlib import Path

import pytest
import torch

from model import devices, embedder
from model.config import CheckpointError
from model.devices import device_named
from tests.checkpoints import MINI
from tests.emulated_cuda import EmulatedCuda

# What torch.cuda.init says of an old driver, and NVIDIA's own file.
TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 12040). Please update your GPU "
    "driver by downloading and installing a new version from the URL: http://www.nvidia.com/..."
)
VERSION = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\n"
    "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"
)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two GPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    EmulatedCuda(2).install(lambda *each: monkeypatch.setattr(*each, raising=False))


@pytest.fixture
def old_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with a GPU, and a torch that is built for a newer driver."""

    def init() -> None:
        raise RuntimeError(TOO_OLD)

    (tmp_path / "version").write_text(VERSION)
    monkeypatch.setattr(devices, "_DRIVER", tmp_path / "version")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch, "__version__", "2.13.0+cu130")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", init)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


@pytest.mark.parametrize(
    "name", ["mps", "xpu:0", "meta", "hpu", "cpu:1", "CUDA:0", "cuda:-1", "cuda:0,cuda:1", ""]
)
def test_what_is_no_device_of_this_encoder_is_refused(gpus: None, name: str) -> None:
    with pytest.raises(CheckpointError) as refused:
        embedder.load(MINI, name)
    assert str(refused.value) == (
        f"unknown device {name!r}; the encoder computes on a CPU or an NVIDIA GPU. "
        "Choose cuda:0, cuda:1, cpu or auto."
    )


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7", "cuda:256"])
def test_a_torch_without_cuda_is_said(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(CheckpointError) as refused:
        embedder.load(MINI, name)
    assert str(refused.value) == (
        f"{name} cannot be used: the installed torch {torch.__version__} is built without CUDA. "
        "Choose cpu or auto."
    )


@pytest.mark.parametrize("name", ["cuda:2", "cuda:256"])  # torch takes the second one for cuda:0
def test_a_number_that_no_gpu_has_is_refused(gpus: None, name: str) -> None:
    with pytest.raises(CheckpointError) as refused:
        device_named(name)
    assert str(refused.value) == f"{name} is not here. Choose cuda:0, cuda:1, cpu or auto."


def test_gpus_have_numbers_and_without_one_it_is_the_current_gpu(gpus: None) -> None:
    assert device_named("cuda:1") == torch.device("cuda", 1)
    assert device_named("cpu") == torch.device("cpu")
    with torch.cuda.device(torch.device("cuda", 1)):
        assert device_named("cuda") == torch.device("cuda", 1)
        assert device_named("auto") == torch.device("cuda", 0)


def test_a_driver_that_is_too_old_is_said_loudly_and_the_cpu_is_taken(
    old_driver: None, caplog: pytest.LogCaptureFixture
) -> None:
    assert device_named("auto") == torch.device("cpu")
    (line,) = caplog.records
    assert line.levelno == logging.ERROR
    assert line.getMessage() == (
        "computing on the CPU, though there is a driver for a GPU: The NVIDIA driver on your "
        "system is too old (found version 12040); driver 550.54.14; torch 2.13.0+cu130 is built "
        "with CUDA 13.0, which needs driver 580 or newer."
    )


def test_a_gpu_that_was_asked_for_and_cannot_be_used_is_refused(old_driver: None) -> None:
    with pytest.raises(
        CheckpointError, match=r"^cuda:0 cannot be used: .* too old .* 580 or newer"
    ):
        embedder.load(MINI, "cuda:0")


@pytest.mark.parametrize("value", ["", "-1"])
def test_gpus_that_were_hidden_on_purpose_are_not_spoken_of(
    old_driver: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    value: str,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert device_named("auto") == torch.device("cpu")
    assert not caplog.records


def test_without_a_gpu_auto_is_the_cpu_and_says_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(devices, "_DRIVER", tmp_path / "version")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("PATH", os.devnull)
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        assert embedder.load(MINI).device == torch.device("cpu")
        assert not caplog.records


def test_a_gpu_survives_all_errors_but_those_of_cuda_itself() -> None:
    def error(kind: type[Exception], code: int | None = None) -> Exception:
        made = kind("CUDA error: of some kind")
        if code is not None:
            made.error_code = code  # type: ignore[attr-defined]
        return made

    gpu, cpu = torch.device("cuda", 0), torch.device("cpu")
    allocation, illegal_address = 2, 700
    for harmless in (
        AssertionError("a span without a token has no mean"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        error(torch.OutOfMemoryError),
        error(torch.AcceleratorError, allocation),
    ):
        assert devices.usable_after(gpu, harmless)
    for fatal in (error(torch.AcceleratorError), error(torch.AcceleratorError, illegal_address)):
        assert not devices.usable_after(gpu, fatal)
        assert devices.usable_after(cpu, fatal)
