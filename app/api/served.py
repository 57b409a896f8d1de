"""Served: what all endpoints have in common."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from app.api.answers import Model
from app.api.bodies import Bodies
from app.api.connection import read_body
from app.api.embeddings import Embeddings
from app.engine.client import EngineClient
from app.errors import UnavailableError
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import Tracing


@dataclass(slots=True)
class Served:
    """What the endpoints need, as `app.state.served`."""

    embeddings: Embeddings
    engine: EngineClient
    metrics: Metrics
    bodies: Bodies
    models: tuple[Model, ...]
    settings: Settings
    facts: dict[str, Any]
    tracing: Tracing | None
    draining: bool = field(default=False)

    @contextlib.asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The request's body, bounded in bytes and seconds, and held until the block ends."""
        limits = self.settings.max_body_bytes, self.settings.body_timeout_s
        with self.bodies.share() as share:
            try:
                body = await read_body(request, *limits, share)
            except UnavailableError:
                await request.state.budget.give_back()
                raise
            yield body

    def account(self, request: Request, facts: dict[str, Any]) -> None:
        """Enter what is known of an answered request into its log line and the metrics."""
        request.state.facts.update(facts)
        self.metrics.tokens.labels(facts["task"]).inc(facts["tokens"])
        self.metrics.documents.inc(facts.get("documents", 0))
        self.metrics.chunks.inc(facts.get("chunks", 0))
        if key := request.state.facts.get("key"):
            self.metrics.key_tokens.labels(key).inc(facts["tokens"])
