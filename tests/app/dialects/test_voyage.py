"""Voyage's words on POST /v1/embeddings."""

from typing import Any

import numpy as np
import pytest

from tests.app.answers import SKINCARE, assert_error, cosines, vectors
from tests.server import Service

# What voyageai 0.5.0 sends where its caller names nothing else.
ASKED = {
    "model": "quintet-mini",
    "input_type": None,
    "truncation": True,
    "output_dtype": None,
    "output_dimension": None,
}


@pytest.mark.parametrize(
    ("input_type", "task"),
    [("query", "retrieval.query"), ("document", "retrieval.passage"), (None, "text-matching")],
)
def test_an_input_type_is_a_task(service: Service, input_type: str | None, task: str) -> None:
    asked = {**ASKED, "input_type": input_type, "output_dimension": 64, "output_dtype": "float"}
    answer = service.embed(**asked, input=SKINCARE)
    assert "x-ignored-fields" not in answer.headers
    expected = vectors(service.embed(input=SKINCARE, task=task, dimensions=64))
    assert cosines(vectors(answer), expected).min() > 0.9999


@pytest.mark.parametrize("dtype", ["binary", "ubinary"])
def test_vectors_of_bits_are_lists_whatever_its_client_adds(service: Service, dtype: str) -> None:
    asked = {**ASKED, "input": SKINCARE, "output_dtype": dtype, "encoding_format": "base64"}
    answer = service.embed(**asked).json()
    expected = service.embed(input=SKINCARE, embedding_type=dtype).json()
    found, bits = (np.array([e["embedding"] for e in each["data"]]) for each in (answer, expected))
    np.testing.assert_array_equal(found, bits)


def test_whole_numbers_have_a_scale_beside_them(service: Service) -> None:
    asked = {**ASKED, "input": SKINCARE, "output_dtype": "int8", "encoding_format": "base64"}
    answer = service.embed(**asked).json()
    expected = service.embed(input=SKINCARE, embedding_type="int8").json()
    assert answer["data"] == expected["data"]


@pytest.mark.parametrize(
    ("body", "cut"),
    [
        ({"input_type": "query"}, True),
        ({"input_type": "document", "truncation": None}, True),
        ({"output_dtype": None}, True),
        ({"input_type": "query", "truncation": False}, False),
        ({"input_type": "query", "truncate": False}, False),
        ({"input_type": "passage"}, False),
        ({"task": "retrieval.query"}, False),
        ({"task": "retrieval.query", "input_type": "query"}, False),
        ({"task": None, "input_type": "query"}, True),
    ],
)
def test_texts_are_cut_unless_it_is_refused(
    engine: Service, body: dict[str, Any], cut: bool
) -> None:
    answer = engine.embed(input=["a", "b " * 8193], **body)
    if cut:
        assert answer.headers["x-truncated-inputs"] == "1"
    else:
        assert_error(answer, 400, "INPUT_TOKEN_LIMIT_EXCEEDED", "input[1] has 8193 tokens")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"output_dtype": "uint8"}, "output_dtype is 'uint8'; here it is float, binary, ubinary, "),
        ({"input_type": "image"}, "input_type is 'image'; it is read as a task where it is one of"),
        ({"output_dimension": 1000}, "output_dimension is 1000; this model takes 1 to 384"),
    ],
)
def test_a_value_without_a_counterpart_is_refused(
    service: Service, body: dict[str, Any], said: str
) -> None:
    answer = service.embed(**{**ASKED, "input": "x", **body})
    assert_error(answer, 422, "VALIDATION_ERROR", said)


def test_its_words_in_a_text_change_nothing(service: Service) -> None:
    text = '{"input_type": "query", "output_dtype": "int8"}'
    answer = service.embed(input=text)
    assert answer.status_code == 200
    assert "x-ignored-fields" not in answer.headers
