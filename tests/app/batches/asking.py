"""Asks a service for batch jobs."""

import json
from collections.abc import Iterable
from typing import Any

import httpx

from tests.waiting import wait_until

ENDED = {"completed", "failed", "cancelled", "expired"}


def line(custom_id: str, url: str = "/v1/embeddings", **body: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def jsonl(lines: Iterable[Any]) -> bytes:
    return "\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines).encode()


def upload(client: httpx.Client, content: bytes, **fields: str) -> httpx.Response:
    form = {"purpose": "batch", **fields}
    return client.post("/v1/files", files={"file": ("in.jsonl", content)}, data=form)


def submit(client: httpx.Client, content: bytes, **fields: Any) -> dict[str, Any]:
    """A new job for that file."""
    file = upload(client, content).json()["id"]
    body = {"input_file_id": file, "endpoint": "/v1/embeddings", "completion_window": "24h"}
    answer = client.post("/v1/batches", json={**body, **fields})
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()
    assert job["status"] == "validating"
    return job


def seen(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/v1/batches/{job['id']}").json()
    return found


def ended(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    """The job when it has ended."""

    def end() -> dict[str, Any] | None:
        found = seen(client, job)
        return found if found["status"] in ENDED else None

    return wait_until(end, f"the end of {job['id']}") or {}


def lines_of(client: httpx.Client, file_id: str | None) -> list[dict[str, Any]]:
    """The lines of a file; none if there is no file."""
    if file_id is None:
        return []
    answer = client.get(f"/v1/files/{file_id}/content")
    assert answer.status_code == 200, answer.text
    return [json.loads(each) for each in answer.text.splitlines()]
