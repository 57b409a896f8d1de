"""Fields: misspellings are refused, other APIs' names are not, and errors say what was sent."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.field_names import affecting_vectors, all_names, check_near_misses
from app.api.misspellings import near
from app.api.request_models import EmbeddingsRequest
from tests.app.answers import assert_error, vectors
from tests.server import Service

FIELDS = EmbeddingsRequest.model_fields
AFFECTING_VECTORS = frozenset(affecting_vectors(FIELDS))
# What clients of other services send, or could; all of it means something else there.
OTHERS = [
    *("user", "model", "encoding_format", "input_type", "truncation_direction", "truncation_side"),
    *(
        "truncate_prompt_tokens",
        "prompt_name",
        "model_kwargs",
        "return_multivector",
        "output_dtype",
    ),
    *("return_tokenized_input", "options", "keep_alive", "max_tokens", "add_special_tokens"),
    *("texts", "content", "priority", "extra_body", "query_config", "metadata", "service_tier"),
    *("store", "timeout", "tags", "id", "request_id", "image", "images", "instruction", "prefix"),
    *("batch_size", "endianness", "use_activation", "return_base64", "format"),
    *("output_format", "type", "size", "seed", "stream", "temperature", "n", "cache_salt", "lora"),
    *("mm_processor_kwargs", "chat_template", "api_version", "late", "pooling", "documents"),
]


@pytest.mark.parametrize("name", OTHERS)
def test_the_names_of_other_apis_are_no_misspellings(name: str) -> None:
    assert name in all_names(FIELDS) or near(name, AFFECTING_VECTORS) is None


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        *(("taks", "task"), ("tsk", "task"), ("tasks", "task"), ("Task", "task"), ("TASK", "task")),
        *(("task-type", "task_type"), ("taskType", "task_type"), ("task_label", "task")),
        *(("dimension", "dimensions"), ("dimesions", "dimensions"), ("dims", "dimensions")),
        *(("truncate_dim", "dimensions"), ("outputDimension", "output_dimension")),
        *(("lateChunking", "late_chunking"), ("late-chunking", "late_chunking")),
        *(("late chunking", "late_chunking"), ("late_chunks", "late_chunking")),
        *(
            ("late_chunking_overlaps", "late_chunking_overlap"),
            ("overlap", "late_chunking_overlap"),
        ),
        *(("normalised", "normalized"), ("normalise", "normalize"), ("Normalized", "normalized")),
        *(
            ("normalize_embeddings", "normalized"),
            ("truncated", "truncate"),
            ("trunkate", "truncate"),
        ),
        *(("embeddingType", "embedding_type"), ("encoding_formats", "encoding_format")),
    ],
)
def test_misspellings_are_found(sent: str, meant: str) -> None:
    assert near(sent, AFFECTING_VECTORS) == meant


@given(st.sampled_from(sorted(AFFECTING_VECTORS)), st.data())
def test_one_wrong_letter_is_a_misspelling(name: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(name) - 1))
    letter = data.draw(st.sampled_from("abcxyz"))
    swapped = name[:place] + name[place : place + 2][::-1] + name[place + 2 :]
    for wrong in (
        name[:place] + name[place + 1 :],
        name[:place] + letter + name[place:],
        name[:place] + letter + name[place + 1 :],
        swapped,
    ):
        assert near(wrong, AFFECTING_VECTORS) is not None


def test_a_million_unknown_names_are_not_compared() -> None:
    check_near_misses({f"dimension{number}x": 1 for number in range(10**6)}, frozenset({"task"}))


@pytest.mark.parametrize("letters", [97, 30_000_000])
def test_a_name_that_is_too_long_for_a_field_is_not_compared(letters: int) -> None:
    """One may be as long as a body, and would take the process seconds."""
    assert near("task" + "-" * letters, AFFECTING_VECTORS) is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"taks": "separation"}, "taks: unknown field; did you mean task?"),
        ({"dimension": 12}, "dimension: unknown field; did you mean dimensions?"),
        ({"lateChunking": True}, "lateChunking: unknown field; did you mean late_chunking?"),
        ({"normalised": False}, "normalised: unknown field; did you mean normalized?"),
        ({"truncated": True}, "truncated: unknown field; did you mean truncate?"),
        ({"embedding_typ": "base64"}, "embedding_typ: unknown field; did you mean embedding_type?"),
    ],
)
def test_a_near_miss_of_a_field_that_decides_is_refused(
    service: Service, fields: dict[str, Any], said: str
) -> None:
    refused = service.embed(input="x", **fields)
    assert_error(refused, 422, "VALIDATION_ERROR", said)
    (name,) = fields
    assert refused.json()["error"]["param"] == name
    assert refused.json()["errors"][0]["field"] == f"body -> {name}"
    inside = service.post("/invocations", data="x", parameters=fields)
    assert_error(inside, 422, "VALIDATION_ERROR", f"parameters.{said}")
    assert inside.json()["error"]["param"] == f"parameters.{name}"
    beside = service.post("/invocations", data="x", **fields)
    assert_error(beside, 422, "VALIDATION_ERROR", said)
    vectors(service.embed(input="x", **dict.fromkeys(fields)))  # null is absent


def test_near_misses_elsewhere(service: Service) -> None:
    said = "taks: unknown field; did you mean task?"
    refused = service.post("/tokenize", input="x", taks="separation")
    assert_error(refused, 422, "VALIDATION_ERROR", said)
    # Tokens do not depend on these.
    harmless = service.post("/tokenize", input="x", dimension=1, lateChunking=True)
    assert harmless.headers["x-ignored-fields"] == "dimension, lateChunking"
    params = service.post("/invocations", data="x", params={"task": "separation"})
    assert_error(params, 422, "VALIDATION_ERROR", "params: unknown field; did you mean parameters?")
    missing = service.embed(inputs=["x"])
    assert_error(missing, 422, "VALIDATION_ERROR", "inputs: unknown field; did you mean input?")
    assert service.embed(input="x", inputs="y").headers["x-ignored-fields"] == "inputs"


def test_other_apis_words_are_honoured_or_refused_and_never_give_other_vectors(
    service: Service,
) -> None:
    raw = vectors(service.embed(input="x y", normalized=False))
    np.testing.assert_allclose(vectors(service.embed(input="x y", normalize=False)), raw, atol=1e-6)
    differ = service.embed(input="x", normalize=False, normalized=True)
    assert_error(differ, 422, "VALIDATION_ERROR", "normalized and normalize are names of one field")
    for word, task in (
        ("query", "retrieval.query"),
        ("search_document", "retrieval.passage"),
        ("passage", "retrieval.passage"),
        ("clustering", "separation"),
    ):
        answer = service.embed(input="x y", input_type=word)
        expected = vectors(service.embed(input="x y", task=task))
        np.testing.assert_allclose(vectors(answer), expected, atol=2e-3)
        assert "x-ignored-fields" not in answer.headers
        counted = service.post("/tokenize", input="x", input_type=word).json()
        assert counted["task"] == task
    counted = service.post("/tokenize", input="x", task="clustering").json()
    assert counted["task"] == "separation"
    refused = service.embed(input="x", input_type="image")
    assert_error(refused, 422, "VALIDATION_ERROR", "input_type is 'image'; it is read as a task")
    own = service.embed(input="x y", input_type="query", task="separation")
    assert own.headers["x-ignored-fields"] == "input_type"
    expected = vectors(service.embed(input="x y", task="separation"))
    np.testing.assert_allclose(vectors(own), expected, atol=2e-3)


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"encoding_format": "int4"}, "encoding_format", "encoding_format: must be 'float',"),
        ({"encoding_type": ["int4"]}, "encoding_type.0", "encoding_type.0: must be 'float',"),
        (
            {"embedding_type": "float", "encoding_format": "int4"},
            "encoding_format",
            "encoding_format must be of float",
        ),
        ({"output_dimension": 400}, "output_dimension", "output_dimension is 400; this model"),
        ({"output_dimensionality": "x"}, "output_dimensionality", "output_dimensionality: "),
        ({"task_type": "nope"}, "task_type", "unknown task 'nope'"),
        ({"task_type": 1}, "task_type", "task_type: must be a text, not 1"),
        ({"truncation": "x"}, "truncation", "truncation: must be true or false, not 'x'"),
        ({"late_chunking_overlap": 1}, "late_chunking_overlap", "late_chunking_overlap needs late"),
        ({"task": "separation", "task_type": "x"}, "task", "task and task_type are names of one"),
        ({"input": None, "texts": [1, "x"]}, "texts", "texts[0] must be a text"),
        ({"input": None, "texts": []}, "texts", "texts is an empty list"),
    ],
)
def test_errors_name_the_field_that_was_sent(
    service: Service, body: dict[str, Any], param: str, said: str
) -> None:
    refused = service.embed(**{"input": "x", **body})
    assert_error(refused, 422, "VALIDATION_ERROR", said)
    assert refused.json()["error"]["param"] == param
    assert refused.json()["errors"][0]["field"] == "body -> " + param.replace(".", " -> ")


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"task": "nope"}, "parameters.task"),
        ({"task_type": "nope"}, "parameters.task_type"),
        ({"dimensions": 400}, "parameters.dimensions"),
        ({"dimensions": "x"}, "parameters.dimensions"),
        ({"encoding_format": "int4"}, "parameters.encoding_format"),
        ({"late_chunking": True, "late_chunking_overlap": -1}, "parameters.late_chunking_overlap"),
        ({"model": "nope"}, "parameters.model"),
    ],
)
def test_errors_name_the_parameters_of_invocations(
    service: Service, parameters: dict[str, Any], param: str
) -> None:
    refused = service.post("/invocations", data="x", parameters=parameters)
    assert refused.status_code in (404, 422)
    assert refused.json()["error"]["param"] == param


LONG = "b " * 8193


@pytest.mark.parametrize(
    ("path", "body", "param", "said"),
    [
        (
            *("/v1/embeddings", {"input": ["a", LONG]}, "input"),
            "input[1] has 8193 tokens; this model reads at most 8192 "
            '(send "truncate": true to cut at the limit).',
        ),
        (
            *("/v1/embeddings", {"input": ["a", LONG], "late_chunking": True}, "input"),
            "late chunking reads all inputs as one document of at most 8192 tokens; these 2 inputs "
            'have 8194 (send "truncate": true to cut at the limit, or "late_chunking_overlap" for '
            "windows).",
        ),
        (
            "/v1/embeddings",
            {"input": "b " * 131_073, "late_chunking": True, "late_chunking_overlap": 1},
            "input",
            "late chunking reads all inputs as one document of at most 131072 tokens; these 1 "
            'inputs have 131073 (send "truncate": true to cut at the limit).',
        ),
        (
            *("/v1/embeddings", {"texts": LONG}, "texts"),
            "texts[0] has 8193 tokens; this model reads at most 8192 "
            '(send "truncate": true to cut at the limit).',
        ),
        (
            *("/invocations", {"data": [LONG]}, "data"),
            "data[0] has 8193 tokens; this model reads at most 8192 "
            '(send "truncate": true to cut at the limit).',
        ),
        ("/invocations", {"data": ["x"] * 2049}, "data", "data has 2049 inputs; one request may "),
        ("/v1/embeddings", {"content": [1, 2]}, "content", "content holds token ids."),
        ("/invocations", {"data": [[1], [2]]}, "data", "data holds token ids."),
    ],
)
def test_what_is_too_much_is_said_in_the_words_of_http(
    service: Service, path: str, body: dict[str, Any], param: str, said: str
) -> None:
    refused = service.post(path, **body)
    assert_error(refused, 400, refused.json()["code"], said)
    assert refused.json()["error"]["param"] == param
    if said.endswith("."):
        assert refused.json()["detail"].startswith(said)


def test_the_error_for_a_model_says_which_name_to_send(service: Service) -> None:
    refused = service.embed(input="x", model="gpt-4")
    said = (
        "the model 'gpt-4' is not served here. Send jina-embeddings-v3 or text-embedding-3-small "
        "or quintet-mini, or have whoever runs the service add the name to "
        "EMBED_SERVED_MODEL_NAMES."
    )
    assert_error(refused, 404, "INPUT_MODEL_NOT_FOUND", said)
