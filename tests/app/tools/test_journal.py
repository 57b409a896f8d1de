"""The journal's promises: whole entries or none, one run, one writer."""

import contextlib
import resource
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.tools.journal import Entry, Journal, sync_folder
from app.tools.tool_errors import ToolError

RUN = {"the input file": "in.jsonl", "--dimensions": 3}


@contextlib.contextmanager
def opened(path: Path, run: dict[str, Any] = RUN, *, restart: bool = False) -> Iterator[Journal]:
    with contextlib.closing(Journal(path, run, restart=restart)) as journal:
        yield journal


def entry(ids: list[str | int], seed: int = 0, dimensions: int = 3) -> Entry:
    vectors = np.random.default_rng(seed).random((len(ids), dimensions), np.float32)
    failed = [{"id": "lost", "text": "\n"}] * (len(ids) % 2)
    return Entry(len(ids) + len(failed), ids, vectors, len(ids), True, failed, {"model": "m"})


def equal(one: Entry, other: Entry) -> bool:
    nothing = np.empty((0, 0), np.float32)
    same = replace(one, vectors=nothing, ids=[]) == replace(other, vectors=nothing, ids=[])
    return same and one.ids == other.ids and np.array_equal(one.vectors, other.vectors)


ids = st.lists(st.text(st.characters(codec="utf-8"), max_size=5) | st.integers(0, 2**63))


@given(st.lists(ids, max_size=5), st.data())
@settings(deadline=None)
def test_a_journal_that_is_torn_at_any_byte_holds_the_entries_before_it(
    batches: list[list[str | int]], draw: st.DataObject
) -> None:
    written = [entry(batch, seed) for seed, batch in enumerate(batches)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.part"
        stops = []
        with opened(path) as journal:
            stops.append(path.stat().st_size)
            for each in written:
                journal.append(each)
                stops.append(path.stat().st_size)
            totals = journal.totals
        with opened(path) as journal:
            assert journal.totals == totals
            assert all(map(equal, journal.entries(), written))
        size = draw.draw(st.integers(0, stops[-1]))
        with path.open("r+b") as file:
            file.truncate(size)
        whole = sum(stop <= size for stop in stops[1:])
        with opened(path) as journal:
            assert journal.totals.records == sum(each.records for each in written[:whole])
            for each in written[whole:]:
                journal.append(each)
            assert journal.totals == totals
            found = list(journal.entries())
        assert len(found) == len(written)
        assert all(map(equal, found, written))
        assert path.stat().st_size == stops[-1]


def test_an_entry_whose_numbers_did_not_reach_the_disk_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "out.part"
    with opened(path) as journal:
        journal.append(entry(["a", "b"]))
        journal.append(entry(["c", "d"]))
    with path.open("r+b") as file:
        file.seek(-8, 2)
        file.write(bytes(8))
    with opened(path) as journal:
        assert journal.totals.vectors == 2


def test_another_run_is_refused_with_what_changed_and_restart_forgets(tmp_path: Path) -> None:
    path = tmp_path / "out.part"
    with opened(path) as journal:
        journal.append(entry(["a"]))
    other = {"the input file": "in.jsonl", "--dimensions": 4, "--task": "separation"}
    said = "--dimensions was 3, now it is 4; --task was None, now it is separation. Repeat that run"
    with pytest.raises(ToolError, match=said):
        Journal(path, other)
    with opened(path) as journal:
        assert journal.totals.records == 2
    with opened(path, other, restart=True) as journal:
        assert journal.totals.records == 0


def test_two_runs_do_not_write_one_journal(tmp_path: Path) -> None:
    with opened(tmp_path / "out.part"), pytest.raises(ToolError, match="another run is writing"):
        Journal(tmp_path / "out.part", RUN)


def test_a_file_that_is_no_journal_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "out.part"
    for content in (b"mine", b'{"mine": 1}\n', b'{"journal": 0, "run": {}}\n'):
        path.write_bytes(content)
        with pytest.raises(ToolError, match="is no journal of this version"):
            Journal(path, RUN)
        assert path.read_bytes() == content


def test_vectors_of_another_size_are_refused_and_not_written(tmp_path: Path) -> None:
    with opened(tmp_path / "out.part") as journal:
        journal.append(entry(["a"]))
        size = journal.path.stat().st_size
        with pytest.raises(ToolError, match="a vector has 4 dimensions; those before have 3"):
            journal.append(entry(["b"], dimensions=4))
        assert journal.path.stat().st_size == size


def test_a_full_disk_is_a_sentence_and_what_is_kept_stays_whole(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with opened(tmp_path / "out.part") as journal:
        journal.append(entry(["a", "b"]))
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
            with pytest.raises(ToolError, match=r"cannot write .*out.part: File too large"):
                journal.append(entry(["c"] * 1000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert journal.path.stat().st_size == 4096
    with opened(tmp_path / "out.part") as journal:
        assert (journal.totals.vectors, journal.path.stat().st_size < 4096) == (2, True)


def test_a_filesystem_that_cannot_write_names_to_the_disk_does_without() -> None:
    """As shared folders of VirtualBox, and /proc."""
    sync_folder(Path("/proc/version"))
