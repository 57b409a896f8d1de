"""Bodies that are not clean Unicode: halves of characters, byte order marks, other encodings."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.bodies import decoded, repaired
from app.errors import InvalidJsonError
from tests.app.answers import assert_error, vectors
from tests.server import Service

# What escapes are made of, whole and in pieces, and letters that could be mistaken for one.
PIECES = st.sampled_from(
    [
        *(r"\ud83d", r"\uDE00", r"\uD83D", r"\ude00", r"\uD83D\uDE00", r"\udbff", r"\udfff"),
        *(r"\\", r"\"", r"\n", r"\/", r"\u00e9", r"\ufffd", r"\ud7ff", r"\ue000"),
        *("ud83d", "d83d", "é", "😀", "a", " "),
    ]
)
ESCAPED = st.lists(PIECES, max_size=12).map("".join)


def clean(value: Any) -> Any:
    """The slow and obvious way: Python's own parser keeps lone surrogates, one to a character."""
    if isinstance(value, dict):
        return {clean(name): clean(each) for name, each in value.items()}
    if isinstance(value, list):
        return [clean(each) for each in value]
    if isinstance(value, str):
        return "".join("\ufffd" if "\ud800" <= each <= "\udfff" else each for each in value)
    return value


@given(st.lists(ESCAPED, max_size=4), ESCAPED)
def test_lone_surrogates_are_replaced_and_nothing_else(texts: list[str], name: str) -> None:
    listed = "".join(f'"{text}", ' for text in texts)
    body = f'{{"{name}": [{listed}1.50, NaN, null]}}'
    read = json.loads(body, parse_constant=str)
    found, count = repaired(body.encode())
    assert json.loads(found, parse_constant=str) == clean(read)
    written = json.dumps(read, ensure_ascii=False)
    assert count == sum("\ud800" <= each <= "\udfff" for each in written)
    if not count:
        assert found == body.encode()
    assert repaired(found) == (found, 0)


@given(st.text(max_size=20), st.sampled_from(["utf-16", "utf-16-le", "utf-16-be", "utf-32"]))
def test_other_encodings_are_not_taken_for_utf_8(text: str, encoding: str) -> None:
    with pytest.raises(InvalidJsonError, match=r"not UTF-8.*looks like UTF-16"):
        decoded(f'{{"input": "{text}"}}'.encode(encoding))


# No body has U+0000: JSON wants it escaped.
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")), st.booleans())
def test_utf_8_is_read_as_it_is_without_its_mark(text: str, marked: bool) -> None:
    text = f'"{text}"'
    assert decoded(text.encode("utf-8-sig" if marked else "utf-8")) == text


def post(service: Service, path: str, content: bytes, kind: str = "application/json") -> Any:
    headers = {"content-type": kind}
    return httpx.post(service.url + path, content=content, headers=headers, timeout=60)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/embeddings", "input"),
        ("/openai/deployments/quintet-mini/embeddings", "input"),
        ("/v1/documents", "input"),
        ("/tokenize", "input"),
        ("/invocations", "data"),
    ],
)
def test_half_a_character_is_replaced_and_said(service: Service, path: str, field: str) -> None:
    halved = rb'{"%s": ["cut \ud83d", "\ude00 in two", "whole \ud83d\ude00"]}' % field.encode()
    answer = post(service, path, halved)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-replaced-surrogates"] == "2"
    whole = post(service, path, halved.replace(rb"\ud83d\ude00", "😀".encode()))
    assert whole.headers["x-replaced-surrogates"] == "2"
    as_if = {field: ["cut \ufffd", "\ufffd in two", "whole 😀"]}
    expected = service.post(path, **as_if)
    assert "x-replaced-surrogates" not in expected.headers
    for found in (answer, whole):
        compared = [found.json(), expected.json()]
        for each in compared[0]["data"] + compared[1]["data"] if path == "/invocations" else []:
            each.pop("id"), each["usage"].pop("id")
        assert compared[0] == compared[1]


def test_an_escaped_backslash_begins_no_surrogate(service: Service) -> None:
    answer = post(service, "/tokenize", rb'{"input": "\\ud83d"}')
    assert "x-replaced-surrogates" not in answer.headers
    assert answer.json()["inputs"] == service.post("/tokenize", input="\\ud83d").json()["inputs"]


def test_a_byte_order_mark_in_front_is_taken(service: Service) -> None:
    assert vectors(post(service, "/v1/embeddings", b'\xef\xbb\xbf{"input": "x"}')).shape == (1, 384)
    both = post(service, "/v1/embeddings", b'\xef\xbb\xbf{"input": "\\ud83d"}')
    assert both.headers["x-replaced-surrogates"] == "1"
    inside = post(service, "/v1/embeddings", b'{"input": \xef\xbb\xbf"x"}')
    assert_error(inside, 400, "INPUT_INVALID_JSON", "not valid JSON")


@pytest.mark.parametrize(
    ("encoding", "offset", "byte", "likely"),
    [
        ("latin-1", 13, "0xfc", "Latin-1"),
        ("utf-16", 0, "0xff", "UTF-16"),
        ("utf-16-le", 1, "0x00", "UTF-16"),
    ],
)
def test_another_encoding_is_named_with_the_place(
    service: Service, encoding: str, offset: int, byte: str, likely: str
) -> None:
    said = f"is not UTF-8: byte {offset}, counted from 0, is {byte}"
    content = '{"input": "Grüß Gott"}'.encode(encoding)
    for path in ("/v1/embeddings", "/v1/documents", "/tokenize", "/invocations"):
        answer = post(service, path, content)
        assert_error(answer, 400, "INPUT_INVALID_JSON", said)
        assert likely in answer.json()["detail"]
    rows = post(service, "/invocations", "7,Grüß Gott\n".encode(encoding), "text/csv")
    assert_error(rows, 400, "INPUT_INVALID_JSON", "is not UTF-8: byte ")


def test_what_the_parser_took_before_it_takes_as_before(service: Service) -> None:
    twice = post(service, "/tokenize", rb'{"input": "\ud83d", "input": "a b"}')
    assert twice.json()["total_tokens"] == 2
    number = post(service, "/v1/embeddings", rb'{"input": "\ud83d", "dimensions": NaN}')
    assert_error(number, 422, "VALIDATION_ERROR", "dimensions: ")
    broken = post(service, "/v1/embeddings", rb'{"input": "\ud83d"')
    assert_error(broken, 400, "INPUT_INVALID_JSON", "EOF while parsing an object at line 1 column ")
