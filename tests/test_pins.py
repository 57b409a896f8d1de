"""Pins: what the tests run with is what constraints.txt says, down to the last distribution."""

import itertools
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    named = (line.split("==") for line in lines)
    return {canonicalize_name(name): version for name, version in named}


def asked() -> list[str]:
    """The project's own requirements, with those of every extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    return [*project["dependencies"], *itertools.chain(*extras)]


def installed(requirements: list[str]) -> Iterator[tuple[str, str]]:
    """Name and version of all that requirements bring, as far as it is installed here."""
    waiting, seen = [Requirement(each) for each in requirements], set()
    while waiting:
        wanted = waiting.pop()
        for extra in wanted.extras or {""}:
            name = canonicalize_name(wanted.name)
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                found = distribution(name)
            except PackageNotFoundError:  # of an extra that the tests do without
                continue
            yield name, found.version
            for line in found.requires or ():
                further = Requirement(line)
                if further.marker is None or further.marker.evaluate({"extra": extra}):
                    waiting.append(further)


def unpinned(requirements: list[str], known: Mapping[str, str]) -> dict[str, str]:
    """What is installed in another version than its pin's, or has none. A build's own mark, as in
    2.13.0+cpu, is no other version."""
    return {
        name: version
        for name, version in installed(requirements)
        if name not in known or Version(version).public != known[name]
    }


def test_every_distribution_that_the_project_brings_is_pinned_to_what_is_installed() -> None:
    assert unpinned(asked(), pins()) == {}


@pytest.mark.parametrize("name", ["fastapi", "starlette", "setuptools"])
def test_a_distribution_without_its_pin_is_seen(name: str) -> None:
    """One that is asked for, one that comes with it, and one that an installer brings."""
    others = {each: version for each, version in pins().items() if each != name}
    assert set(unpinned(asked(), others)) == {name}
