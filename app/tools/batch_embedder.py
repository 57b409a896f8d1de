"""Batches of records -> the journal's entries, by one request or more for each batch."""

import itertools
from dataclasses import dataclass, replace

import numpy as np

from app.tools.client_bodies import RequestOptions
from app.tools.http_client import Client
from app.tools.input_records import Record
from app.tools.journal import Entry
from app.tools.tool_errors import RefusedError, ToolError

RequestBatch = list[Record]


@dataclass(slots=True)
class BatchEmbedder:
    """Embeds batches with the same options; `skip_errors` leaves out what is refused. All vectors
    are in one embedding space: `space`, or that of the first answer."""

    client: Client
    options: RequestOptions
    skip_errors: bool
    space: str | None = None

    async def embed(self, batch: RequestBatch) -> Entry:
        """The entry of a batch.

        Raises:
            RefusedError: the request is at fault, and not one of its texts.
            ToolError: a text is refused, which the sentence names, unless errors are to be
                skipped; or there is no answer.
        """
        if self.skip_errors:
            return await self._embed_or_skip(batch)
        try:
            return await self._request(batch)
        except RefusedError as refused:
            if not refused.blames_an_input:
                raise
            raise ToolError(f"{_place(batch, refused)}: {refused.without_index()}") from None

    async def _embed_or_skip(self, batch: RequestBatch) -> Entry:
        """Embed the records that can be read.

        The batch of late chunking is a document and fails as one: without one of its texts the
        vectors of the others would be different ones.
        """
        unread = [record for record in batch if record.error is not None]
        if not unread:
            return await self._embed_halves(batch)
        if self.options.late_chunking or len(unread) == len(batch):
            cause = f"not sent, since its document is not whole: {unread[0].error}"
            return _failed(batch, None, cause)
        readable = [record for record in batch if record.error is None]
        entry = _joined(_failed(unread, None, ""), await self._embed_halves(readable))
        return replace(entry, failed=sorted(entry.failed, key=lambda each: each["record"]))

    async def _embed_halves(self, batch: RequestBatch) -> Entry:
        """One request, or as many as it takes to separate the texts that are refused."""
        try:
            return await self._request(batch)
        except RefusedError as refused:
            if not refused.blames_an_input:
                raise
            if self.options.late_chunking or len(batch) == 1:
                return _failed(batch, refused.status, refused.without_index())
        half = len(batch) // 2
        front = await self._embed_halves(batch[:half])
        return _joined(front, await self._embed_halves(batch[half:]))

    async def _request(self, batch: RequestBatch, first: int = 0) -> Entry:
        """One request, or several where the texts are too much for one together. `first` is the
        place of the batch in the whole one, by which a refused text is counted."""
        try:
            chunked = self.options.chunking is not None
            return await (self._embed_chunks(batch) if chunked else self._embed_texts(batch))
        except RefusedError as refused:
            if self.options.late_chunking or not refused.blames_an_input:
                raise
            if refused.index is not None or len(batch) == 1:
                refused.index = first + (refused.index or 0)
                raise
        half = len(batch) // 2
        front = await self._request(batch[:half], first)
        return _joined(front, await self._request(batch[half:], first + half))

    async def _embed_texts(self, batch: RequestBatch) -> Entry:
        texts = [record.text for record in batch]
        answer = await self.client.embed(texts, self.options, self.space)
        self._check_space(answer.space)
        ids = [record.name for record in batch]
        given = any(record.id is not None for record in batch)
        return Entry(len(batch), ids, answer.vectors, answer.tokens, given, space=answer.space)

    async def _embed_chunks(self, batch: RequestBatch) -> Entry:
        texts = [each.text for each in batch]
        answer = await self.client.embed_chunks(texts, self.options, self.space)
        self._check_space(answer.space)
        ids = [batch[index].name for index in answer.documents]
        entry = Entry(len(batch), ids, answer.vectors, answer.tokens, True, space=answer.space)
        return replace(entry, chunks=answer.details)

    def _check_space(self, space: str | None) -> None:
        """
        Raises:
            ToolError: vectors before are in another embedding space.
        """
        if self.space is None:
            self.space = space
        elif space != self.space:
            raise ToolError(
                f"the service answers in the embedding space {space}; vectors before are in "
                f"{self.space}. Ask the service that gave those, or start over with --restart."
            )


def _failed(batch: RequestBatch, status: int | None, sentence: str) -> Entry:
    """An entry without vectors. A record that could not be read has neither id nor text, and a
    sentence of its own."""
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
    vectors = [entry.vectors for entry in (front, back) if len(entry.ids)]
    chunks = [entry.chunks for entry in (front, back) if entry.chunks is not None]
    return Entry(
        front.records + back.records,
        front.ids + back.ids,
        np.concatenate(vectors) if vectors else front.vectors,
        front.tokens + back.tokens,
        front.ids_given or back.ids_given,
        front.failed + back.failed,
        chunks=[*itertools.chain(*chunks)] if chunks else None,
        space=front.space or back.space,
    )


def _place(batch: RequestBatch, refused: RefusedError) -> str:
    if refused.index is not None and refused.index < len(batch):
        return batch[refused.index].place
    if len(batch) == 1:
        return batch[0].place
    return f"{batch[0].place} to {batch[-1].place}"
