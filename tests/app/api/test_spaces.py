"""Every answer says which space its vectors are in, and a caller who expects another one gets 412.

What spaces depend on is in tests/model/test_spaces.py; here the same goes over HTTP.
"""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.application import create_app
from app.settings import Settings
from tests.app.answers import assert_error
from tests.checkpoints import TASKS, Shape, random_tensors, shuffled_adapter, write_original
from tests.server import Service, running

HEADER = "x-embedding-space"
TEXTS = {"input": ["one text", "another"]}


@pytest.fixture(scope="module")
def spaces(service: Service) -> dict[str, str]:
    """The space of each task, as GET /info lists them."""
    return listed(service)


def listed(service: Service) -> dict[str, str]:
    found: dict[str, str] = httpx.get(f"{service.url}/info").json()["embedding_spaces"]
    return found


def space_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.headers[HEADER]


def ask(service: Service, expected: str, path: str = "/v1/embeddings", **body: Any) -> Any:
    body = {**TEXTS, **body} if path.startswith("/v1") else body
    return httpx.post(service.url + path, json=body, headers={HEADER: expected}, timeout=120)


def test_every_route_that_embeds_says_the_space_that_is_listed(
    service: Service, spaces: dict[str, str]
) -> None:
    assert [*spaces] == [*TASKS, "none"]
    for task in TASKS:
        assert space_of(service.embed(**TEXTS, task=task)) == spaces[task]
    default = spaces["text-matching"]
    assert space_of(service.embed(**TEXTS)) == default
    azure = service.post("/openai/deployments/quintet-mini/embeddings", **TEXTS)
    assert space_of(azure) == default
    data = [{"text": "one text"}]
    assert space_of(service.post("/invocations", data=data)) == default
    csv = {"content-type": "text/csv"}
    rows = httpx.post(f"{service.url}/invocations", content="a,one text\n", headers=csv)
    assert space_of(rows) == default
    with service.client() as client:
        for model in client.get("/v1/models").json()["data"]:
            assert model["embedding_spaces"] == spaces
    assert HEADER not in service.post("/tokenize", **TEXTS).headers


def test_what_changes_no_vector_changes_no_space(service: Service, spaces: dict[str, str]) -> None:
    for same in (
        {"dimensions": 7},
        {"embedding_type": ["base64", "ubinary"]},
        {"input": ["many"] * 100},
        {"input": "a " * 9000, "truncate": True},
        {"model": "text-embedding-3-small"},
    ):
        assert space_of(service.embed(**{**TEXTS, **same})) == spaces["text-matching"]


def test_late_chunking_and_normalisation_change_it(
    service: Service, spaces: dict[str, str]
) -> None:
    family, member = spaces["text-matching"].split(".")
    late = space_of(service.embed(**TEXTS, late_chunking=True)).split(".")
    assert late[0] == family
    assert late[1] != member
    windows = service.embed(**TEXTS, late_chunking=True, late_chunking_overlap=64)
    assert space_of(windows).split(".") == late
    raw = space_of(service.embed(**TEXTS, normalized=False)).split(".")
    assert raw[0] != family
    assert raw[1] not in (member, late[1])


def test_documents_say_the_space_of_chunks_and_that_of_documents(
    service: Service, spaces: dict[str, str]
) -> None:
    passage = spaces["retrieval.passage"]
    answer = service.post("/v1/documents", **TEXTS)
    body = answer.json()
    late = service.embed(**TEXTS, task="retrieval.passage", late_chunking=True)
    assert body["embedding_space"] == space_of(answer) == space_of(late) != passage
    assert body["document_embedding_space"] == passage
    alone = service.post("/v1/documents", **TEXTS, late_chunking=False, document_embedding=False)
    assert alone.json()["embedding_space"] == space_of(alone) == passage
    assert "document_embedding_space" not in alone.json()


def test_queries_are_asked_for_in_the_family_of_the_passages(
    service: Service, spaces: dict[str, str]
) -> None:
    index = space_of(service.post("/v1/documents", **TEXTS))
    family = index.partition(".")[0]
    query = ask(service, family, task="retrieval.query")
    assert space_of(query) == spaces["retrieval.query"]
    for task in set(TASKS) - {"retrieval.query", "retrieval.passage"}:
        assert_error(ask(service, family, task=task), 412, "INPUT_SPACE_MISMATCH", family)


def test_another_space_than_the_expected_one_is_412_with_both_and_nothing_is_computed(
    service: Service, spaces: dict[str, str]
) -> None:
    found, other = spaces["text-matching"], spaces["separation"]
    assert space_of(ask(service, found)) == found
    batches = service.metric("batch_tokens_count")
    passage = spaces["retrieval.passage"]
    for refused, would_be in (
        (ask(service, other), found),
        (ask(service, found, task="separation"), other),
        (ask(service, ""), found),
        (ask(service, "nonsense"), found),
        (ask(service, spaces["retrieval.query"], task="retrieval.passage"), passage),
        (ask(service, other, "/invocations", data=["x"]), found),
        (ask(service, passage, "/v1/documents", late_chunking=False, task="separation"), other),
    ):
        assert_error(refused, 412, "INPUT_SPACE_MISMATCH", would_be)
        assert refused.headers[HEADER] == would_be
        assert refused.json()["error"]["code"] == "space_mismatch"
    assert other in ask(service, other).json()["detail"]
    assert service.metric("batch_tokens_count") == batches


def test_a_refused_request_says_nothing_of_a_space(service: Service) -> None:
    answer = service.embed(**TEXTS, task="nonsense")
    assert answer.status_code == 422
    assert HEADER not in answer.headers


def test_before_a_worker_has_loaded_the_model_there_are_no_spaces_and_no_answers() -> None:
    async def main() -> None:
        transport = httpx.ASGITransport(create_app(Settings()))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            assert (await client.get("/info")).json()["embedding_spaces"] is None
            (model,) = (await client.get("/v1/models")).json()["data"]
            assert model["embedding_spaces"] is None
            for path, headers in (
                ("/v1/embeddings", {}),
                ("/v1/embeddings", {HEADER: "0123456789ab"}),
                ("/v1/documents", {}),
            ):
                answer = await client.post(path, json={"input": ""}, headers=headers)
                assert_error(answer, 503, "SERVICE_UNAVAILABLE", "no worker has its model loaded")

    asyncio.run(main())


def test_services_with_the_same_weights_have_the_same_spaces_and_another_adapter_changes_its_own(
    original: Path, hf: Path, shape: Shape, tmp_path: Path
) -> None:
    with running(model=original, dtype="float32", max_batch_tokens=64) as service:
        spaces = listed(service)
        assert space_of(service.embed(**TEXTS, task="separation")) == spaces["separation"]
    named = Path(shutil.copytree(hf, tmp_path / "of-another-name"))
    with running(model=named, dtype="bfloat16", devices="cpu,cpu", http_processes=2) as service:
        assert listed(service) == spaces
        assert space_of(service.embed(**TEXTS, task="separation")) == spaces["separation"]
    tuned = shuffled_adapter(random_tensors(shape), [*TASKS].index("separation"))
    with running(model=write_original(tmp_path / "tuned", shape, tuned)) as service:
        changed = listed(service)
        assert {task for task in spaces if spaces[task] != changed[task]} == {"separation"}
        assert ask(service, spaces["separation"], task="separation").status_code == 412
