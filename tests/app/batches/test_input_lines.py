"""Lines of a job's file are read within the bounds that bodies of requests have."""

from pathlib import Path

import pytest

from app.batches.input_lines import LineReader, validated
from tests.app.batches.asking import jsonl, line

MANY = b"[" + b"[]," * 500_000 + b"[]]"  # a list and a comma each


@pytest.mark.parametrize("template", [None, {"task": "separation"}])
def test_a_line_of_more_than_a_million_json_tokens_is_at_fault(
    tmp_path: Path, template: dict[str, str] | None
) -> None:
    texts = jsonl([line("b", input=", [" * 600_000)])  # those in texts do not count
    path = tmp_path / "in.jsonl"
    path.write_bytes(
        b'{"custom_id": "a", "method": "POST", "url": "/v1/embeddings", '
        b'"input": "x", "body": {"input": "x", "more": ' + MANY + b"}}\n" + texts
    )
    reader = LineReader("/v1/embeddings", 1 << 25, template)
    first, second = reader.lines(path)
    assert first.fault is not None
    assert (first.fault.code, first.fault.line) == ("line_too_long", 1)
    assert "line 1: a line has at most 1000000 texts, brackets" in first.fault.message
    if template is None:
        assert second.fault is None
        assert validated(reader, path, 10) == (2, ())
