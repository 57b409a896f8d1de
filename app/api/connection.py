"""Connection: a caller's body, bounded, and whether the caller is still there."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from app.api.bodies import Share
from app.api.parts import check_parts
from app.errors import BodyTimeoutError, BodyTooLargeError, ClientGoneError, EncodedBodyError

T = TypeVar("T")


async def read_body(request: Request, limit: int, timeout_s: float, share: Share) -> bytes:
    """The body, of at most `limit` bytes, counted by its header and again while it is read.

    Raises:
        EncodedBodyError: it is compressed.
        BodyTooLargeError, TooManyPartsError: it is longer, or has too many parts.
        BodiesFullError: it does not fit beside those of other requests.
        BodyTimeoutError: it is not there after `timeout_s` seconds.
        ClientGoneError: the caller hung up on the way.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.strip().lower() not in ("", "identity"):
        raise EncodedBodyError(encoding)
    declared = request.headers.get("content-length", "")
    if declared.isdigit():
        if int(declared) > limit:
            raise BodyTooLargeError(limit, int(declared))
        share.expect(int(declared))
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for part in request.stream():
                body += part
                if len(body) > limit:
                    raise BodyTooLargeError(limit)
                share.grow(len(body))
    except TimeoutError:
        raise BodyTimeoutError(timeout_s) from None
    except ClientDisconnect:
        raise ClientGoneError("the caller hung up while sending the body.") from None
    whole = bytes(body)
    check_parts(whole)
    return whole


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await `work`, or cancel it when the caller hangs up. The body must have been read.

    Raises:
        ClientGoneError: the caller hung up.
    """
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_hang_up(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGoneError("the caller hung up before the answer.")
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
