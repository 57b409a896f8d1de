"""Cut, normalise, encode, against the definition and against how clients decode."""

import base64
import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app.api.vectors import cut, encode, items, normalise, scales, to_json

floats = st.floats(-100, 100, width=32)
some_vectors = st.integers(1, 20).flatmap(
    lambda width: arrays(np.float32, st.tuples(st.integers(1, 5), st.just(width)), elements=floats)
)


@given(some_vectors, st.data())
def test_a_cut_vector_has_length_one_after_it_is_cut(
    vectors: np.ndarray, data: st.DataObject
) -> None:
    dimensions = data.draw(st.integers(1, vectors.shape[1]))
    found = normalise(cut(vectors, dimensions))
    assert found.shape == (len(vectors), dimensions)
    for vector, whole in zip(found, vectors, strict=True):
        head = whole[:dimensions].astype(np.float64)
        if np.linalg.norm(head) > 1e-30:
            np.testing.assert_allclose(vector, head / np.linalg.norm(head), atol=1e-6)


def test_a_zero_vector_stays_zero() -> None:
    np.testing.assert_array_equal(normalise(np.zeros((1, 4), np.float32)), np.zeros((1, 4)))


@given(some_vectors)
def test_float_json_reads_back_as_the_same_float32(vectors: np.ndarray) -> None:
    found = json.loads(to_json({"data": encode(vectors, ["float"])}))["data"]
    np.testing.assert_array_equal(np.array(found, np.float32), vectors)


@given(some_vectors)
def test_base64_is_little_endian_float32_as_openai_sdks_decode_it(vectors: np.ndarray) -> None:
    for text, vector in zip(encode(vectors, ["base64"]), vectors, strict=True):
        np.testing.assert_array_equal(np.frombuffer(base64.b64decode(text), "<f4"), vector)


@given(some_vectors)
def test_binary_types_have_a_bit_a_dimension_high_bit_first(vectors: np.ndarray) -> None:
    ubinary = json.loads(to_json({"data": encode(vectors, ["ubinary"])}))["data"]
    binary = json.loads(to_json({"data": encode(vectors, ["binary"])}))["data"]
    for row, unsigned, signed in zip(vectors, ubinary, binary, strict=True):
        bits = "".join("1" if value > 0 else "0" for value in row)
        padded = bits.ljust(-(-len(bits) // 8) * 8, "0")
        assert unsigned == [int(padded[at : at + 8], 2) for at in range(0, len(padded), 8)]
        assert signed == [number - 128 for number in unsigned]


def test_binary_is_offset_as_the_hosted_sample_is() -> None:
    """Measured at the hosted API: ubinary [50, 193, 128, 255] is binary [-78, 65, 0, 127]."""
    bits = np.unpackbits(np.array([[50, 193, 128, 255]], np.uint8), axis=1).astype(np.float32)
    assert encode(bits, ["ubinary"])[0].tolist() == [50, 193, 128, 255]
    assert encode(bits, ["binary"])[0].tolist() == [-78, 65, 0, 127]


def test_a_list_of_types_is_an_object_with_a_key_for_each() -> None:
    vectors = np.eye(2, 8, dtype=np.float32)
    found = json.loads(to_json({"data": encode(vectors, ["float", "base64", "ubinary"])}))["data"]
    assert [list(each) for each in found] == [["float", "base64", "ubinary"]] * 2
    assert found[0]["float"] == [1, 0, 0, 0, 0, 0, 0, 0]
    assert found[1]["ubinary"] == [64]


@pytest.mark.parametrize("kind", ["float", "base64", "binary", "ubinary"])
def test_a_list_of_one_type_is_that_type(kind: str) -> None:
    vectors = np.ones((1, 8), np.float32)
    assert to_json({"x": encode(vectors, [kind])}) == to_json({"x": encode(vectors, [kind, kind])})


@given(some_vectors)
@example(np.array([[1e-45, 0], [3e38, 1e-45]], np.float32))
def test_int8_times_its_scale_is_off_by_half_a_step_at_most(vectors: np.ndarray) -> None:
    types = ["int8"]
    found = json.loads(to_json({"data": items(encode(vectors, types), scales(vectors, types))}))
    for vector, each in zip(vectors, found["data"], strict=True):
        numbers, scale = np.array(each["embedding"]), each["scale"]
        assert np.abs(numbers).max() == (127 if vector.any() else 0)
        np.testing.assert_allclose(numbers * scale, vector, rtol=1e-5, atol=0.5001 * scale)


def test_a_scale_stands_beside_int8_alone() -> None:
    vectors = np.array([[0.5, -1.0]], np.float32)
    assert scales(vectors, ["float", "ubinary"]) is None
    types = ["int8", "float"]
    (found,) = items(encode(vectors, types), scales(vectors, types))
    assert found["embedding"]["int8"].tolist() == [64, -127]
    assert found["scale"] == pytest.approx(1 / 127)
    assert items([1, 2], None) == [{"embedding": 1}, {"embedding": 2}]
