"""Messages over a byte stream: cut anywhere, slow readers, broken frames, closing."""

from __future__ import annotations

import asyncio
import itertools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_runtime.exchange.messages import (
    MAX_MESSAGE_BYTES,
    Ack,
    AnyMessage,
    Block,
    Blocks,
    Challenge,
    encode,
)
from node_runtime.exchange.session import SessionClosed
from node_runtime.net.stream import MAX_WAITING_BYTES, StreamSession
from tests.support.engine import DEADLINE_S, pair_of_sessions

pytestmark = pytest.mark.anyio


class Wire:
    """A transport that records what is asked of it."""

    def __init__(self) -> None:
        self.written = b""
        self.paused = False
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


def opened() -> tuple[StreamSession, Wire]:
    session, wire = StreamSession(), Wire()
    session.connection_made(wire)
    return session, wire


def frame(message: AnyMessage) -> bytes:
    encoded = encode(message)
    return struct.pack(">I", len(encoded)) + encoded


SAID: list[AnyMessage] = [
    Ack(1),
    Challenge([b"a", b"\xff" * 300]),
    Blocks([Block(1, 0, b"x" * 1000)]),
    Ack(2),
]
BYTES = b"".join(frame(message) for message in SAID)


@given(cuts=st.lists(st.integers(0, len(BYTES)), max_size=12))
@settings(max_examples=60, deadline=None)
def test_frames_survive_every_cut(cuts: list[int]) -> None:
    async def receive() -> list[AnyMessage]:
        session, _ = opened()
        places = [0, *sorted(cuts), len(BYTES)]
        for start, end in itertools.pairwise(places):
            session.data_received(BYTES[start:end])
        return [await session.receive() for _ in SAID]

    assert asyncio.run(receive()) == SAID


async def test_one_byte_at_a_time() -> None:
    session, _ = opened()
    for place in range(len(BYTES)):
        session.data_received(BYTES[place : place + 1])
    assert [await session.receive() for _ in SAID] == SAID


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0\0\0\0",
        struct.pack(">I", MAX_MESSAGE_BYTES + 1),
        b"\xff\xff\xff\xff",
        b"\0\0\0\1\xc1",
        b"\0\0\0\2\x91\x63",  # a message of no known kind
        frame(Ack(1))[:4] + b"\xc0" * (len(frame(Ack(1))) - 4),
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
async def test_a_broken_frame_ends_the_session_after_what_was_whole(garbage: bytes) -> None:
    session, wire = opened()
    session.data_received(frame(Ack(1)) + garbage + frame(Ack(2)))
    assert await session.receive() == Ack(1)
    with pytest.raises(SessionClosed, match="broke the protocol"):
        await session.receive()
    assert wire.closed
    with pytest.raises(SessionClosed):
        await session.send(Ack(3))


async def test_reading_pauses_while_nobody_looks() -> None:
    session, wire = opened()
    block = frame(Blocks([Block(1, 0, bytes(1_000_000))]))
    sent = 0
    while not wire.paused:
        session.data_received(block)
        sent += 1
        assert sent < 100, "it never pauses"
    assert sent * 1_000_000 <= MAX_WAITING_BYTES + 2_000_000
    for _ in range(sent):
        await session.receive()
    assert not wire.paused


async def test_a_sender_waits_while_the_peer_is_slow_and_is_woken_by_a_close() -> None:
    session, _ = opened()
    session.pause_writing()
    sending = asyncio.create_task(session.send(Ack(1)))
    await asyncio.sleep(0)
    assert not sending.done()
    session.resume_writing()
    await asyncio.wait_for(sending, DEADLINE_S)
    session.pause_writing()
    sending = asyncio.create_task(session.send(Ack(2)))
    await asyncio.sleep(0)
    session.connection_lost(None)
    await asyncio.wait_for(asyncio.gather(sending, return_exceptions=True), DEADLINE_S)
    with pytest.raises(SessionClosed):
        await session.send(Ack(3))


async def test_what_was_received_whole_is_read_after_the_stream_is_lost() -> None:
    session, _ = opened()
    session.data_received(frame(Ack(1)) + frame(Ack(2)))
    session.connection_lost(ConnectionResetError("reset by peer"))
    assert [await session.receive(), await session.receive()] == [Ack(1), Ack(2)]
    with pytest.raises(SessionClosed, match="reset by peer"):
        await session.receive()


async def test_a_close_wakes_whoever_receives_and_can_be_repeated() -> None:
    session, wire = opened()
    receiving = asyncio.create_task(session.receive())
    await asyncio.sleep(0)
    session.close("enough")
    session.close("again")
    with pytest.raises(SessionClosed, match="enough"):
        await asyncio.wait_for(receiving, DEADLINE_S)
    assert wire.closed


async def test_what_was_sent_before_a_close_arrives() -> None:
    near, far = await pair_of_sessions()
    content = Blocks([Block(1, 0, bytes(900_000))])
    sending = asyncio.create_task(_send_all(near, [content] * 20))
    for _ in range(20):
        assert await asyncio.wait_for(far.receive(), DEADLINE_S) == content
    await sending
    with pytest.raises(SessionClosed):
        await asyncio.wait_for(far.receive(), DEADLINE_S)
    far.close()


async def _send_all(session: StreamSession, messages: list[Blocks]) -> None:
    for message in messages:
        await session.send_blocks(message)
    session.close()


async def test_a_message_over_the_limit_is_not_sent() -> None:
    session, wire = opened()
    with pytest.raises(ValueError, match="over the limit"):
        await session.send(Challenge([bytes(MAX_MESSAGE_BYTES)]))
    assert wire.written == b""
