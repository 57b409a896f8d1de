"""Bulk: batches through a running service, in the order of the input.

Promises
1. Entries are kept in the order of the input, however answers overtake each other.
2. A batch is kept whole, once, before anything behind it is; an interrupted run sends again only
   what was in flight: at most 2 * concurrency batches.
3. At most `concurrency` requests at once, and 2 * concurrency batches in memory.
4. When a batch is refused or a line is bad nothing new is sent; the batches in front of it are
   answered and kept.
5. An interrupt sends nothing more and waits for no answer.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from app.tools.client import Client
from app.tools.errors import RefusedError, ToolError
from app.tools.inputs import Record
from app.tools.journal import Entry

Batch = list[Record]
Embed = Callable[[Batch], Awaitable[Entry]]
T = TypeVar("T")


async def embed_in_order(
    batches: Iterator[Batch],
    embed: Embed,
    keep: Callable[[Entry], Awaitable[None]],
    concurrency: int,
) -> None:
    """Call `keep` with the entry of each batch.

    Raises:
        ToolError: the first one, in the order of the input, that the arguments raise.
    """
    slots = asyncio.Semaphore(concurrency)

    async def embed_in_slot(batch: Batch) -> Entry:
        async with slots:
            return await embed(batch)

    window: deque[asyncio.Future[Entry]] = deque()
    more = True
    try:
        while more or window:
            if not more or len(window) == 2 * concurrency:
                await keep(await window.popleft())
            elif isinstance(following := await _next(batches), list):
                window.append(asyncio.create_task(embed_in_slot(following)))
            else:
                more = False
                window.extend(_failure(following))
            more = more and not any(map(_has_failed, window))
    finally:
        for waiting in window:
            waiting.cancel()
        await asyncio.gather(*window, return_exceptions=True)


async def _next(batches: Iterator[Batch]) -> Batch | ToolError | None:
    """The next batch; None behind the last one; an error of reading takes the batch's place."""
    try:
        return await apart(lambda: next(batches, None))
    except ToolError as error:
        return error


async def apart(work: Callable[[], T]) -> T:
    """What `work` gives, done in a daemon thread: reading a pipe or writing to one may take for
    ever, and nothing can wake who does."""
    found: Future[T] = Future()
    found.set_running_or_notify_cancel()

    def do() -> None:
        try:
            found.set_result(work())
        except BaseException as error:  # noqa: BLE001  (raised again where it is awaited)
            found.set_exception(error)

    threading.Thread(target=do, daemon=True).start()
    return await asyncio.wrap_future(found)


def _failure(error: ToolError | None) -> list[asyncio.Future[Entry]]:
    if error is None:
        return []
    failure: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
    failure.set_exception(error)
    return [failure]


def _has_failed(entry: asyncio.Future[Entry]) -> bool:
    return entry.done() and not entry.cancelled() and entry.exception() is not None


async def embed_batch(client: Client, batch: Batch) -> Entry:
    """One request.

    Raises:
        RefusedError: the request is at fault, and not one of its texts.
        ToolError: a text is refused, and the sentence says which; or there is no answer.
    """
    try:
        return await _answered(client, batch)
    except RefusedError as refused:
        if not refused.blames_an_input:
            raise
        raise ToolError(f"{_place(batch, refused)}: {refused.of_one_text()}") from None


async def embed_or_skip(client: Client, batch: Batch, *, whole: bool) -> Entry:
    """One request, or as many as it takes to tell the texts that are refused from the others;
    without the records that could not be read.

    A batch that is `whole`, a document, fails as one: its texts without one of them are another.

    Raises:
        ToolError: as embed_batch, but for refused texts.
    """
    unread = [record for record in batch if record.error is not None]
    if not unread:
        return await _embed_or_skip(client, batch, whole=whole)
    if whole or len(unread) == len(batch):
        return _failed(batch, None, f"not sent, since its document is not whole: {unread[0].error}")
    rest = [record for record in batch if record.error is None]
    entry = _joined(_failed(unread, None, ""), await _embed_or_skip(client, rest, whole=False))
    return replace(entry, failed=sorted(entry.failed, key=lambda each: each["record"]))


async def _embed_or_skip(client: Client, batch: Batch, *, whole: bool) -> Entry:
    try:
        return await _answered(client, batch)
    except RefusedError as refused:
        if not refused.blames_an_input:
            raise
        if whole or len(batch) == 1:
            return _failed(batch, refused.status, refused.of_one_text())
    half = len(batch) // 2
    front = await _embed_or_skip(client, batch[:half], whole=False)
    return _joined(front, await _embed_or_skip(client, batch[half:], whole=False))


async def _answered(client: Client, batch: Batch) -> Entry:
    if client.chunking:
        return await _chunked(client, batch)
    answer = await client.embed([record.text for record in batch])
    ids = [record.name for record in batch]
    given = any(record.id is not None for record in batch)
    return Entry(len(batch), ids, answer.vectors, answer.tokens, given)


async def _chunked(client: Client, batch: Batch) -> Entry:
    """One request, or several where documents are too much for one together."""
    try:
        answer = await client.chunks([record.text for record in batch])
    except RefusedError as refused:
        if not refused.blames_an_input or refused.index is not None or len(batch) == 1:
            raise
        half = len(batch) // 2
        front = await _chunked(client, batch[:half])
        return _joined(front, await _chunked(client, batch[half:]))
    ids = [batch[index].name for index in answer.documents]
    return Entry(len(batch), ids, answer.vectors, answer.tokens, True, chunks=answer.told)


def _failed(batch: Batch, status: int | None, sentence: str) -> Entry:
    """An entry without vectors. A record that could not be read has no id and no text, and its own
    sentence."""
    failed = [
        {
            "id": None if each.error else each.name,
            "text": None if each.error else each.text,
            "record": each.number,
            "line": each.line,
            "status": None if each.error else status,
            "error": each.error or sentence,
        }
        for each in batch
    ]
    return Entry(len(batch), [], np.empty((0, 0), np.float32), failed=failed)


def _joined(front: Entry, back: Entry) -> Entry:
    parts = [entry.vectors for entry in (front, back) if len(entry.ids)]
    return Entry(
        front.records + back.records,
        front.ids + back.ids,
        np.concatenate(parts) if parts else front.vectors,
        front.tokens + back.tokens,
        front.ids_given or back.ids_given,
        front.failed + back.failed,
        chunks=_of_both(front.chunks, back.chunks),
    )


def _of_both(
    front: list[dict[str, Any]] | None, back: list[dict[str, Any]] | None
) -> list[dict[str, Any]] | None:
    return None if front is None and back is None else [*(front or []), *(back or [])]


def _place(batch: Batch, refused: RefusedError) -> str:
    if refused.index is not None and refused.index < len(batch):
        return batch[refused.index].place
    if len(batch) == 1:
        return batch[0].place
    return f"{batch[0].place} to {batch[-1].place}"
