"""What one process sends is what the other one reads, also in pieces and up to a broken end."""

import asyncio
import socket
import threading
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine import framing, messages
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


def over_the_wire(message: messages.ToWorker) -> messages.ToWorker:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=ours.sendall, args=(messages.frame(message),))
        sender.start()
        (found,) = next(framing.receive_frames(theirs))
        sender.join()
        return messages.decode_to_worker(found)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_vectors_arrive_as_they_were_sent(seed: int, chunk: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((int(rng.integers(1, 9)), 16)).astype(np.float32)
    frames = messages.frame(messages.result_message(3, vectors, 0.5))

    async def read() -> messages.FromWorker:
        reader = asyncio.StreamReader()
        for start in range(0, len(frames), chunk * 7):
            reader.feed_data(frames[start : start + chunk * 7])
        reader.feed_eof()
        ((body,),) = [bodies async for bodies in framing.read_frames(reader)]
        return messages.decode_from_worker(body)

    found = asyncio.run(read())
    assert isinstance(found, messages.JobResult)
    np.testing.assert_array_equal(messages.vectors_of(found, 16), vectors)


@given(st.lists(st.binary(max_size=40) | st.just(bytes(200_000)), max_size=9), st.data())
def test_frames_arrive_whole_and_in_order_however_they_are_cut(
    sent: list[bytes], data: st.DataObject
) -> None:
    """Each piece is sent when the one before has been read, or with others at once."""
    stream = b"".join(map(framing.frame, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    ours, theirs = socket.socketpair()

    def send() -> None:
        for start, stop in pairwise([0, *cuts, len(stream)]):
            ours.sendall(stream[start:stop])
        ours.close()

    with theirs:
        sender = threading.Thread(target=send)
        sender.start()
        received = [bytes(body) for frames in framing.receive_frames(theirs) for body in frames]
        sender.join()
    assert received == sent


def test_the_end_of_a_stream_ends_the_frames_also_in_the_middle_of_one() -> None:
    frame = messages.frame(messages.Cancel(5))
    for size in (0, 2, 4, len(frame) - 1):
        ours, theirs = socket.socketpair()
        with theirs:
            ours.sendall(frame + frame[:size])
            ours.close()
            (found,) = (body for bodies in framing.receive_frames(theirs) for body in bodies)
            assert messages.decode_to_worker(found) == messages.Cancel(5)
