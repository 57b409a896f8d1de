"""How many HTTP processes there are by the settings and the cores, and what workers are told."""

from pathlib import Path
from typing import Any

import pytest

from app.processes import children
from app.processes.children import http_processes, start_of_worker
from app.settings import Settings


@pytest.mark.parametrize(
    ("cores", "settings", "expected"),
    [
        (16, {"devices": ("auto",)}, 1),
        (16, {"devices": ("cpu", "cpu")}, 1),
        (16, {"devices": ("cuda:0",)}, 8),
        (4, {"devices": ("cuda:0",)}, 3),
        (1, {"devices": ("cuda:0",)}, 1),
        (96, {"devices": ("cuda:0", "cuda:1")}, 16),
        (12, {"devices": ("cuda:0", "cuda:1")}, 10),
        (16, {"devices": ("cuda:0", "cpu")}, 8),
        # Each would count for itself.
        (16, {"devices": ("cuda:0",), "max_tokens_per_minute": 9}, 1),
        (16, {"devices": ("cuda:0",), "max_tokens_per_minute": 9, "redis_url": "redis://r"}, 8),
        (16, {"devices": ("cuda:0",), "http_processes": 3}, 3),
        (1, {"devices": ("cpu",), "http_processes": 3}, 3),
    ],
)
def test_unset_is_as_many_http_processes_as_a_gpu_needs_and_cores_are_to_spare(
    monkeypatch: pytest.MonkeyPatch, cores: int, settings: dict[str, Any], expected: int
) -> None:
    monkeypatch.setattr(children, "usable_cpus", lambda: cores)
    assert http_processes(Settings(**settings)) == expected


def test_a_worker_is_told_what_the_settings_say() -> None:
    settings = Settings(adapters="stacked", dtype="float32", cpu_threads=3)
    start = start_of_worker(settings, Path("/weights"), "cuda:1")
    assert (start.folder, start.device, start.dtype) == ("/weights", "cuda:1", "float32")
    assert (start.adapters, start.threads) == ("stacked", 3)
    assert start_of_worker(Settings(), Path("/weights"), "cuda:1").adapters == "auto"
