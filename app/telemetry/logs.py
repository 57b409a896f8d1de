"""Logging: text for people or JSON for machines, and one access log line for each request.

Never a text, a token or a key of a caller.
"""

import json
import logging
import sys
from dataclasses import dataclass, field
from typing import Any

request_log = logging.getLogger("quintet.request")


@dataclass(slots=True)
class AccessLogLine:
    """What the log says of one request when it ends; routes add to `fields` on the way."""

    request_id: str
    method: str
    path: str
    fields: dict[str, Any] = field(default_factory=dict)

    def write(self, status: int, seconds: float, level: int = logging.INFO) -> None:
        """Log the line."""
        fields = {
            "method": self.method,
            "path": self.path,
            "status": status,
            "ms": round(seconds * 1e3, 2),
            "request_id": self.request_id,
            **self.fields,
        }
        text = " ".join(str(fields[name]) for name in ("method", "path", "status"))
        rest = " ".join(f"{name}={value}" for name, value in list(fields.items())[3:])
        request_log.log(level, "%s %s", text, rest, extra={"fields": fields})


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with the fields of an access log line in place of its text."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        fields = getattr(record, "fields", None)
        line.update(fields or {"message": record.getMessage()})
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logging(log_format: str = "text") -> None:
    """Log to standard error: the service from INFO up, libraries from WARNING up."""
    handler = logging.StreamHandler(sys.stderr)
    if log_format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S")
        )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("quintet").setLevel(logging.INFO)
