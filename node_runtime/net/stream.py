"""A session over a byte stream: length-prefixed messages, with pressure in both directions.

It is an asyncio protocol, so it runs alike over a local socket (asyncio's transport) and over an SSH channel
(asyncssh's channel keeps the same contract). It knows frames and nothing of what they mean.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from typing import Any, Protocol, cast

import msgspec

from node_runtime.exchange.messages import MAX_MESSAGE_BYTES, AnyMessage, Blocks, decode, encode
from node_runtime.exchange.session import SessionClosed

_LENGTH = struct.Struct(">I")
MAX_WAITING_BYTES = 16 * 1024 * 1024  # received and not yet looked at; reading pauses above it


class Transport(Protocol):
    """The part of asyncio's (and asyncssh's) transport that is used here."""

    def write(self, data: bytes) -> Any: ...
    def close(self) -> Any: ...
    def pause_reading(self) -> Any: ...
    def resume_reading(self) -> Any: ...


class StreamSession(asyncio.Protocol):
    """A `Session` over any transport that keeps asyncio's protocol contract."""

    def __init__(self) -> None:
        self.bytes_received = 0
        self._transport: Transport | None = None
        self._chunks: deque[memoryview] = deque()  # received, not yet a whole frame
        self._chunk_bytes = 0
        self._need = _LENGTH.size  # bytes until the next step of the frame can be taken
        self._in_frame = False
        self._inbox: deque[tuple[AnyMessage, int]] = deque()
        self._inbox_bytes = 0
        self._reading_paused = False
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._closed_because: str | None = None

    # What the transport calls.

    def connection_made(self, transport: Any) -> None:
        """The stream is open."""
        self._transport = cast(Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take bytes off the stream and turn them into messages."""
        self.bytes_received += len(data)
        self._chunks.append(memoryview(data))
        self._chunk_bytes += len(data)
        try:
            while self._chunk_bytes >= self._need and self._closed_because is None:
                self._step(self._take(self._need))
        except (msgspec.DecodeError, ValueError) as error:
            self.close(f"the peer broke the protocol: {error}")
        if self._inbox_bytes > MAX_WAITING_BYTES and not self._reading_paused and self._transport:
            self._reading_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The peer has closed its side."""
        return False

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The transport's buffer has room again."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The stream is gone; whatever was received whole can still be read."""
        self._end(str(exc) if exc else "the connection was closed")

    # What the engine calls.

    async def send(self, message: AnyMessage) -> None:
        """See `Session.send`."""
        if self._closed_because is not None:
            raise SessionClosed(self._closed_because)
        frame = encode(message)
        if len(frame) > MAX_MESSAGE_BYTES:
            raise ValueError(f"a message of {len(frame)} bytes is over the limit")
        assert self._transport is not None, "send before connection_made"
        self._transport.write(_LENGTH.pack(len(frame)) + frame)
        # Give the loop a turn even where there is room: else a sender that never waits would never learn
        # that the connection is gone.
        await asyncio.sleep(0)
        await self._writable.wait()

    async def send_blocks(self, blocks: Blocks) -> None:
        """See `Session.send_blocks`; on a stream, content keeps its place among the messages."""
        await self.send(blocks)

    async def receive(self) -> AnyMessage:
        """See `Session.receive`."""
        while not self._inbox:
            if self._closed_because is not None:
                raise SessionClosed(self._closed_because)
            self._arrived.clear()
            await self._arrived.wait()
        message, size = self._inbox.popleft()
        self._inbox_bytes -= size
        if self._reading_paused and self._inbox_bytes < MAX_WAITING_BYTES // 2 and self._transport:
            self._reading_paused = False
            self._transport.resume_reading()
        return message

    def close(self, reason: str = "") -> None:
        """See `Session.close`."""
        if self._transport is not None and self._closed_because is None:
            self._transport.close()
        self._end(reason)

    # Frames.

    def _take(self, count: int) -> memoryview | bytes:
        """Exactly `count` bytes off the front, copied only where they span chunks. They are known to be
        there.
        """
        self._chunk_bytes -= count
        first = self._chunks.popleft()
        if len(first) > count:
            self._chunks.appendleft(first[count:])
            return first[:count]
        if len(first) == count:
            return first
        parts = [first]
        missing = count - len(first)
        while missing:
            chunk = self._chunks.popleft()
            if len(chunk) > missing:
                self._chunks.appendleft(chunk[missing:])
                chunk = chunk[:missing]
            parts.append(chunk)
            missing -= len(chunk)
        return b"".join(parts)

    def _step(self, piece: memoryview | bytes) -> None:
        if not self._in_frame:
            (self._need,) = _LENGTH.unpack(piece)
            if not 0 < self._need <= MAX_MESSAGE_BYTES:
                raise ValueError(f"a message of {self._need} bytes")
            self._in_frame = True
            return
        self._in_frame = False
        self._need = _LENGTH.size
        self._inbox.append((decode(piece), len(piece)))
        self._inbox_bytes += len(piece)
        self._arrived.set()

    def _end(self, reason: str) -> None:
        if self._closed_because is None:
            self._closed_because = reason
        self._arrived.set()
        self._writable.set()
