"""The control conversation, served: one request a line, one reply a line, in order.

It decides what a line is and what becomes of one that can't be read; what a request does is decided by
whoever answers. It is an asyncio protocol, so the Unix socket here and the SSH subsystem speak it alike.
Whoever can open the socket may give every order: it lies in a directory that only this user can enter.
Read on in `schemas/control.py` (the words) and `node` (the answers).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import cast

import msgspec

from node_runtime.daemon.layout import Layout, short_path
from node_runtime.errors import NodeError
from schemas.control import MAX_LINE_BYTES, Refused, Reply, Request, decode_request

Answer = Callable[[Request, str], Awaitable[Reply]]  # the request, and who asks

log = logging.getLogger(__name__)


class ControlConversation(asyncio.Protocol):
    """One caller. Requests are answered one after the other; while one is answered, no more is read."""

    def __init__(self, answer: Answer, caller: str, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._answer = answer
        self._caller = caller
        self._max_line_bytes = max_line_bytes
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._searched_bytes = 0  # of `received`, known to hold no end of line
        self._answering: asyncio.Task[None] | None = None
        self._ended = False  # the caller sends no more

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A caller is there."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Part of a line, or several."""
        self._received += data
        self._proceed()

    def eof_received(self) -> bool:
        """The caller has asked everything; what it asked is still answered."""
        self._ended = True
        self._proceed()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller is gone. What it asked for is finished: half an order is worse than none."""
        self._transport = None

    def _proceed(self) -> None:
        """Answer the next whole line, unless one is being answered."""
        if self._answering is not None or self._transport is None:
            return
        line = self._take_line()
        if line is not None:
            self._transport.pause_reading()
            self._answering = asyncio.get_running_loop().create_task(self._reply(line))
        elif len(self._received) > self._max_line_bytes:
            self._send(Refused(f"a request is longer than {self._max_line_bytes} bytes"))
            self._received.clear()
            self._transport.close()
        elif self._ended:
            self._transport.close()

    def _take_line(self) -> bytes | None:
        while True:
            end = self._received.find(b"\n", self._searched_bytes)
            if end < 0 and not (self._ended and self._received):
                self._searched_bytes = len(self._received)
                return None
            end = len(self._received) if end < 0 else end  # the last line may lack its end
            line = bytes(self._received[:end]).strip()
            del self._received[: end + 1]
            self._searched_bytes = 0
            if line:
                return line

    async def _reply(self, line: bytes) -> None:
        reply = await self._answer_line(line)
        self._answering = None
        if self._transport is not None:
            self._send(reply)
            self._transport.resume_reading()
            self._proceed()

    async def _answer_line(self, line: bytes) -> Reply:
        if len(line) > self._max_line_bytes:
            return Refused(f"a request is longer than {self._max_line_bytes} bytes")
        try:
            request = decode_request(line)
        except (msgspec.DecodeError, RecursionError) as error:
            log.warning("unreadable request from=%s: %s", self._caller, error)
            return Refused(f"the request can't be read: {error}")
        try:
            return await self._answer(request, self._caller)
        except NodeError as error:
            return Refused(str(error))
        except Exception:
            log.exception("a request failed from=%s request=%s", self._caller, type(request).__name__)
            return Refused("the node runtime failed at this request; its log says how")

    def _send(self, reply: Reply) -> None:
        assert self._transport is not None
        self._transport.write(msgspec.json.encode(reply) + b"\n")


class ControlSocket:
    """The Unix socket. Its owner holds the state directory's lock, so a socket that is there is stale."""

    def __init__(self, layout: Layout, answer: Answer) -> None:
        self._layout = layout
        self._answer = answer
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; a socket left by a crash is replaced."""
        path = self._layout.control_socket
        listening = socket.socket(socket.AF_UNIX)
        try:
            path.unlink(missing_ok=True)
            with short_path(path) as address:
                listening.bind(address)
            path.chmod(0o600)
        except OSError as error:
            listening.close()
            raise NodeError(f"can't make the control socket {path}: {error.strerror}") from None
        self._server = await asyncio.get_running_loop().create_unix_server(
            lambda: ControlConversation(self._answer, "control socket"), sock=listening
        )

    async def close(self) -> None:
        """Stop listening and take the socket's name away."""
        if self._server is not None:
            self._server.close()
            self._layout.control_socket.unlink(missing_ok=True)
