"""The tree of errors that is drawn is the one that is there."""

import re

import app.application  # noqa: F401  and with it whatever would derive further ones elsewhere
from app import errors
from app.errors import every_error

DEPTH = 4  # characters of the drawing to a level


def test_the_drawn_tree_is_the_real_one() -> None:
    drawn, above = [], []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"([ │├└─]*)(\w+Error) +(\d+) (\w+) *(\w+)?$", line):
            lines, name, status, code, openai_code = match.groups()
            above = ["Exception", *above[1 : len(lines) // DEPTH + 1], name]
            drawn.append((*above[-2:], int(status), code, openai_code))
    assert drawn == [
        (kind.__base__.__name__, kind.__name__, kind.status, kind.code, kind.openai_code)
        for kind in every_error()
    ]
    assert {kind.__module__ for kind in every_error()} == {errors.__name__}
