"""The control conversation over any byte stream: a line of JSON out, a line of JSON back.

It decides how requests and replies are framed, how long a line and a silence may be, and what is said of
a stream that ends or holds something else. `StreamHost` is the host contract over such a stream; how one
is opened, `local` and `ssh` know.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from orchestrator.apply.host import KEPT_TIMEOUT_S, REPLY_TIMEOUT_S, Unreachable
from schemas.control import MAX_LINE_BYTES, Reply, Request, decode_reply
from schemas.kept import ListVersions, Restore

CHUNK_BYTES = 256 * 1024
SHOWN_BYTES = 200  # of what a peer sent instead of a reply


class Reader(Protocol):
    """The half that reads: asyncio's StreamReader, or asyncssh's SSHReader of bytes."""

    async def read(self, n: int = -1, /) -> bytes: ...


class Writer(Protocol):
    """The half that writes."""

    def write(self, data: bytes, /) -> None: ...
    async def drain(self) -> None: ...


class Broken(Exception):
    """The conversation can't go on. Hosts turn it into `Unreachable`, which knows the node."""


async def _nothing() -> str:
    return ""


class Conversation:
    """Requests and replies in turn over one open stream.

    `last_words` gives what the far side printed to its error stream, asked for only when the
    stream ended without a reply.
    """

    def __init__(
        self, reader: Reader, writer: Writer, last_words: Callable[[], Awaitable[str]] = _nothing
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._last_words = last_words
        self._surplus = b""  # bytes behind the last reply

    async def ask(self, request: Request) -> Reply:
        """One request, one reply. Raises `Broken`, or what the stream raises."""
        timeout_s = KEPT_TIMEOUT_S if isinstance(request, ListVersions | Restore) else REPLY_TIMEOUT_S
        try:
            async with asyncio.timeout(timeout_s):
                self._writer.write(msgspec.json.encode(request) + b"\n")
                await self._writer.drain()
                line = await self._read_line()
        except TimeoutError:
            raise Broken(f"connected, but gave no answer within {timeout_s:.0f} s") from None
        except (BrokenPipeError, ConnectionResetError):
            raise Broken(await self._ended()) from None
        try:
            reply: Reply = decode_reply(line)
        except msgspec.MsgspecError as error:
            if not line.startswith(b"{"):
                raise Broken(
                    f"something else answered: {_shown(line)}; a shell's startup files must print nothing"
                ) from None
            raise Broken(f"answered with what this version doesn't understand: {error}") from None
        return reply

    async def _read_line(self) -> bytes:
        chunks = [self._surplus]
        length = len(self._surplus)
        while b"\n" not in chunks[-1]:
            chunk = await self._reader.read(CHUNK_BYTES)
            if not chunk:
                if length:
                    raise Broken(f"hung up in the middle of an answer: {_shown(b''.join(chunks))}")
                raise Broken(await self._ended())
            chunks.append(chunk)
            length += len(chunk)
            if length > MAX_LINE_BYTES:
                raise Broken(f"sent an answer longer than {MAX_LINE_BYTES} bytes")
        line, _, self._surplus = b"".join(chunks).partition(b"\n")
        return line

    async def _ended(self) -> str:
        said = await self._last_words()
        return f"hung up without an answer: {said}" if said else "hung up without an answer"


class StreamHost(ABC):
    """A host whose conversation runs over a stream: opened when needed, kept, given up at any failure."""

    failures: tuple[type[BaseException], ...] = (OSError,)  # what opening and using the stream may raise

    def __init__(self, node: str) -> None:
        self._node = node
        self._conversation: Conversation | None = None
        self._turn = asyncio.Lock()  # one request at a time, the one that opens the stream included

    @property
    def node(self) -> str:
        """The node's name in the inventory."""
        return self._node

    async def request(self, request: Request) -> Reply:
        """Ask, and wait for the answer. Raises `Unreachable`."""
        async with self._turn:
            try:
                if self._conversation is None:
                    self._conversation = await self.open()
                return await self._conversation.ask(request)
            except Broken as error:
                reason = str(error)
            except self.failures as error:
                reason = self.reason(error)
            await self.close()
            raise Unreachable(self.node, reason)

    async def close(self) -> None:
        """Hang up."""
        self._conversation = None
        await self.hang_up()

    @abstractmethod
    async def open(self) -> Conversation:
        """Open the stream. Raises `Broken`, or one of `failures`."""

    @abstractmethod
    async def hang_up(self) -> None:
        """Close what `open` opened, however far it got."""

    @abstractmethod
    def reason(self, error: BaseException) -> str:
        """One of `failures`, for the operator, with what to do about it."""


def printable(text: str) -> str:
    """What a peer said, on one line, without what would steer a terminal."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def _shown(line: bytes) -> str:
    """The beginning of what a peer sent instead of an answer."""
    text = printable(line[:SHOWN_BYTES].decode("utf-8", "replace"))
    return f'"{text}{"…" if len(line) > SHOWN_BYTES else ""}"'
