"""Batch jobs through OpenAI's routes, on a service of two HTTP processes with two keys."""

import json
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.app.answers import assert_error, cosines
from tests.app.batches.asking import ended, jsonl, line, lines_of, seen, submit, upload
from tests.app.batches.conftest import Served
from tests.server import Service
from tests.waiting import wait_until


def test_a_job_answers_each_line_as_the_route_does(served: Served) -> None:
    client, texts = served.one, [f"text {n}" for n in range(40)]
    tasks = ["separation", "retrieval.query"]
    lines = [line(f"c{n}", input=text, task=tasks[n % 2]) for n, text in enumerate(texts)]
    before = served.service.metric("tokens_total", client)
    job = ended(client, submit(client, jsonl(lines), metadata={"for": "a test"}))
    assert job["status"] == "completed"
    assert job["request_counts"] == {"total": 40, "completed": 40, "failed": 0}
    assert job["metadata"] == {"for": "a test"}
    assert job["error_file_id"] is None
    assert job["created_at"] <= job["in_progress_at"] <= job["completed_at"] < job["expires_at"]
    found = lines_of(client, job["output_file_id"])
    assert [each["custom_id"] for each in found] == [f"c{n}" for n in range(40)]
    assert len({each["id"] for each in found}) == 40
    tokens = 0
    for n, each in enumerate(found):
        assert (each["response"]["status_code"], each["error"]) == (200, None)
        body = {"input": texts[n], "task": tasks[n % 2]}
        answer = client.post("/v1/embeddings", json=body)
        alone = answer.json()
        assert each["response"]["embedding_space"] == answer.headers["x-embedding-space"]
        assert each["response"]["body"]["usage"] == alone["usage"]
        tokens += alone["usage"]["total_tokens"]
        pair = [[a["data"][0]["embedding"]] for a in (each["response"]["body"], alone)]
        assert cosines(*map(np.array, pair)).min() > 0.9999
    assert job["progress"]["tokens"] == tokens
    # Charged like any request's, here and when it was asked again; all of them to the key.
    assert served.service.metric("tokens_total", client) == before + 2 * tokens
    assert served.service.metric("key_tokens_total", client) == before + 2 * tokens


def test_documents_are_answered_too(served: Served) -> None:
    body = {"input": "It is late. Good night!", "chunking": {"min_tokens": 1}}
    content = jsonl([line("a", "/v1/documents", **body)])
    job = ended(served.one, submit(served.one, content, endpoint="/v1/documents"))
    (found,) = lines_of(served.one, job["output_file_id"])
    assert len(found["response"]["body"]["data"][0]["chunks"]) == 2
    assert job["progress"]["tokens"] == found["response"]["body"]["usage"]["total_tokens"] > 0


def test_what_was_cut_ignored_or_replaced_is_in_a_lines_response(served: Served) -> None:
    client, long = served.one, "wort " * 9000
    lines: list[str | dict[str, object]] = [
        line("cut", input=["short", long], truncate=True, seed=1),
        line("voyage", input=long, input_type="query"),
        json.dumps(line("half", input="halves \ud83d and \udc00")),
        line("plain", input="short"),
    ]
    job = ended(client, submit(client, jsonl(lines)))
    found = [each["response"] for each in lines_of(client, job["output_file_id"])]
    names = ("truncated_inputs", "ignored_fields", "replaced_surrogates")
    assert [{n: each[n] for n in names if n in each} for each in found] == [
        {"truncated_inputs": "1", "ignored_fields": "seed"},
        {"truncated_inputs": "0"},
        {"replaced_surrogates": "2"},
        {},
    ]


def test_bad_lines_are_in_the_error_file_and_the_job_goes_on(served: Served) -> None:
    bad = {
        2: "no json at all",
        4: json.dumps([1, 2]),
        5: json.dumps(line("a", input="twice")),
        6: json.dumps({**line("get", input="x"), "method": "GET"}),
        7: json.dumps(line("elsewhere", "/v1/documents", input="x")),
        8: json.dumps({**line("body", input="x"), "body": "x"}),
        9: json.dumps({"method": "POST", "url": "/v1/embeddings", "body": {}}),
        10: json.dumps(line("refused", input="x", task="no such task")),
        11: json.dumps(line("long", input="x" * 60_000)),
        12: json.dumps(line("deep", input="x", more=json.loads("[" * 300 + "]" * 300))),
    }
    lines = [bad.get(n, line("a" if n == 1 else f"c{n}", input="fine")) for n in range(1, 14)]
    lines[2] = ""  # a blank line has a number and is no request
    job = ended(served.one, submit(served.one, jsonl(lines)))
    assert job["status"] == "completed"
    assert job["request_counts"] == {"total": 12, "completed": 2, "failed": 10}
    good = lines_of(served.one, job["output_file_id"])
    assert [each["custom_id"] for each in good] == ["a", "c13"]
    errors = {each["line"]: each for each in lines_of(served.one, job["error_file_id"])}
    assert list(errors) == list(bad)
    assert errors[10]["response"]["status_code"] == 422
    assert "unknown task" in errors[10]["response"]["body"]["detail"]
    said = {number: each["error"] for number, each in errors.items() if each["error"]}
    assert all(error["message"].startswith(f"line {n}: ") for n, error in said.items())
    codes = {
        "invalid_json_line": [2, 4],
        "duplicate_custom_id": [5],
        "invalid_method": [6],
        "mismatched_url": [7],
        "invalid_body": [8, 12],
        "invalid_custom_id": [9],
        "line_too_long": [11],
    }
    assert {n: error["code"] for n, error in said.items()} == {
        n: code for code, numbers in codes.items() for n in numbers
    }
    assert "is that of line 1" in said[5]["message"]
    assert "nested more than 254 deep" in said[12]["message"]


@pytest.mark.parametrize(
    ("content", "codes"),
    [
        (b"id,text\n1,a\n2,b", ["invalid_json_line"] * 3),
        (b"\xff\xfe\x00{", ["invalid_json_line"]),
        (b'{\n"custom_id": "a"\n}', ["invalid_json_line"] * 3),
        (b"\n \n", ["empty_file"]),
        (b"x\n" * 50, ["invalid_json_line"] * 10),
        (jsonl([line(str(n), input="x") for n in range(1001)]), ["too_many_lines"]),
    ],
)
def test_a_file_that_is_no_jsonl_fails_with_its_first_faults(
    served: Served, content: bytes, codes: list[str]
) -> None:
    job = ended(served.one, submit(served.one, content))
    assert job["status"] == "failed"
    errors = job["errors"]["data"]
    assert [each["code"] for each in errors] == codes
    if codes[0] == "invalid_json_line":
        assert [each["line"] for each in errors] == [*range(1, len(codes) + 1)]
    assert job["output_file_id"] is job["error_file_id"] is None


def test_jobs_and_files_are_seen_by_their_key_only(served: Served) -> None:
    job = ended(served.one, submit(served.one, jsonl([line("a", input="x")])))
    ids = [job["input_file_id"], job["output_file_id"]]
    for path in (f"/v1/batches/{job['id']}", *(f"/v1/files/{each}" for each in ids)):
        assert served.one.get(path).status_code == 200
        assert_error(served.other.get(path), 404, "RESOURCE_NOT_FOUND", "there is no")
        assert httpx.get(served.service.url + path).status_code == 401
    for each in ids:
        assert served.other.get(f"/v1/files/{each}/content").status_code == 404
        assert served.other.delete(f"/v1/files/{each}").status_code == 404
    assert served.other.post(f"/v1/batches/{job['id']}/cancel").status_code == 404
    body = {"input_file_id": ids[0], "endpoint": "/v1/embeddings"}
    assert served.other.post("/v1/batches", json=body).status_code == 404
    for path in ("/v1/batches", "/v1/files"):
        listed = [each["id"] for each in served.other.get(path).json()["data"]]
        assert not {job["id"], *ids} & set(listed)


def test_pages_of_jobs_and_files(served: Served) -> None:
    client = served.other
    jobs = [ended(client, submit(client, jsonl([line("a", input="x")]))) for _ in range(3)]
    newest = [job["id"] for job in reversed(jobs)]
    first = client.get("/v1/batches", params={"limit": 2}).json()
    assert [each["id"] for each in first["data"]] == newest[:2]
    assert (first["has_more"], first["last_id"]) == (True, newest[1])
    rest = client.get("/v1/batches", params={"limit": 2, "after": newest[1]}).json()
    assert rest["data"][0]["id"] == newest[2]
    outputs = client.get("/v1/files", params={"purpose": "batch_output", "order": "asc"}).json()
    assert [each["id"] for each in outputs["data"]][-3:] == [j["output_file_id"] for j in jobs]
    after = {"after": jobs[1]["output_file_id"], "purpose": "batch_output", "order": "asc"}
    page = client.get("/v1/files", params=after).json()
    assert [each["id"] for each in page["data"]] == [jobs[2]["output_file_id"]]
    for limit in ("0", "x", "101"):
        refused = client.get("/v1/batches", params={"limit": limit})
        assert_error(refused, 422, "VALIDATION_ERROR", "limit")


def test_a_job_is_cancelled_with_what_it_has_done(served: Served) -> None:
    client = served.one
    lines = [line(f"c{n}", input=[f"{n} {i} is a text" for i in range(100)]) for n in range(60)]
    job = submit(client, jsonl(lines))
    wait_until(lambda: seen(client, job)["request_counts"]["completed"], "a first answer")
    busy = client.delete(f"/v1/files/{job['input_file_id']}")
    assert_error(busy, 409, "RESOURCE_CONFLICT", "cancel that first")
    early = client.get(f"/v1/batch/{job['id']}/output")
    assert_error(early, 409, "RESOURCE_CONFLICT", "of 60 lines done")
    assert client.post(f"/v1/batches/{job['id']}/cancel").json()["status"] == "cancelling"
    job = ended(client, job)
    assert job["status"] == "cancelled"
    found = lines_of(client, job["output_file_id"])
    assert 0 < len(found) == job["request_counts"]["completed"] < 60
    assert [each["custom_id"] for each in found] == [f"c{n}" for n in range(len(found))]
    assert client.post(f"/v1/batches/{job['id']}/cancel").json()["status"] == "cancelled"
    done = ended(client, submit(client, jsonl([line("a", input="x")])))
    late = client.post(f"/v1/batches/{done['id']}/cancel")
    assert_error(late, 409, "RESOURCE_CONFLICT", "is completed: there is nothing to cancel")


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"endpoint": "/v1/embeddings"}, 422, "input_file_id"),
        ({"input_file_id": "file-x", "endpoint": "/v1/chat/completions"}, 422, "endpoint"),
        ({"input_file_id": "file-x", "endpoint": "/v1/embeddings"}, 404, "there is no file"),
        (
            {
                "input_file_id": "x",
                "endpoint": "/v1/embeddings",
                "completion_window": "a week",
            },
            *(
                422,
                "completion_window: must be 1 to 9999 hours or days, as 24h or 7d, not 'a week'.",
            ),
        ),
        (
            {"input_file_id": "x", "endpoint": "/v1/embeddings", "completion_window": "99d"},
            *(422, "kept for 30 days"),
        ),
        ({"metadata": "x"}, 422, "metadata must be an object"),
        ({"metadata": {f"{n}": "" for n in range(17)}}, 422, "has 17 entries; a job keeps at most"),
        ({"metadata": {"k" * 65: "x"}}, 422, "has 65 characters; a job keeps at most 64"),
        ({"metadata": {"k": "v" * 513}}, 422, "metadata.k has 513 characters; a job keeps at most"),
        ({"metadata": {"k": 1}}, 422, "metadata.k must be a text"),
    ],
)
def test_what_is_no_job(served: Served, body: dict[str, str], status: int, said: str) -> None:
    if "metadata" in body:
        body = {"input_file_id": "x", "endpoint": "/v1/embeddings", **body}
    refused = served.one.post("/v1/batches", json=body)
    assert refused.status_code == status
    assert said in refused.json()["detail"]


def test_metadata_of_many_faults_is_refused_with_the_first_one(served: Served) -> None:
    job = {"input_file_id": "x", "endpoint": "/v1/embeddings"}
    for metadata in ({f"{n}": n for n in range(3000)}, {f"{n}" * 100: n for n in range(10, 26)}):
        refused = served.one.post("/v1/batches", json={**job, "metadata": metadata})
        assert len(refused.json()["errors"]) == 1
        assert len(refused.content) < 2000
    bounds = {"k" * 62 + f"{n}": "ü" * 512 for n in range(10, 26)}
    job = submit(served.one, jsonl([line("a", input="x")]), metadata=bounds)
    assert ended(served.one, job)["metadata"] == bounds


def test_a_key_that_is_removed_has_the_rest_of_its_lines_refused(served: Served) -> None:
    """Its jobs and files are nobody's then, until they expire."""
    keys = served.folder.parent / "keys"
    before = keys.read_text()
    lines = [line(f"c{n}", input=[f"{n} {i} is a text" for i in range(100)]) for n in range(60)]
    job = submit(served.other, jsonl(lines))
    wait_until(lambda: seen(served.other, job)["request_counts"]["completed"], "a first answer")
    keys.write_text("".join(e for e in before.splitlines(True) if not e.endswith("other\n")))
    assert served.other.get(f"/v1/batches/{job['id']}").status_code == 401
    served.service.log.wait_for(f"{job['id']} is completed")
    keys.write_text(before)
    job = wait_until(
        lambda: (found := seen(served.other, job)).get("id") and found, "the key to be known again"
    )
    counts = job["request_counts"]
    assert counts["completed"] + counts["failed"] == 60
    errors = lines_of(served.other, job["error_file_id"])
    assert errors
    assert {each["response"]["status_code"] for each in errors} == {401}


def test_without_a_folder_the_routes_say_which_setting_is_missing(engine: Service) -> None:
    with engine.client() as client:
        answers = [
            upload(client, b"{}"),
            *(client.get(path) for path in ("/v1/files", "/v1/batches", "/v1/batch/x/output")),
            client.post("/v1/batches", json={}),
            client.post("/v1/batch/embeddings", json={"input": ["x"]}),
        ]
    for answer in answers:
        assert_error(answer, 404, "RESOURCE_NOT_FOUND", "EMBED_DATA_DIR")


def test_nothing_in_the_folder_can_be_read_by_others(served: Served) -> None:
    paths: list[Path] = [served.folder, *served.folder.iterdir()]
    folders = [path for path in paths if path.is_dir()]
    assert all(path.stat().st_mode & 0o077 == 0 for path in folders)
