"""A peer behind a server with a batcher: one task, one model.

    python serve.py BACKEND DTYPE PORT FOLDER [--rows 32] [--multiple 8] [--one-by-one]

Runs in an environment of its own (requirements.txt). FOLDER has config.json, model.safetensors and
tokenizer.json of an XLM-RoBERTa, random weights, of the same shape as the Quintet beside it. Texts
are tokenised while a batch is computed; then all that wait are sorted by length, so that little is
padding, and go in batches of at most `rows`, padded to a multiple, so that few shapes are new.
"""

import argparse
import asyncio
import base64
import json
import threading
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import uvicorn
from backends import BACKENDS, Hidden
from tokenizers import Tokenizer


class Batcher:
    """Computes what waits, in a thread of its own."""

    def __init__(self, hidden: Hidden, options: argparse.Namespace) -> None:
        self._hidden, self._options = hidden, options
        self._waiting: SimpleQueue = SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    async def embed(self, rows: list[list[int]]) -> list[np.ndarray]:
        """The unit vectors of the rows."""
        loop = asyncio.get_running_loop()
        found = loop.create_future()
        self._waiting.put((rows, found, loop))
        return await found

    def _work(self) -> None:
        while True:
            jobs = [self._waiting.get()]
            if not self._options.one_by_one:
                jobs += [self._waiting.get() for _ in range(self._waiting.qsize())]
            places = [
                (job, place) for job, (rows, *_) in enumerate(jobs) for place in range(len(rows))
            ]
            places.sort(key=lambda at: len(jobs[at[0]][0][at[1]]))
            vectors = [[None] * len(rows) for rows, *_ in jobs]
            for at in range(0, len(places), self._options.rows):
                part = places[at : at + self._options.rows]
                found = self._batch([jobs[job][0][place] for job, place in part])
                for (job, place), vector in zip(part, found, strict=True):
                    vectors[job][place] = vector
            for (_, asked, loop), own in zip(jobs, vectors, strict=True):
                loop.call_soon_threadsafe(asked.set_result, own)

    def _batch(self, rows: list[list[int]]) -> np.ndarray:
        """Pad, run, pool, normalise."""
        multiple = self._options.multiple
        longest = -(-max(map(len, rows)) // multiple) * multiple
        ids = np.full((len(rows), longest), 1, np.int64)
        mask = np.zeros((len(rows), longest), np.int64)
        for number, row in enumerate(rows):
            ids[number, : len(row)], mask[number, : len(row)] = row, 1
        hidden = self._hidden(ids, mask)
        pooled = np.einsum("rtd,rt->rd", hidden, mask.astype(np.float32))
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


def application(batcher: Batcher, tokenizer: Tokenizer):
    """POST /v1/embeddings, as an ASGI application; the task is ignored: there is one."""

    async def app(scope, receive, send) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        texts = json.loads(body)["input"] if body else []
        rows = [each.ids for each in tokenizer.encode_batch_fast(texts)]
        vectors = await batcher.embed(rows) if rows else []
        data = ",".join(
            f'{{"object":"embedding","index":{index},"embedding":"{base64.b64encode(row).decode()}"}}'
            for index, row in enumerate(vectors)
        )
        tokens = sum(map(len, rows))
        answer = f'{{"data":[{data}],"usage":{{"total_tokens":{tokens}}}}}'.encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


def main() -> None:
    """Load and serve."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("backend", choices=BACKENDS)
    parser.add_argument("dtype")
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--multiple", type=int, default=8)
    parser.add_argument("--one-by-one", action="store_true", help="no batcher: a request a batch")
    options = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(options.folder / "tokenizer.json"))
    tokenizer.enable_truncation(512)
    batcher = Batcher(BACKENDS[options.backend](options.folder, options.dtype), options)
    app = application(batcher, tokenizer)
    uvicorn.run(app, port=options.port, log_level="warning", lifespan="off")


if __name__ == "__main__":
    main()
