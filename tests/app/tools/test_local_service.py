"""The service that a tool starts for itself."""

import asyncio
from pathlib import Path

import httpx
import pytest

from app.tools.local_service import local_service


def test_a_revision_of_the_settings_is_of_their_own_model(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBED_MODEL", "jinaai/jina-embeddings-v3")
    monkeypatch.setenv("EMBED_MODEL_REVISION", "v1.0")

    async def revision() -> str | None:
        async with local_service(str(original)) as url, httpx.AsyncClient() as client:
            info = (await client.get(f"{url}/info")).json()
            found: str | None = info["revision"]
            return found

    assert asyncio.run(revision()) is None
