"""What one process sends is what the other one reads, also in pieces and up to a broken end."""

import asyncio
import socket
import threading

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine import messages
from model.rows import Row
from tests.conftest import random_row


@given(st.integers(0, 2**32 - 1))
def test_rows_arrive_as_they_were_sent(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [
        random_row(rng, int(length), [None, 0, 4][rng.integers(3)], int(rng.integers(1, 4)))
        for length in rng.integers(1, 40, rng.integers(1, 9))
    ]
    found = over_the_wire(messages.embed_message(7, rows))
    assert isinstance(found, messages.Embed)
    assert found.job == 7
    for row, sent in zip(messages.rows_of(found), rows, strict=True):
        assert_same(row, sent)


def assert_same(row: Row, sent: Row) -> None:
    np.testing.assert_array_equal(row.token_ids, sent.token_ids)
    np.testing.assert_array_equal(row.spans, sent.spans)
    assert row.adapter == sent.adapter
    assert row.token_ids.dtype == row.spans.dtype == np.int32


def over_the_wire(message: messages.ToWorker) -> messages.ToWorker | None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=ours.sendall, args=(messages.frame(message),))
        sender.start()
        found = messages.receive_to_worker(theirs)
        sender.join()
        return found


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_vectors_arrive_as_they_were_sent(seed: int, chunk: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((int(rng.integers(1, 9)), 16)).astype(np.float32)
    frames = messages.frame(messages.result_message(3, vectors, 0.5))

    async def read() -> messages.FromWorker | None:
        reader = asyncio.StreamReader()
        for start in range(0, len(frames), chunk * 7):
            reader.feed_data(frames[start : start + chunk * 7])
        reader.feed_eof()
        return await messages.read_from_worker(reader)

    found = asyncio.run(read())
    assert isinstance(found, messages.JobResult)
    np.testing.assert_array_equal(messages.vectors_of(found, 16), vectors)


def test_the_end_of_a_stream_is_none_also_in_the_middle_of_a_message() -> None:
    frame = messages.frame(messages.Cancel(5))
    for size in (0, 2, len(frame) - 1):
        ours, theirs = socket.socketpair()
        with theirs:
            ours.sendall(frame[:size])
            ours.close()
            assert messages.receive_to_worker(theirs) is None
