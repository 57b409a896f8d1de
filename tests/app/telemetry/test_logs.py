"""What the log for machines looks like."""

import json
import logging
import sys

from app.telemetry.logs import JsonFormatter


def test_a_line_with_a_trace_is_one_object() -> None:
    try:
        int("x")
    except ValueError:
        record = logging.LogRecord(
            "quintet.engine", logging.ERROR, __file__, 1, "%s fails", ("a row",), sys.exc_info()
        )
    (line,) = JsonFormatter().format(record).splitlines()
    fields = json.loads(line)
    assert (fields["level"], fields["message"]) == ("error", "a row fails")
    assert fields["trace"].startswith("Traceback")
    assert "ValueError: invalid literal" in fields["trace"]
