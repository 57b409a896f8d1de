"""What routes that embed have in common: read the body, compute unless the caller disconnects, and
record what it took in the access log and the metrics."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from app.api.context import request_of, service_of
from app.api.embeddings import Result
from app.api.service_tiers import FLEX, TIER
from app.api.spaces import Call
from app.errors import SPACE_HEADER, ClientDisconnectedError

T = TypeVar("T")


async def respond(
    request: Request, answer: Callable[[bytes, Call], Coroutine[Any, Any, Result]]
) -> Response:
    """The response of `answer` to the body of a request behind `admitted`.

    Raises:
        QuintetError: whatever `Bodies.read` and `answer` raise.
        ClientDisconnectedError: the caller disconnected before the answer.
    """
    service, context = service_of(request.app), request_of(request)
    call = Call(context.budget, request.headers.get(SPACE_HEADER))
    try:
        async with service.bodies.read(request, call.budget) as body:
            result = await _unless_disconnected(request, answer(body, call))
    finally:
        if call.flex:
            context.log_line.fields[TIER] = FLEX
    fields, metrics = result.log_fields, service.metrics
    context.log_line.fields.update(fields)
    metrics.tokens.labels(fields["task"]).inc(fields["tokens"])
    metrics.documents.inc(fields.get("documents", 0))
    metrics.chunks.inc(fields.get("chunks", 0))
    if context.key_name:
        metrics.key_tokens.labels(context.key_name).inc(fields["tokens"])
    return Response(result.body, media_type=result.media_type, headers=result.headers)


async def _unless_disconnected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await `work`, or cancel it when the caller disconnects. The body must have been read."""
    task, disconnected = asyncio.current_task(), False
    assert task is not None, "requests are answered in tasks"

    async def watch() -> None:
        nonlocal disconnected
        await _disconnect(request)
        disconnected = True
        task.cancel()  # whatever `work` awaits

    watching = asyncio.create_task(watch())
    try:
        return await work
    except asyncio.CancelledError:
        if disconnected and not task.uncancel():
            raise ClientDisconnectedError("the caller hung up before the answer.") from None
        raise  # by somebody else
    finally:
        watching.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
