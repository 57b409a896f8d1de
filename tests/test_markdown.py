"""Markdown files: links lead to something, and README.md stays short."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README_LINES = 250


def ours(path: Path) -> bool:
    """Whether a file is none of a virtual environment, a cache or a build."""
    folders = path.relative_to(ROOT).parts[:-1]
    return not any(
        part in ("build", "node_modules") or (part.startswith(".") and part != ".github")
        for part in folders
    )


FILES = sorted(path for path in ROOT.rglob("*.md") if ours(path))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(path: Path) -> str:
    """The text of a file without its code."""
    whole = path.read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```", "", whole, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", lambda code: code[0].replace("](", "] ("), text)


@cache
def anchors(path: Path) -> set[str]:
    """The anchors of a file's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.*?) *$", prose(path), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        assert anchor not in found, f"{name(path)} has two headings of the anchor {anchor}"
        found.add(anchor)
    return found


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_relative_link_leads_to_a_file_and_a_heading_of_it(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{name(path)} links to {link}"
        assert ROOT in target.parents, f"{name(path)} links to {link}, outside of the repository"
        if anchor:
            assert target.suffix == ".md", f"{name(path)} links to {link}"
            assert anchor in anchors(target), f"{name(path)} links to {link}"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_file_that_is_named_in_code_is_there(path: Path) -> None:
    """Also those of commands; a changelog may name what is gone."""
    if path.name == "CHANGELOG.md":
        return
    text = path.read_text(encoding="utf-8")
    for file in re.findall(r"(?<=[`\s])(?:app|docker|model|tests)/[\w./-]*[\w/]", text):
        assert (ROOT / file).exists(), f"{name(path)} names {file}"


def test_the_single_test_of_contributing_is_one() -> None:
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    chosen = re.findall(r"^\.venv/bin/pytest (tests/\S+) -k (\w+)", text, re.MULTILINE)
    assert chosen
    for file, words in chosen:
        assert re.search(rf"^(async )?def test_\w*{words}", (ROOT / file).read_text(), re.MULTILINE)


def test_the_readme_is_read_in_five_minutes() -> None:
    lines = len((ROOT / "README.md").read_text(encoding="utf-8").splitlines())
    assert lines <= README_LINES
