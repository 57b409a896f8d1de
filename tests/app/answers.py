"""What answers are looked at with: their vectors, their errors, and the launch post's texts."""

import json
from pathlib import Path

import httpx
import numpy as np

# Four texts on skincare in four languages, and one on make-up in Japanese.
SKINCARE = json.loads((Path(__file__).parent.parent / "golden" / "launch_post.json").read_text())


def vectors(response: httpx.Response) -> np.ndarray:
    assert response.status_code == 200, response.text
    data = response.json()["data"]
    assert [each["index"] for each in data] == list(range(len(data)))
    return np.array([each["embedding"] for each in data], np.float32)


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray((one * other).sum(axis=1) / norms)


def assert_error(response: httpx.Response, status: int, code: str, said: str) -> None:
    assert response.status_code == status
    body = response.json()
    assert isinstance(body["detail"], str)
    assert said in body["detail"]
    assert body["code"] == code
    assert body["request_id"] == response.headers["x-request-id"]
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"] == body["detail"]
    if status == 422:
        assert all(set(e) == {"field", "message", "type", "input"} for e in body["errors"])
        assert all(e["field"].startswith("body") for e in body["errors"])
    else:
        assert "errors" not in body
