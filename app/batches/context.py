"""What the routes of batch jobs share in one process, and how they find it."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from fastapi import FastAPI, Request

from app.api.context import request_of
from app.api.request_models import EmbeddingsRequest
from app.batches.folder import Shelf
from app.batches.runner import Runner
from app.errors import NotFoundError
from app.settings import PREFIX

log = logging.getLogger("quintet.batches")


@dataclass(frozen=True, slots=True)
class Batches:
    """The batch jobs of a folder. `check` refuses what the model does not take, where it is known;
    it raises a RequestError."""

    shelf: Shelf
    runner: Runner
    check: Callable[[EmbeddingsRequest], object] = lambda _: None


def attach_batches(app: FastAPI, batches: Batches | None) -> None:
    """Let `batches_of` find them; None where there is no folder for them."""
    app.state.batches = batches


def batches_of(request: Request) -> Batches:
    """The batch jobs here.

    Raises:
        NotFoundError: there are none.
    """
    batches: Batches | None = request.app.state.batches
    if batches is None:
        raise NotFoundError(
            "batch jobs are off here: whoever runs the service turns them on by setting "
            f"{PREFIX}DATA_DIR to a folder."
        )
    return batches


def owner_of(request: Request) -> str:
    """Whose jobs and files a request may see; the same for everyone where there are no keys."""
    return request_of(request).key_name or ""


@contextlib.asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[None]:
    """Work on jobs as long as the block lasts, if there are any."""
    batches: Batches | None = app.state.batches
    if batches is None:
        yield
        return
    task = asyncio.create_task(batches.runner.run())
    try:
        yield
    finally:
        batches.runner.stop()
        await task
        await asyncio.to_thread(batches.shelf.store.close)
