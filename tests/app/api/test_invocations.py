"""POST /invocations: SageMaker's contract."""

import json
from typing import Any

import httpx
import numpy as np
import pytest

from tests.app.answers import SKINCARE, assert_error, cosines, vectors
from tests.server import Service

# What jina-sagemaker 0.0.48 sends, recorded.
SAGEMAKER = [
    {"task": "retrieval.passage", "dimensions": 64, "late_chunking": False},
    {"task": "text-matching", "dimensions": None, "late_chunking": False},
    {"task": "retrieval.passage", "dimensions": 64, "late_chunking": True},
]


@pytest.mark.parametrize("parameters", SAGEMAKER)
def test_sagemakers_json_contract(service: Service, parameters: dict[str, Any]) -> None:
    data = [{"text": text} for text in SKINCARE]
    answer = service.post("/invocations", data=data, parameters=parameters)
    assert answer.status_code == 200
    body = answer.json()
    assert body["parameters"] == parameters
    found = np.array([each["embedding"] for each in body["data"]])
    expected = service.embed(input=SKINCARE, **parameters)
    assert cosines(found, vectors(expected)).min() > 0.9995
    for each in body["data"]:
        assert set(each) == {"id", "embedding", "usage"}
        assert set(each["usage"]) == {"id", "total_tokens"}
    if not parameters["late_chunking"]:
        total = sum(each["usage"]["total_tokens"] for each in body["data"])
        assert total == expected.json()["usage"]["total_tokens"]


def test_what_means_nothing_is_named_and_does_not_come_back(service: Service) -> None:
    parameters = {"seed": 1, "input": "y", "normalized": False, "user": None}
    data = [{"text": "x", "id": 1, "url": "y"}]
    answer = service.post("/invocations", data=data, parameters=parameters, batch=5, task=None)
    assert answer.headers["x-ignored-fields"] == "batch, data.url, input, seed"
    assert answer.json()["parameters"] == {"normalized": False, "user": None}
    assert service.post("/invocations", data="x", parameters=None).json()["parameters"] == {}


def test_what_was_cut_is_said(engine: Service) -> None:
    answer = engine.post("/invocations", data=["a", "b " * 8193], parameters={"truncate": True})
    assert answer.headers["x-truncated-inputs"] == "1"


@pytest.mark.parametrize("kind", ["text/csv", "Text/CSV; charset=utf-8"])
def test_sagemakers_batch_transform_of_csv(service: Service, kind: str) -> None:
    content = '7,"a text, with a comma"\nthe-second,"two\nlines ""quoted"""\n'
    answer = httpx.post(
        f"{service.url}/invocations", content=content, headers={"content-type": kind}
    )
    body = answer.json()
    assert [each["id"] for each in body["data"]] == ["7", "the-second"]
    found = np.array([each["embedding"] for each in body["data"]])
    texts = ["a text, with a comma", 'two\nlines "quoted"']
    assert cosines(found, vectors(service.embed(input=texts))).min() > 0.9995
    assert body["parameters"] == {}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_csv_end_as_any_spreadsheet_ends_them(service: Service, end: str) -> None:
    content = f'1,one{end}2,"two{end}lines"{end}'
    answer = httpx.post(
        f"{service.url}/invocations", content=content, headers={"content-type": "text/csv"}
    )
    assert answer.status_code == 200, answer.text
    expected = vectors(service.embed(input=["one", f"two{end}lines"]))
    assert [each["id"] for each in answer.json()["data"]] == ["1", "2"]
    found = np.array([each["embedding"] for each in answer.json()["data"]])
    assert cosines(found, expected).min() > 0.9995


@pytest.mark.parametrize(
    ("content", "kind", "status", "said"),
    [
        (b"1,2,3\n", "text/csv", 422, "row 1 has 3 columns"),
        (b'1,"open', "text/csv", 400, "not valid CSV"),
        (b"\xff", "text/csv", 400, "is not UTF-8: byte 0"),
        (b"", "text/csv", 422, "data is an empty list"),
        (b"{", "application/json", 400, "not valid JSON"),
        (b'{"input": "x"}', "application/json", 422, "data: field required"),
        (b'{"data": []}', "application/json", 422, "data is an empty list"),
        (b'{"data": null}', "application/json", 422, "data: field required"),
        (b"[]", "application/json", 422, "the body must be a JSON object"),
        (b'{"data": [{"url": "x"}]}', "application/json", 422, "data[0] must be a text"),
        (b'{"data": [{"text": 5}]}', "application/json", 422, "data[0].text must be a text"),
        (b'{"data": [1, 2]}', "application/json", 400, "token ids"),
        (
            b'{"data": "x", "task": "retrieval.query", "dimensions": 2}',
            "application/json",
            422,
            "dimensions and task cannot stand beside data",
        ),
        (
            json.dumps({"data": ["x"], "parameters": {"task": "retrieval"}}).encode(),
            "application/json",
            422,
            "unknown task 'retrieval'",
        ),
    ],
)
def test_what_invocations_refuses(
    service: Service, content: bytes, kind: str, status: int, said: str
) -> None:
    url, headers = f"{service.url}/invocations", {"content-type": kind}
    answer = httpx.post(url, content=content, headers=headers)
    assert answer.status_code == status
    assert_error(answer, status, answer.json()["code"], said)
