"""The control conversation over a real Unix socket: order, limits, and what becomes of nonsense."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from node_runtime.daemon.control import ControlConversation, ControlSocket
from node_runtime.daemon.layout import Layout, connect_control
from node_runtime.errors import NodeError
from schemas.control import Accepted, Identify, Identity, Refused, Reply, Request, Status, decode_reply
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

IDENTITY = Identity(version="0", public_key="ssh-ed25519 AAAA")


class Answers:
    """Answers after a gate opens, and remembers the order."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: list[Request] = []
        self.finished = 0

    async def __call__(self, request: Request, caller: str) -> Reply:
        self.asked.append(request)
        await self.gate.wait()
        self.finished += 1
        if isinstance(request, Status):
            raise ZeroDivisionError("a fault")
        return IDENTITY if isinstance(request, Identify) else Accepted()


@asynccontextmanager
async def serving(layout: Layout, answers: Answers) -> AsyncIterator[None]:
    layout.create()
    server = ControlSocket(layout, answers)
    await server.start()
    try:
        yield
    finally:
        await server.close()


async def connected(layout: Layout) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(sock=connect_control(layout))


async def exchange(layout: Layout, sent: bytes) -> list[Reply]:
    """Everything that is answered to `sent` and the end of it."""
    reader, writer = await connected(layout)
    writer.write(sent)
    writer.write_eof()
    async with asyncio.timeout(10):
        received = await reader.read()
    writer.close()
    return [decode_reply(line) for line in received.splitlines()]


ASK = msgspec.json.encode(Identify())
FAULT = msgspec.json.encode(Status())


async def test_each_line_is_answered_in_order(tmp_path: Path) -> None:
    layout, answers = Layout(tmp_path), Answers()
    async with serving(layout, answers):
        replies = await exchange(layout, ASK + b"\n\n  \r\n" + FAULT + b"\r\n" + ASK)
    assert [type(reply) for reply in replies] == [Identity, Refused, Identity]
    assert len(answers.asked) == 3


async def test_a_request_in_small_pieces(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    async with serving(layout, Answers()):
        reader, writer = await connected(layout)
        for byte in ASK + b"\n":
            writer.write(bytes([byte]))
            await writer.drain()
        assert decode_reply(await reader.readline()) == IDENTITY
        writer.close()


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"{}",
        b'{"op":"reboot"}',
        b'{"op":"identify","extra":1}',
        b'{"op":"apply"}',
        b'{"op":"enrol","node":7}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"null",
    ],
)
async def test_nonsense_is_refused_and_the_conversation_goes_on(tmp_path: Path, line: bytes) -> None:
    layout, answers = Layout(tmp_path), Answers()
    async with serving(layout, answers):
        replies = await exchange(layout, line + b"\n" + ASK + b"\n")
    assert isinstance(replies[0], Refused)
    assert "can't be read" in replies[0].reason
    assert replies[1] == IDENTITY
    assert answers.asked == [Identify()]


async def test_a_fault_in_an_answer_is_a_refusal_without_a_traceback(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    async with serving(layout, Answers()):
        (reply,) = await exchange(layout, FAULT + b"\n")
    assert reply == Refused("the node runtime failed at this request; its log says how")


@pytest.mark.parametrize("ended", [b"", b"\n"], ids=["never ending", "ending at last"])
async def test_a_line_too_long_is_refused(ended: bytes) -> None:
    here, there = socket.socketpair()
    answers = Answers()
    await asyncio.get_running_loop().create_connection(
        lambda: ControlConversation(answers, "test", max_line_bytes=1000), sock=there
    )
    reader, writer = await asyncio.open_unix_connection(sock=here)
    writer.write(b"x" * 1001 + ended)
    async with asyncio.timeout(10):
        reply = decode_reply(await reader.readline())
    assert reply == Refused("a request is longer than 1000 bytes")
    assert not answers.asked
    writer.close()


async def test_a_caller_that_leaves_does_not_undo_its_order(tmp_path: Path) -> None:
    layout, answers = Layout(tmp_path), Answers()
    answers.gate.clear()
    async with serving(layout, answers):
        _, writer = await connected(layout)
        writer.write(ASK + b"\n")
        await until(lambda: answers.asked, "the request is being answered")
        writer.transport.abort()
        second = asyncio.create_task(exchange(layout, ASK + b"\n"))
        await until(lambda: len(answers.asked) == 2, "another caller's request as well")
        answers.gate.set()
        assert await second == [IDENTITY]
    assert answers.finished == 2


async def test_the_socket_is_for_its_owner_and_a_stale_one_is_replaced(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "state")
    layout.create()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(layout.control_socket))
    with pytest.raises(NodeError, match="no node runtime is running"):
        connect_control(layout)
    async with serving(layout, Answers()):
        assert layout.control_socket.stat().st_mode & 0o777 == 0o600
        assert await exchange(layout, ASK) == [IDENTITY]
    assert not layout.control_socket.exists()


async def test_a_state_directory_deeper_than_a_socket_name_may_be(tmp_path: Path) -> None:
    layout = Layout(tmp_path / ("deep" * 20) / ("deeper" * 20))
    assert len(os.fsencode(layout.control_socket)) > 200
    async with serving(layout, Answers()):
        assert await exchange(layout, ASK) == [IDENTITY]
