"""Two directories brought in step without a fleet: the same engine under a plan of one edge.

The near end (`Pair`) starts the far end (`serve`) as a child process, here or through ssh, and talks to
it over the child's stdin and stdout. Before the session each side says one line of JSON:

    near → far   {"path": …}                       which directory, and what for
    far → near   {"node": …, "identity": …, "path": …}   or {"error": …}
    near → far   {"plan": …, "end": …, …}          the whole edge, as both ends run it

From then on it is a session like any other. Who may do what is settled by who may start the child.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from node_runtime import VERSION
from node_runtime.daemon.link import Link
from node_runtime.daemon.talk import Manner, Talk
from node_runtime.daemon.tending import ReplicaSpec, Tending
from node_runtime.errors import NodeError, PeerError
from node_runtime.exchange.conversation import offers, pulls
from node_runtime.exchange.messages import Bye, End, Tally
from node_runtime.net.stream import StreamSession
from schemas.adhoc import FarEnd, Opening, Request, Start
from schemas.plans import GuardPlan, ReplicaRef, ReplicationPlan, SyncPlan

SOCKET_BYTES = 4 * 1024 * 1024
MAX_LINE_BYTES = 1024 * 1024
WATCH_DEBOUNCE_S = 0.5
WATCH_RESCAN_S = 600.0


def state_directory() -> Path:
    """Where the indexes of ad hoc replicas live between runs."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "state") / "syncgraph" / "adhoc"


def identity() -> str:
    """What tells this machine and account from others that have the same host name."""
    try:
        machine = Path("/etc/machine-id").read_text().strip()
    except OSError:
        machine = socket.gethostname()
    return f"{machine}/{os.getuid()}"


def whole_path(path: str) -> str:
    """The one name of a directory, whichever way it was spelled."""
    return os.path.realpath(os.path.expanduser(path))


class FarEndGone(PeerError):
    """The other end is no longer there; its exit code says more."""


class Channel:
    """Lines of JSON first, then a session, on one socket or on a pair of pipes."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd

    async def say(self, document: Any) -> None:
        """One line. Raises FarEndGone."""
        line = msgspec.json.encode(document) + b"\n"
        try:
            await asyncio.to_thread(_write_all, self._write_fd, line)
        except (BrokenPipeError, ConnectionResetError):
            raise FarEndGone("the other end ended before it heard anything") from None

    async def hear(self, kind: type[Any]) -> Any:
        """One line, of that kind. Raises PeerError."""
        try:
            line = await asyncio.to_thread(_read_line, self._read_fd)
        except ConnectionResetError:
            line = b""
        if not line:
            raise FarEndGone("the other end ended before it said anything")
        try:
            return msgspec.json.decode(line, type=kind)
        except msgspec.DecodeError as error:
            raise PeerError(f"the far end isn't a syncgraph-node: it said {line[:200]!r} ({error})") from None

    def close(self) -> None:
        """Let go; the other end sees that, unless a session goes on."""
        for fd in {self._read_fd, self._write_fd}:
            os.close(fd)

    async def session(self) -> StreamSession:
        """From here on, messages."""
        loop = asyncio.get_running_loop()
        session = StreamSession()
        if self._read_fd == self._write_fd or stat.S_ISSOCK(os.fstat(self._read_fd).st_mode):
            ours = socket.socket(fileno=os.dup(self._read_fd))
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                ours.setsockopt(socket.SOL_SOCKET, option, SOCKET_BYTES)
            ours.setblocking(False)
            await loop.create_connection(lambda: session, sock=ours)
            return session
        joined = _Pipes(session)
        await loop.connect_read_pipe(lambda: joined.reading, os.fdopen(os.dup(self._read_fd), "rb"))
        await loop.connect_write_pipe(lambda: joined.writing, os.fdopen(os.dup(self._write_fd), "wb"))
        session.connection_made(joined)
        return session


class _Pipes:
    """Two pipes as one transport: sshd gives a command its stdin and stdout apart."""

    def __init__(self, session: StreamSession) -> None:
        self.reading = _Reading(session)
        self.writing = _Writing(session)

    def write(self, data: bytes) -> None:
        self.writing.transport.write(data)

    def close(self) -> None:
        self.writing.transport.close()
        self.reading.transport.close()

    def pause_reading(self) -> None:
        self.reading.transport.pause_reading()

    def resume_reading(self) -> None:
        self.reading.transport.resume_reading()


class _Reading(asyncio.Protocol):
    transport: asyncio.ReadTransport

    def __init__(self, session: StreamSession) -> None:
        self._session = session

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.ReadTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._session.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._session.connection_lost(exc)


class _Writing(asyncio.BaseProtocol):
    transport: asyncio.WriteTransport

    def __init__(self, session: StreamSession) -> None:
        self._session = session

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport

    def pause_writing(self) -> None:
        self._session.pause_writing()

    def resume_writing(self) -> None:
        self._session.resume_writing()


def _write_all(fd: int, line: bytes) -> None:
    while line:
        line = line[os.write(fd, line) :]


def _read_line(fd: int) -> bytes:
    """Byte by byte, since what comes behind the line belongs to the session."""
    line = bytearray()
    while not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES:
        byte = os.read(fd, 1)
        if not byte:
            break
        line += byte
    return bytes(line)


async def run_end(
    plan: ReplicationPlan,
    end: End,
    node: str,
    path: str,
    manner: Manner,
    connect: Callable[[], Awaitable[StreamSession]],
    on_link: Callable[[Link], None] = lambda link: None,
) -> tuple[Tally, Tally]:
    """Run one end of a one-edge plan. Returns this end's tally and the peer's."""
    if manner.dry_run and not os.path.lexists(path):
        with tempfile.TemporaryDirectory() as stand_in:  # an empty directory in place of the missing one
            tree = f"{stand_in}/tree"
            return await _run_end(plan, end, node, tree, Path(stand_in), manner, connect, on_link)
    return await _run_end(plan, end, node, path, state_directory(), manner, connect, on_link)


async def _run_end(
    plan: ReplicationPlan,
    end: End,
    node: str,
    path: str,
    state: Path,
    manner: Manner,
    connect: Callable[[], Awaitable[StreamSession]],
    on_link: Callable[[Link], None],
) -> tuple[Tally, Tally]:
    takes = pulls(plan.direction, end)
    # What only ever takes has nothing to say about files that somebody removed with their directory.
    anew = takes and not offers(plan.direction, end)
    spec = ReplicaSpec(path, plan.filters, manner.stays, takes, WATCH_DEBOUNCE_S, WATCH_RESCAN_S, anew=anew)
    tending = Tending(node, state, spec, identity(), patient=False)
    try:
        session = await connect()
        try:
            await tending.opened()
        except NodeError as error:
            await session.send(Bye(str(error), Tally()))
            session.close()
            raise
        talk = Talk(plan, end, node, tending.replica, session, manner)
        link = Link(talk, asyncio.shield(tending.fresh(stays=manner.stays)))
        on_link(link)
        await link.run()
        return await link.tally(), link.peer_tally or Tally()
    finally:
        await tending.close()


async def serve() -> None:
    """Be the far end, on stdin and stdout."""
    read_fd, write_fd = os.dup(0), os.dup(1)
    os.dup2(2, 1)  # nothing that prints may end up in the session
    channel = Channel(read_fd, write_fd)
    opening: Opening = await channel.hear(Opening)
    path = whole_path(opening.path)
    if not os.path.isdir(path) and (os.path.lexists(path) or not opening.creates):
        await channel.say(FarEnd(error=f"{opening.path} isn't a directory; a sync works on directories"))
        return
    await channel.say(FarEnd(node=socket.gethostname(), identity=identity(), path=path, version=VERSION))
    try:
        start: Start = await channel.hear(Start)
    except FarEndGone:
        return  # the near end says why
    far_end: End = "source" if start.far_is_source else "target"
    node = (start.plan.source if start.far_is_source else start.plan.target).node
    manner = Manner(start.stays, start.dry_run, start.durable, start.delta)
    await run_end(start.plan, far_end, node, path, manner, channel.session)


def plan_for(request: Request, near: ReplicaRef, far: ReplicaRef) -> ReplicationPlan:
    """The one edge that a request asks for."""
    source, target = (near, far) if request.near_is_source else (far, near)
    name = f"adhoc/sync/{source}~{target}"
    return ReplicationPlan(
        edge=name,
        source=source,
        target=target,
        direction="two-way" if request.both else "one-way",
        dials=near.node,
        sync=SyncPlan(mode="continuous" if request.watch else "once"),
        filters=request.filters,
        conflict=request.conflict,
        deletes="propagate" if request.delete else "keep",
        guards=GuardPlan(request.max_delete),
    )


async def open_far_end(command: list[str]) -> tuple[Channel, asyncio.subprocess.Process]:
    """Start the far end as a child whose stdin and stdout are one socket of ours."""
    ours, theirs = socket.socketpair()
    try:
        child = await asyncio.create_subprocess_exec(*command, stdin=theirs.fileno(), stdout=theirs.fileno())
    except OSError as error:
        raise NodeError(f"can't start {command[0]}: {error.strerror}") from None
    finally:
        theirs.close()
    fd = ours.detach()
    return Channel(fd, fd), child


def local_far_end() -> list[str]:
    """The command for a far end on this machine."""
    return [sys.executable, "-m", "node_runtime.cli", "serve"]
