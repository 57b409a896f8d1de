"""Jina's routes of batch jobs, over the same jobs."""

import json

import numpy as np
import pytest

from tests.app.answers import assert_error, cosines, vectors
from tests.app.batches.asking import ENDED, jsonl, seen, upload
from tests.app.batches.conftest import Served
from tests.waiting import wait_until

TEXTS = ["Guten Morgen!", "Good morning!", "¡Buenos días!"]


def submitted(served: Served, **body: object) -> str:
    answer = served.one.post("/v1/batch/embeddings", json=body)
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert set(told) == {"batch_id", "status", "created_at"}
    assert told["status"] == "submitted"
    return str(told["batch_id"])


def done(served: Served, job: str, status: str = "completed") -> dict[str, object]:
    path = f"/v1/batch/{job}"

    def end() -> dict[str, object] | None:
        found: dict[str, object] = served.one.get(path).json()
        return found if found["status"] == status else None

    return wait_until(end, f"{job} is {status}") or {}


def lines(served: Served, address: object) -> list[dict[str, object]]:
    return [json.loads(each) for each in served.one.get(str(address)).text.splitlines()]


def test_texts_are_embedded_as_the_route_does(served: Served) -> None:
    fields = {"task": "separation", "dimensions": 32}
    job = submitted(served, input=TEXTS, **fields)
    told = done(served, job)
    alone = served.one.post("/v1/embeddings", json={"input": TEXTS, **fields})
    tokens = alone.json()["usage"]["total_tokens"]
    assert told["stats"] == {"total": 3, "completed": 3, "failed": 0, "total_tokens": tokens}
    found = lines(served, told["output_url"])
    assert [each["custom_id"] for each in found] == ["request-0", "request-1", "request-2"]
    data = [each["response"]["body"]["data"] for each in found]  # type: ignore[index]
    assert all(each[0]["index"] == 0 for each in data)
    pair = np.array([each[0]["embedding"] for each in data]), vectors(alone)
    assert cosines(*pair).min() > 0.9999
    np.testing.assert_allclose(np.linalg.norm(pair[0], axis=1), 1, atol=1e-3)
    assert lines(served, told["errors_url"]) == []
    # The same job in OpenAI's words.
    assert seen(served.one, {"id": job})["status"] == "completed"


def test_a_file_of_texts_may_have_bad_lines(served: Served) -> None:
    content = jsonl([{"input": "a"}, {"inptu": "b"}, "", {"text": "c"}])
    file = upload(served.one, content).json()["id"]
    told = done(served, submitted(served, input_file=file))
    assert told["stats"] == {"total": 3, "completed": 2, "failed": 1, "total_tokens": 6}
    found = [each["custom_id"] for each in lines(served, told["output_url"])]
    assert found == ["request-0", "request-2"]
    (error,) = lines(served, told["errors_url"])
    assert (error["line"], error["error"]["code"]) == (2, "invalid_input")  # type: ignore[index]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"input": ["a \\ud83d"]}', "a \ufffd"),
        (b'\xef\xbb\xbf{"input": ["a"]}', "a"),
        (b'{"input": ["a"], "foo": NaN}', "a"),
        (b'{"input": ["a"], "foo": ' + b"1" * 400 + b"}", "a"),
        (
            b'{"input": ["a"], "task": "separation", "input_type": '
            + b"[" * 150
            + b"]" * 150
            + b"}",
            "a",
        ),
    ],
)
def test_a_body_that_only_validation_can_read_is_a_job(
    served: Served, body: bytes, text: str
) -> None:
    answer = served.one.post("/v1/batch/embeddings", content=body)
    assert answer.status_code == 202, answer.text
    assert answer.headers.get("x-replaced-surrogates") == ("1" if "\ufffd" in text else None)
    job = answer.json()["batch_id"]
    done(served, job)
    file = seen(served.one, {"id": job})["input_file_id"]
    assert served.one.get(f"/v1/files/{file}/content").json() == {"input": text}


def test_fields_that_mean_nothing_are_named_and_not_kept(served: Served) -> None:
    fields = {"task_type": "separation", "encoding_format": "int8", "seed": 1, "texts": ["a", "b"]}
    answer = served.one.post("/v1/batch/embeddings", json={"input": ["a", "b"], **fields})
    assert answer.headers["x-ignored-fields"] == "seed"
    job = answer.json()["batch_id"]
    told = done(served, job)
    responses = [each["response"] for each in lines(served, told["output_url"])]
    alone = served.one.post("/v1/embeddings", json={"input": "a", **fields, "texts": "a"})
    for each in responses:
        assert isinstance(each, dict)
        assert "ignored_fields" not in each
        assert each["embedding_space"] == alone.headers["x-embedding-space"]
        assert each["body"]["data"][0]["scale"] > 0
    # Voyage's fields mean something on the route, and here.
    voyage = submitted(served, input=["a"], output_dtype="ubinary", dimensions=32)
    (found,) = lines(served, done(served, voyage)["output_url"])
    response = found["response"]
    assert isinstance(response, dict)
    assert len(response["body"]["data"][0]["embedding"]) == 4


def test_answers_that_are_damaged_or_gone_are_said_to_be(served: Served) -> None:
    job = submitted(served, input=["a"])
    output = done(served, job)["output_url"]
    file = seen(served.one, {"id": job})["output_file_id"]
    path = served.folder / "files" / file
    addresses = (str(output), f"/v1/files/{file}/content")
    whole = served.one.get(addresses[0]).content
    path.write_bytes(whole[:-1])
    sentence = f"is damaged: {len(whole) - 1} of {len(whole)} bytes are there."
    for address in addresses:
        assert_error(served.one.get(address), 404, "RESOURCE_NOT_FOUND", sentence)
    path.unlink()
    for address in addresses:
        assert_error(served.one.get(address), 404, "RESOURCE_NOT_FOUND", "not there any more")
    path.mkdir()
    for address in addresses:
        assert_error(served.one.get(address), 404, "RESOURCE_NOT_FOUND", "cannot be read: Is a")
    path.rmdir()
    path.write_bytes(whole)
    assert served.one.get(addresses[1]).content == whole


def test_a_job_is_cancelled(served: Served) -> None:
    job = submitted(served, input=["some words of a text"] * 1000)
    wait_until(lambda: seen(served.one, {"id": job})["status"] == "in_progress", "a beginning")
    assert served.one.delete(f"/v1/batch/{job}").status_code == 200
    told = done(served, job, "cancelled")
    stats = told["stats"]
    assert isinstance(stats, dict)
    assert len(lines(served, told["output_url"])) == stats["completed"] < 1000
    assert seen(served.one, {"id": job})["status"] in ENDED


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        ({}, 422, "VALIDATION_ERROR", "either input"),
        ({"input": ["a"], "input_file": "file-x"}, 422, "VALIDATION_ERROR", "either input"),
        ({"input_file": "gs://bucket/x.jsonl"}, 422, "VALIDATION_ERROR", "none is fetched"),
        ({"input_file": "file-x"}, 404, "RESOURCE_NOT_FOUND", "there is no file"),
        ({"input": ["a"], "task": "no such"}, 422, "VALIDATION_ERROR", "unknown task"),
        ({"input": ["a"], "model": "gpt"}, 404, "INPUT_MODEL_NOT_FOUND", "is not served"),
        ({"input": ["a"], "dimensions": "many"}, 422, "VALIDATION_ERROR", "dimensions"),
        (
            {"input": ["a", "b"], "late_chunking": True},
            422,
            "VALIDATION_ERROR",
            "each input is read",
        ),
        ({"input_file": "file-x", "late_chunking": True}, 422, "VALIDATION_ERROR", "parts of one"),
        ({"input": []}, 422, "VALIDATION_ERROR", "empty list"),
        ({"input": ["a"] * 1001}, 400, "INPUT_LIMIT_EXCEEDED", "at most 1000"),
        ({"input": ["a"], "dimensions": True}, 422, "VALIDATION_ERROR", "not true or false"),
        ({"input": ["a"], "dimensions": 10**400}, 400, "INPUT_INVALID", "over 64 bits"),
        ({"input": ["a"], "output_dtype": "uint8"}, 422, "VALIDATION_ERROR", "output_dtype is"),
        ({"input": ["a"], "user": "u" * 5000}, 400, "INPUT_INVALID", "keeps at most 4096"),
    ],
)
def test_what_is_refused_at_once(
    served: Served, body: dict[str, object], status: int, code: str, said: str
) -> None:
    answer = served.one.post("/v1/batch/embeddings", json=body)
    assert_error(answer, status, code, said)
