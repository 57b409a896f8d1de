"""The ring follows its file: one that cannot be read for a while, changes or is emptied."""

import contextlib
import logging
import os
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.access.keyfile import KeysError, add_key, remove_key
from app.access.keys import KeyRing
from app.errors import WrongKeyError
from tests.app.tools.command import run_here

HOUR_S = 3600


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def knows(ring: KeyRing, key: str) -> bool:
    try:
        return bool(ring.name_of(f"Bearer {key}"))
    except WrongKeyError:
        return False


def date(file: Path, seconds: int) -> None:
    """Let the file have changed so many seconds ago; below 0 it is about to change for a while."""
    at = time.time() - seconds
    os.utime(file, (at, at))


@contextlib.contextmanager
def no_file_can_be_opened() -> Iterator[None]:
    """As where the limit of open files is reached; asking for a file's state works."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_key_removed_while_the_file_cannot_be_read_is_unknown_as_soon_as_it_can(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept, removed = add_key(file, "kept"), add_key(file, "removed")
    ring = KeyRing(file)
    remove_key(file, "removed")
    with no_file_can_be_opened():
        for _ in range(3):
            assert knows(ring, kept)
            assert knows(ring, removed)
    (said,) = caplog.messages
    assert said.startswith("the keys from before stay: ")
    assert said.endswith("cannot be read: Too many open files.")
    assert not knows(ring, removed)
    assert knows(ring, kept)
    # The next time it is said again.
    os.utime(file)
    with no_file_can_be_opened():
        assert knows(ring, kept)
    assert len([each for each in caplog.messages if "Too many open files" in each]) == 2


def test_a_file_that_is_gone_is_said_once_and_followed_when_it_is_back(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    key = add_key(file, "one")
    ring = KeyRing(file)
    away = file.rename(file.with_name("away"))
    for _ in range(3):
        assert knows(ring, key)
    away.rename(file)
    remove_key(file, "one")
    other = add_key(file, "two")
    assert (knows(ring, key), knows(ring, other)) == (False, True)
    levels = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert levels == [
        (
            "ERROR",
            f"the keys from before stay: the keys file {file} cannot be read: "
            "No such file or directory.",
        ),
        ("INFO", f"read 1 keys again from {file}"),
    ]


def test_a_change_in_the_same_tick_of_the_file_systems_clock_is_seen(file: Path) -> None:
    """It leaves the file's size and times as they were. A tick is some milliseconds, so that of
    many changes some are in one."""
    contents, keys = [], []
    for _ in range(2):
        keys.append(add_key(file, "name"))
        contents.append(file.read_bytes())
        remove_key(file, "name")
    for _ in range(100):
        file.write_bytes(contents[0])
        ring = KeyRing(file)
        assert knows(ring, keys[0])
        file.write_bytes(contents[1])
        assert (knows(ring, keys[0]), knows(ring, keys[1])) == (False, True)


def test_an_emptied_file_is_believed_after_a_moment(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = add_key(file, "one")
    content = file.read_bytes()
    ring = KeyRing(file)
    file.write_bytes(b"")
    date(file, -HOUR_S)
    for _ in range(2):
        assert knows(ring, key)
    file.write_bytes(content)
    assert knows(ring, key)
    file.write_bytes(b"")
    date(file, HOUR_S)
    for _ in range(2):
        assert not knows(ring, key)
    assert caplog.messages == [
        f"the keys from before stay for a moment: the keys file {file} is empty",
        f"the keys file {file} has no keys: every request is refused",
    ]


def test_a_file_of_remarks_is_believed_at_once(file: Path) -> None:
    key = add_key(file, "one")
    ring = KeyRing(file)
    remove_key(file, "one")
    assert not knows(ring, key)


def test_a_pipe_is_read_once(file: Path, tmp_path: Path) -> None:
    """`EMBED_KEYS_FILE=<(...)`: nothing is behind it a second time."""
    key = add_key(file, "one")
    reading, writing = os.pipe()
    os.write(writing, file.read_bytes())
    os.close(writing)
    ring = KeyRing(Path(f"/dev/fd/{reading}"))
    os.close(reading)
    assert knows(ring, key)
    assert knows(ring, key)


def test_links_are_followed_and_what_is_no_file_is_left_alone(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    key = add_key(link, "one")
    assert link.is_symlink()
    assert knows(KeyRing(file), key)
    # No device of the machine: an error in the program would cost it.
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(tmp_path)
        listening.bind("socket")
        link.unlink()
        link.symlink_to("socket")
        with pytest.raises(KeysError, match="is no regular file, and nothing is put in its place"):
            add_key(link, "one")
        assert Path("socket").is_socket()


def test_the_file_is_named_in_front_of_the_action_or_behind_it(file: Path) -> None:
    assert run_here("keys", "add", "one", "--file", file).code == 0
    assert run_here("keys", "--file", file, "add", "two").code == 0
    for arguments in (("list", "--file", file), ("--file", file, "list")):
        assert run_here("keys", *arguments).out == "one\ntwo\n"
    assert run_here("keys", "remove", "--file", file, "one").code == 0
    assert run_here("keys", "list", "--file", file).out == "two\n"
