"""The tree of errors that is drawn is the one that is there."""

import re

from app import errors
from app.errors import QuintetError

DEPTH = 4  # characters of the drawing to a level


def drawn() -> dict[str, tuple[str, int, str, str | None]]:
    """Class -> its parent, status and codes, as the docstring draws them."""
    found: dict[str, tuple[str, int, str, str | None]] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"([ │├└─]*)(\w+Error) +(\d+) (\w+) *(\w+)?$", line):
            lines, name, status, code, openai_code = match.groups()
            above = [*above[: len(lines) // DEPTH], name]
            parent = above[-2] if len(above) > 1 else "Exception"
            found[name] = (parent, int(status), code, openai_code)
    return found


def tree(kind: type[QuintetError]) -> dict[str, tuple[str, int, str, str | None]]:
    (parent,) = kind.__bases__
    found = {kind.__name__: (parent.__name__, kind.status, kind.code, kind.openai_code)}
    for each in kind.__subclasses__():
        found |= tree(each)
    return found


def test_the_drawn_tree_is_the_real_one() -> None:
    import app.application  # noqa: F401  whatever module would define further ones

    assert drawn() == tree(QuintetError)


def test_all_of_them_stand_in_one_file_in_the_order_of_the_drawing() -> None:
    (base, *_) = classes = [
        each
        for each in vars(errors).values()
        if isinstance(each, type) and each.__doc__ and issubclass(each, QuintetError)
    ]
    assert base is QuintetError
    assert [each.__name__ for each in classes] == list(drawn())
