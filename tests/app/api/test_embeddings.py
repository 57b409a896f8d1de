"""POST /v1/embeddings on a running service, against the same model asked one text at a time."""

import base64
import itertools
from typing import Any

import numpy as np
import openai
import pytest

from model.embedder import Embedder
from tests.app.answers import SKINCARE, cosines, vectors
from tests.checkpoints import TASKS
from tests.server import Service


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("late_chunking", [False, True])
def test_each_task_is_read_by_its_own_adapter(
    service: Service, quintet: Embedder, task: str, late_chunking: bool
) -> None:
    found = vectors(service.embed(input=SKINCARE, task=task, late_chunking=late_chunking))
    for candidate, late in itertools.product(TASKS, (False, True)):
        expected = quintet.embed_texts(SKINCARE, candidate, late_chunking=late)
        same = (candidate, late) == (task, late_chunking)
        assert (cosines(found, expected).mean() > 0.9995) == same


def test_the_launch_posts_request(service: Service) -> None:
    body = {"model": "quintet-mini", "input": SKINCARE, "task": "text-matching", "dimensions": 384}
    plain, late = service.embed(**body).json(), service.embed(**body, late_chunking=True).json()
    unit = np.array([each["embedding"] for each in plain["data"]])
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    similarity = unit @ unit.T
    skincare = np.mean([similarity[pair] for pair in itertools.combinations(range(4), 2)])
    assert skincare > similarity[:4, 4].mean() + 0.05
    # Late chunking changes the values and nothing else of the form.
    for each in (plain, late):
        each["values"] = [entry.pop("embedding") for entry in each["data"]]
        each.pop("usage")
    assert plain.pop("values") != late.pop("values")
    assert plain == late


def test_usage_counts_a_late_chunked_request_as_one_row(service: Service) -> None:
    plain = service.embed(input=SKINCARE).json()["usage"]
    late = service.embed(input=SKINCARE, late_chunking=True).json()["usage"]
    query = service.embed(input=SKINCARE, task="retrieval.query").json()["usage"]
    assert plain["prompt_tokens"] == plain["total_tokens"] == late["total_tokens"] + 2 * 4
    assert query == plain


@pytest.mark.parametrize("dimensions", [1, 2, 7, 32, 383, 384, "64", 64.0])
def test_any_dimensions_up_to_the_width_give_unit_vectors(
    service: Service, precise: Embedder, dimensions: Any
) -> None:
    found = vectors(service.embed(input=SKINCARE, task="separation", dimensions=dimensions))
    expected = precise.embed_texts(SKINCARE, "separation", dimensions=int(dimensions))
    assert found.shape == expected.shape
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    if int(dimensions) > 2:
        assert cosines(found, expected).min() > 0.9995


def test_without_normalised_a_shorter_vector_is_the_head_of_the_longer_one(
    service: Service,
) -> None:
    text = "a mean of many words is short"
    whole = vectors(service.embed(input=text, normalized=False))
    head = vectors(service.embed(input=text, normalized=False, dimensions=40))
    np.testing.assert_allclose(head, whole[:, :40], rtol=1e-6)
    assert abs(np.linalg.norm(whole) - 1) > 0.1


@pytest.mark.parametrize(
    "inputs",
    ["x y", {"text": "x y"}, ["x y"], [{"text": "x y"}], [{"text": "x y", "id": "7"}]],
)
def test_inputs_of_every_form_are_the_same_text(service: Service, inputs: Any) -> None:
    expected = vectors(service.embed(input="x y"))
    assert cosines(vectors(service.embed(input=inputs)), expected).min() > 0.9995
    mixed = vectors(service.embed(input=["a", {"text": "x y"}]))
    assert cosines(mixed[1:], expected).min() > 0.9995


@pytest.mark.parametrize("inputs", ["", [""], ["", "x", ""]])
def test_an_empty_text_embeds(service: Service, inputs: Any) -> None:
    found = vectors(service.embed(input=inputs))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    vectors(service.embed(input=inputs, late_chunking=True))


@pytest.mark.parametrize("field", ["embedding_type", "encoding_format", "encoding_type"])
def test_embedding_types_under_each_name(service: Service, field: str) -> None:
    expected = vectors(service.embed(input=SKINCARE))
    assert vectors(service.embed(input=SKINCARE, **{field: "float"})).shape == expected.shape
    data = service.embed(input=SKINCARE, **{field: "base64"}).json()["data"]
    decoded = [np.frombuffer(base64.b64decode(each["embedding"]), "<f4") for each in data]
    np.testing.assert_allclose(np.stack(decoded), expected, atol=2e-3)
    bits = vectors(service.embed(input=SKINCARE, **{field: "ubinary"}))
    assert bits.shape == (5, 48)
    signed = vectors(service.embed(input=SKINCARE, **{field: "binary"}))
    np.testing.assert_array_equal(signed, bits - 128)
    (first, *_) = service.embed(input=SKINCARE, **{field: "int8"}).json()["data"]
    np.testing.assert_allclose(
        np.array(first["embedding"]) * first["scale"], expected[0], atol=first["scale"]
    )
    data = service.embed(input=SKINCARE, **{field: ["float", "ubinary"]}).json()["data"]
    assert set(data[0]["embedding"]) == {"float", "ubinary"}


@pytest.mark.parametrize("field", ["embedding_type", "encoding_type", "embedding_types"])
def test_the_openai_sdks_default_encoding_yields_to_an_explicit_type(
    service: Service, field: str
) -> None:
    body = {"input": "x", "encoding_format": "base64", field: ["ubinary"]}
    assert len(service.embed(**body).json()["data"][0]["embedding"]) == 48


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/documents"])
def test_a_type_that_is_asked_for_many_times_is_encoded_once(service: Service, path: str) -> None:
    """It took minutes, in which the process answered nobody."""
    body = {"input": ["a"] * 1024, "embedding_type": ["base64", "int8"] * 100_000}
    with service.client() as client:
        answer = client.post(path, json=body)
    assert {*answer.json()["data"][0]["embedding"]} == {"base64", "int8"}


@pytest.mark.parametrize(
    "alias",
    [
        {"texts": ["x y"], "task": "separation"},
        {"content": "x y", "task": "separation"},
        {"input": "x y", "task_type": "separation"},
        {"input": "x y", "task": "separation", "task_type": "separation"},
    ],
)
def test_aliases_mean_the_field(service: Service, alias: dict[str, Any]) -> None:
    expected = vectors(service.embed(input="x y", task="separation"))
    response = service.embed(**alias)
    assert cosines(vectors(response), expected).min() > 0.9995
    assert "x-ignored-fields" not in response.headers
    for name in ("output_dimension", "output_dimensionality"):
        assert vectors(service.embed(input="x", **{name: 16})).shape == (1, 16)


def test_null_is_absent(service: Service) -> None:
    names = ["model", "task", "dimensions", "late_chunking", "embedding_type", "encoding_format"]
    names += ["normalized", "truncate", "user"]
    response = service.embed(input="x", **dict.fromkeys(names))
    expected = vectors(service.embed(input="x"))
    np.testing.assert_allclose(vectors(response), expected, atol=2e-3)


def test_unknown_fields_are_ignored_and_named(service: Service) -> None:
    response = service.embed(input="x", prompt_name="x", user="someone", ünder="x")
    assert vectors(response).shape == (1, 384)
    assert response.headers["x-ignored-fields"] == "prompt_name, \\xfcnder"
    inputs = [{"text": "x", "id": 1, "image": "y"}, "z", {"text": "x", "title": "t"}]
    within = service.embed(input=inputs)
    assert within.headers["x-ignored-fields"] == "input.image, input.title"
    many = service.embed(input="x", **{f"field{number}": 1 for number in range(100)})
    assert many.headers["x-ignored-fields"].endswith("and 80 more")


def test_truncation_is_asked_for_and_said(engine: Service) -> None:
    inputs = ["a", "b " * 8193]
    response = engine.embed(input=inputs, truncate=True)
    assert vectors(response).shape == (2, 64)
    assert response.headers["x-truncated-inputs"] == "1"
    assert response.json()["usage"]["total_tokens"] == 3 + 8194
    vectors(engine.embed(input="b " * 8192, task="retrieval.passage"))


def test_an_answer_is_signed_with_the_name_that_was_asked_for(service: Service) -> None:
    for name in ("jina-embeddings-v3", "text-embedding-3-small", "quintet-mini"):
        assert service.embed(input="x", model=name).json()["model"] == name
    assert service.embed(input="x").json()["model"] == "jina-embeddings-v3"


def test_the_openai_sdk_gets_floats_from_its_default_of_base64(service: Service) -> None:
    client = openai.OpenAI(base_url=f"{service.url}/v1", api_key="none")
    answer = client.embeddings.create(
        model="quintet-mini", input=SKINCARE, extra_body={"task": "separation"}
    )
    found = np.array([each.embedding for each in answer.data], np.float32)
    expected = vectors(service.embed(input=SKINCARE, task="separation"))
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens > 0
    assert "quintet-mini" in [model.id for model in client.models.list()]
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.embeddings.create(model="quintet-mini", input="x", extra_body={"task": "nope"})
    assert caught.value.param == "task"
    assert caught.value.request_id
    client.close()


def test_unusual_texts_embed(engine: Service) -> None:
    texts = [
        "\x00",
        "مرحبا بالعالم",
        "👩‍👩‍👧‍👦🏳️‍🌈",
        "x" * 1_000_000,
        "\u202eabc",
        " \n\t ",
        "</s><s>",
    ]
    found = vectors(engine.embed(input=texts, truncate=True))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
