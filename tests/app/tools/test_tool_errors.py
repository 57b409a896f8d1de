"""Which refusals are about a text."""

import pytest

from app.tools.tool_errors import RefusedError


@pytest.mark.parametrize(
    ("status", "param", "blames"),
    [
        (400, "input", True),
        (422, "input[3]", True),
        (413, None, True),
        (500, None, True),
        (422, "task", False),
        (401, None, False),
        (404, "model", False),
    ],
)
def test_only_a_text_can_be_skipped(status: int, param: str | None, blames: bool) -> None:
    assert RefusedError(status, "no", param).blames_an_input is blames
