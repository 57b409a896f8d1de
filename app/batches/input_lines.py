"""The lines of a job's file: each is a request, or says what is wrong with it.

    {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"input": "..."}}
    {"input": "..."}        where the job has a template with the other fields

A faulty line is no reason to end a job. Blank lines are not counted, but have a number.
"""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from app.api.bodies import MAX_JSON_TOKENS, check_json_tokens, repaired
from app.batches.records import Fault
from app.errors import NotUtf8Error, TooManyJsonTokensError
from model.quoting import quoted, shortened

_MAX_ID_CHARACTERS = 512
# What one input weighs, beside how many there are: a document is read for as long as several texts.
_BYTES_OF_AN_INPUT = 4096
_SHOWN_FAULTS = 10
_MAX_DEPTH = 254  # orjson's, where it writes
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the file: its number, from 1 on, and the request, or what is wrong.

    `custom_id` is there where it could be read; `weight` counts inputs, or what takes as long;
    `replaced_surrogates` counts the lone ones that became U+FFFD.
    """

    number: int
    custom_id: str | None = None
    body: bytes = b""
    fault: Fault | None = None
    weight: int = 1
    replaced_surrogates: int = 0


class _FaultError(Exception):
    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True, slots=True)
class LineReader:
    """Reads the lines of a job for that endpoint; a line has at most `max_bytes`. `template` is the
    job's."""

    endpoint: str
    max_bytes: int
    template: dict[str, Any] | None = None

    def lines(self, path: Path) -> Iterator[Line]:
        """All lines but blank ones, in order."""
        seen: dict[str, int] = {}
        index = 0
        with path.open("rb") as file:
            for number, content in _contents(file, self.max_bytes):
                if content is None or content.strip():
                    yield self._line(number, content, f"request-{index}", seen)
                    index += 1

    def _line(self, number: int, content: bytes | None, name: str, seen: dict[str, int]) -> Line:
        """`name` is that of a line without one, where there is a template."""
        custom_id: str | None = None
        try:
            request, replaced = self._parsed(number, content)
            custom_id = self._custom_id(request, name)
            _check_unseen(custom_id, number, seen)
            body = self._body(request)
            encoded = _encoded(body)
        except _FaultError as fault:
            found = Fault(fault.code, f"line {number}: {fault}.", number)
            return Line(number, custom_id, fault=found)
        weight = _weight(body, len(encoded))
        return Line(number, custom_id, encoded, weight=weight, replaced_surrogates=replaced)

    def _parsed(self, number: int, content: bytes | None) -> tuple[dict[str, Any], int]:
        """The object that a line is, and how many lone surrogates were replaced in it."""
        if content is None:
            raise _FaultError("line_too_long", f"a line has at most {self.max_bytes} bytes")
        if number == 1:
            content = content.removeprefix(codecs.BOM_UTF8)
        try:
            request, replaced = _loaded(content)
        except TooManyJsonTokensError:
            sentence = f"a line has at most {MAX_JSON_TOKENS} texts, brackets and commas"
            raise _FaultError("line_too_long", sentence) from None
        except NotUtf8Error:
            raise _FaultError("invalid_json_line", "it is not UTF-8") from None
        except orjson.JSONDecodeError as error:
            raise _FaultError("invalid_json_line", f"it is not valid JSON: {error.msg}") from None
        if not isinstance(request, dict):
            raise _FaultError("invalid_json_line", f"it is {_shown(request)}, and not an object")
        return request, replaced

    def _custom_id(self, request: dict[str, Any], name: str) -> str:
        found = request.get("custom_id")
        if found is None and self.template is not None:
            return name
        if not isinstance(found, str) or not 0 < len(found) <= _MAX_ID_CHARACTERS:
            raise _FaultError(
                "invalid_custom_id",
                f"its custom_id must be a text of 1 to {_MAX_ID_CHARACTERS} characters, not "
                f"{_shown(found)}",
            )
        return found

    def _body(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.template is not None:
            text = request.get("input", request.get("text"))
            if not isinstance(text, str):
                raise _FaultError("invalid_input", f"its input is {_shown(text)}, and not a text")
            return {**self.template, "input": [text], "service_tier": "flex"}
        method, url, body = (request.get(name) for name in ("method", "url", "body"))
        if method != "POST":
            raise _FaultError("invalid_method", f"its method is {_shown(method)}, and not POST")
        if url != self.endpoint:
            sentence = f"its url is {_shown(url)}; this job is for {self.endpoint}"
            raise _FaultError("mismatched_url", sentence)
        if not isinstance(body, dict):
            raise _FaultError("invalid_body", f"its body is {_shown(body)}, and not an object")
        return {**body, "service_tier": "flex"}


def validated(reader: LineReader, path: Path, max_lines: int) -> tuple[int, tuple[Fault, ...]]:
    """How many lines a file has, and why it is not worked on at all: the first faults of a file in
    which no line is a request, or one of a file that is too long."""
    total, good = 0, 0
    faults: list[Fault] = []
    for line in reader.lines(path):
        total += 1
        good += line.fault is None
        if line.fault and len(faults) < _SHOWN_FAULTS:
            faults.append(line.fault)
        if total > max_lines:
            sentence = f"the file has more than {max_lines} lines; send it in parts."
            return total, (Fault("too_many_lines", sentence, line.number),)
    if not total:
        return 0, (Fault("empty_file", "the file has no line that is not blank."),)
    return total, () if good else tuple(faults)


def _contents(file: BinaryIO, max_bytes: int) -> Iterator[tuple[int, bytes | None]]:
    """Each line with its number; None for one that is too long."""
    number = 0
    while content := file.readline(max_bytes + 1):
        number += 1
        if content.endswith(b"\n") or len(content) <= max_bytes:
            yield number, content
            continue
        while (rest := file.readline(_CHUNK)) and not rest.endswith(b"\n"):
            pass
        yield number, None


def _loaded(content: bytes) -> tuple[Any, int]:
    check_json_tokens(content)
    try:
        return orjson.loads(content), 0
    except orjson.JSONDecodeError:
        clean, replaced = repaired(content)  # as bodies of requests are
        return orjson.loads(clean), replaced


def _encoded(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:  # what can be read may be nested deeper than what can be written
        sentence = f"its body is nested more than {_MAX_DEPTH} deep; send it flatter"
        raise _FaultError("invalid_body", sentence) from None


def _check_unseen(custom_id: str, number: int, seen: dict[str, int]) -> None:
    if custom_id in seen:
        sentence = f"its custom_id {quoted(custom_id)} is that of line {seen[custom_id]}"
        raise _FaultError("duplicate_custom_id", sentence)
    seen[custom_id] = number


def _weight(body: dict[str, Any], size: int) -> int:
    inputs = next((body[name] for name in ("input", "texts", "content") if name in body), None)
    return max(len(inputs) if isinstance(inputs, list) else 1, size // _BYTES_OF_AN_INPUT, 1)


def _shown(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", type(None): "missing or null"}
    return kinds.get(type(value)) or (
        quoted(value) if isinstance(value, str) else shortened(str(value))
    )
