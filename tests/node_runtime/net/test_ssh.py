"""Nodes meeting over real SSH on loopback: who gets in, what can be asked for, and how channels behave."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from node_runtime.errors import NodeError, PeerError
from node_runtime.net import keys, ssh
from node_runtime.net.keys import Credentials
from schemas.control import CONTROL_SUBSYSTEM, ORCHESTRATOR_PRINCIPAL, SESSION_SUBSYSTEM
from schemas.plans import PeerAddress
from tests.support.authority import Authority
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

AUTHORITY = Authority()
STRANGER = Authority()


def member(node: str, authority: Authority = AUTHORITY) -> Credentials:
    key = keys.generate()
    public = keys.public_line(key)
    user, host = (
        keys.read_certificate(authority.certificate(role, public, [node])) for role in ("user", "host")
    )
    return Credentials(node, authority.public_key, key, user, host)


HUB = member("hub")
SPOKE = member("spoke")


class Recorder(asyncio.Protocol):
    """Keeps what it sees, in order."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.received = bytearray()
        self.ended = False
        self.lost: list[Exception | None] = []
        self.paused: list[bool] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        self.received += data

    def eof_received(self) -> bool:
        self.ended = True
        return False

    def pause_writing(self) -> None:
        self.paused.append(True)

    def resume_writing(self) -> None:
        self.paused.append(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


class Echo(Recorder):
    """Sends back what it gets."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)


class Faulty(Recorder):
    """Fails at the first byte."""

    def data_received(self, data: bytes) -> None:
        raise RuntimeError("a fault in a session")


@dataclass
class Gate:
    """A gate with everything open to a test."""

    trusted: str | None = AUTHORITY.public_key
    known: set[str] = field(default_factory=lambda: {"spoke", ORCHESTRATOR_PRINCIPAL})
    make: Callable[[], Recorder] = Echo
    opened: list[tuple[str, str, Recorder]] = field(default_factory=list)

    def authority(self) -> str | None:
        return self.trusted

    def admits(self, user: str) -> bool:
        return user in self.known

    def subsystem(self, user: str, name: str) -> asyncio.Protocol | None:
        if name not in (SESSION_SUBSYSTEM, CONTROL_SUBSYSTEM):
            return None
        protocol = self.make()
        self.opened.append((user, name, protocol))
        return protocol


@dataclass
class Hub:
    gate: Gate
    server: ssh.Server
    address: PeerAddress


@asynccontextmanager
async def serving(credentials: Credentials = HUB, gate: Gate | None = None) -> AsyncIterator[Hub]:
    gate = gate or Gate()
    listening = ssh.bind("127.0.0.1", 0)
    server = await ssh.serve(listening, gate, credentials.key, credentials.host_certificate)
    try:
        yield Hub(gate, server, PeerAddress("127.0.0.1", listening.getsockname()[1]))
    finally:
        await server.close()


@asynccontextmanager
async def dialled(
    hub: Hub, credentials: Credentials = SPOKE, peer: str = "hub"
) -> AsyncIterator[ssh.Connection]:
    connection = await ssh.dial(hub.address, peer, credentials)
    try:
        yield connection
    finally:
        connection.close()
        await connection.wait_closed()


async def opened(connection: ssh.Connection) -> Recorder:
    recorder = Recorder()
    await ssh.open_session(connection, lambda: recorder)
    return recorder


async def test_many_channels_share_one_connection_and_keep_their_bytes_apart() -> None:
    async with serving() as hub, dialled(hub) as connection:
        sessions = [await opened(connection) for _ in range(20)]
        for n, session in enumerate(sessions):
            session.transport.write(bytes([n]) * 100_000)
        await until(lambda: all(len(session.received) == 100_000 for session in sessions), "all echoes")
        assert all(set(session.received) == {n} for n, session in enumerate(sessions))
        assert [(user, name) for user, name, _ in hub.gate.opened] == [("spoke", SESSION_SUBSYSTEM)] * 20


async def test_a_channel_closed_here_ends_there_and_leaves_the_others() -> None:
    async with serving() as hub, dialled(hub) as connection:
        first, second = await opened(connection), await opened(connection)
        first.transport.write(b"last words")
        first.transport.close()
        there = hub.gate.opened[0][2]
        await until(lambda: there.lost and first.lost, "both ends know")
        assert there.received == b"last words"
        assert (there.lost, first.lost) == ([None], [None])
        first.transport.write(b"dropped, as asyncio has it")
        second.transport.write(b"still here")
        await until(lambda: second.received == b"still here", "the other channel's echo")


async def test_an_end_of_file_reaches_the_protocol_and_closes_the_channel() -> None:
    async with serving() as hub, dialled(hub) as connection:
        session = await opened(connection)
        session.transport.write_eof()
        there = hub.gate.opened[0][2]
        await until(lambda: there.ended and session.lost, "the far end closed in answer")


async def test_an_abort_is_over_at_once_and_said_once() -> None:
    async with serving() as hub, dialled(hub) as connection:
        session = await opened(connection)
        session.transport.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert session.lost == [None]
        there = hub.gate.opened[0][2]
        await until(lambda: there.lost, "the far end knows")
        connection.close()
        await connection.wait_closed()
        assert session.lost == [None]


async def test_a_writer_is_held_back_by_a_reader_that_pauses() -> None:
    async with serving(gate=Gate(make=Recorder)) as hub, dialled(hub) as connection:
        session = await opened(connection)
        there = hub.gate.opened[0][2]
        there.transport.pause_reading()
        chunk, sent = bytes(1024 * 1024), 0
        while not session.paused and sent < 64:
            session.transport.write(chunk)
            sent += 1
            await asyncio.sleep(0)
        assert session.paused == [True]
        assert not there.received
        there.transport.resume_reading()
        await until(lambda: len(there.received) == sent * len(chunk), "everything arrives")
        assert session.paused[-1] is False


async def test_a_fault_in_one_session_ends_that_session_alone(caplog: pytest.LogCaptureFixture) -> None:
    made = iter([Faulty, Echo])
    async with serving(gate=Gate(make=lambda: next(made)())) as hub, dialled(hub) as connection:
        faulty, sound = await opened(connection), await opened(connection)
        faulty.transport.write(b"x")
        await until(lambda: faulty.lost, "the faulty session's end")
        sound.transport.write(b"y")
        await until(lambda: sound.received == b"y", "the sound session's echo")
    assert "a fault in a session" in caplog.text


async def test_a_lost_connection_is_said_to_every_session() -> None:
    async with serving() as hub:
        connection = await ssh.dial(hub.address, "hub", SPOKE)
        sessions = [await opened(connection) for _ in range(3)]
        await hub.server.close()
        await until(lambda: all(session.lost for session in sessions), "every session's end")
        with pytest.raises(PeerError):
            await opened(connection)


# Who gets in.


def with_user_certificate(authority: Authority, principals: list[str], **dates: float) -> Credentials:
    key = keys.generate()
    public = keys.public_line(key)
    user = keys.read_certificate(authority.certificate("user", public, principals, **dates))
    host = keys.read_certificate(authority.certificate("host", public, ["spoke"]))
    return Credentials("spoke", AUTHORITY.public_key, key, user, host)


REFUSED_USERS = {
    "a stranger's certificate": lambda: with_user_certificate(STRANGER, ["spoke"]),
    "an expired certificate": lambda: with_user_certificate(
        AUTHORITY, ["spoke"], valid_before=time.time() - 1
    ),
    "a certificate of tomorrow": lambda: with_user_certificate(
        AUTHORITY, ["spoke"], valid_after=time.time() + 3600
    ),
    "another node's certificate": lambda: with_user_certificate(AUTHORITY, ["relay"]),
    "a certificate for anybody": lambda: with_user_certificate(AUTHORITY, []),
    "a certificate for a pattern": lambda: with_user_certificate(AUTHORITY, ["*"]),
    "a node that isn't in the plan": lambda: member("relay"),
    "a name that is a pattern": lambda: member("*"),
    "a name that ends the quotes": lambda: member('spoke",principals="relay'),
}


@pytest.mark.parametrize("case", REFUSED_USERS)
async def test_refused_at_login(case: str) -> None:
    async with serving() as hub:
        with pytest.raises(PeerError, match="refuses this node"):
            await ssh.dial(hub.address, "hub", REFUSED_USERS[case]())
        assert not hub.gate.opened


@pytest.mark.parametrize(("second", "gets_in"), [("spoke", True), ("relay", False), ("nobody", False)])
async def test_a_name_tried_first_does_not_open_another(second: str, gets_in: bool) -> None:
    """The spoke's certificate opens the spoke's name alone, whatever the connection tried before."""

    class TwoNames(asyncssh.SSHClient):
        tries = 0

        def connection_made(self, conn: Any) -> None:
            self.conn = conn

        def public_key_auth_requested(self) -> Any:
            self.tries += 1
            if self.tries == 1:
                wrong = with_user_certificate(STRANGER, ["spoke"])
                return wrong.key, wrong.user_certificate
            self.conn._username = second  # no honest client can do this
            return (SPOKE.key, SPOKE.user_certificate) if self.tries == 2 else None

    async with serving() as hub:
        hub.gate.known.add("relay")
        try:
            connection = await asyncssh.connect(
                hub.address.host,
                hub.address.port,
                username="spoke",
                client_factory=TwoNames,
                client_keys=None,
                known_hosts=None,
                config=None,
                agent_path=None,
            )
        except asyncssh.PermissionDenied:
            assert not gets_in
        else:
            connection.abort()
            assert gets_in


async def test_strangers_cannot_hold_the_port_shut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "MAX_STRANGERS", 3)
    async with serving() as hub:
        place = (hub.address.host, hub.address.port)
        silent = [await asyncio.open_connection(*place) for _ in range(3)]
        for reader, _ in silent:
            assert (await reader.readline()).startswith(b"SSH-2.0-")
        with pytest.raises(PeerError):
            await ssh.dial(hub.address, "hub", SPOKE)
        silent.pop()[1].close()

        async def gets_in() -> bool:
            try:
                (await ssh.dial(hub.address, "hub", SPOKE)).abort()
            except PeerError:
                return False
            return True

        assert any([await gets_in() for _ in range(50)]), "a place is free again"
        for _, writer in silent:
            writer.close()


async def test_nobody_gets_in_without_an_authority() -> None:
    async with serving(gate=Gate(trusted=None)) as hub:
        with pytest.raises(PeerError, match="refuses this node"):
            await ssh.dial(hub.address, "hub", SPOKE)


@pytest.mark.parametrize(
    "host",
    [member("relay"), member("hub", STRANGER)],
    ids=["another node's certificate", "a stranger's certificate"],
)
async def test_a_peer_that_cannot_prove_its_name_is_left(host: Credentials) -> None:
    async with serving(host) as hub:
        with pytest.raises(PeerError, match="can't prove its name"):
            await ssh.dial(hub.address, "hub", SPOKE)
        assert not hub.gate.opened


async def test_a_bare_host_key_proves_nothing() -> None:
    listening = ssh.bind("127.0.0.1", 0)
    server = await ssh.serve(listening, Gate(), HUB.key, None)
    try:
        with pytest.raises(PeerError):
            await ssh.dial(PeerAddress("127.0.0.1", listening.getsockname()[1]), "hub", SPOKE)
        server.present(HUB.host_certificate)
        connection = await ssh.dial(PeerAddress("127.0.0.1", listening.getsockname()[1]), "hub", SPOKE)
        connection.abort()
    finally:
        await server.close()


async def test_nobody_listening_is_said_so() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    listening.close()
    with pytest.raises(PeerError, match=f"hub at 127.0.0.1 port {port}: nothing listens there"):
        await ssh.dial(PeerAddress("127.0.0.1", port), "hub", SPOKE)


async def test_a_taken_port_is_said_so() -> None:
    with (
        ssh.bind("127.0.0.1", 0) as taken,
        pytest.raises(NodeError, match="choose another address with --listen"),
    ):
        ssh.bind("127.0.0.1", taken.getsockname()[1])


# What a peer can ask for.


async def test_two_subsystems_and_nothing_else() -> None:
    async with serving() as hub, dialled(hub) as connection:
        for asked in ({"command": "id"}, {}, {"subsystem": "sftp"}, {"subsystem": "nothing"}):
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.create_session(asyncssh.SSHClientSession, encoding=None, **asked)
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.create_session(
                asyncssh.SSHClientSession, subsystem=SESSION_SUBSYSTEM, request_pty="force", term_type="xterm"
            )
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_connection("127.0.0.1", hub.address.port)
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_unix_connection("/var/run/docker.sock")
        with pytest.raises(asyncssh.ChannelListenError):
            await connection.forward_remote_port("127.0.0.1", 0, "127.0.0.1", 9)
        assert not hub.gate.opened
        assert not (await opened(connection)).lost


async def test_no_agent_is_taken_over(tmp_path: Path) -> None:
    async with serving() as hub:
        connection = await asyncssh.connect(
            hub.address.host,
            hub.address.port,
            username="spoke",
            client_keys=[(SPOKE.key, SPOKE.user_certificate)],
            known_hosts=None,
            config=None,
            agent_path=str(tmp_path / "agent"),
            agent_forwarding=True,
        )
        assert not (await opened(connection)).lost
        there = hub.gate.opened[0][2]
        assert there.transport.get_extra_info("connection").get_agent_path() is None
        connection.abort()


async def test_a_review_closes_whoever_left_the_plan_and_no_one_else() -> None:
    async with serving() as hub:
        hub.gate.known.add("relay")
        spoke, relay = (
            await ssh.dial(hub.address, "hub", SPOKE),
            await ssh.dial(hub.address, "hub", member("relay")),
        )
        left, stays = await opened(spoke), await opened(relay)
        hub.gate.known.remove("spoke")
        hub.server.review()
        await until(lambda: left.lost and spoke.is_closed(), "the connection is closed")
        stays.transport.write(b"here")
        await until(lambda: stays.received == b"here", "the other peer's echo")
        relay.abort()


async def test_no_new_channel_for_whoever_left_the_plan() -> None:
    async with serving() as hub, dialled(hub) as connection:
        hub.gate.known.remove("spoke")
        with pytest.raises(PeerError, match="refuses the channel"):
            await opened(connection)


# The dialler.


async def test_the_dialler_shares_one_connection_and_replaces_a_dead_one() -> None:
    async with serving() as hub:
        dialler = ssh.Dialler(lambda: SPOKE, {"hub": hub.address}.get)
        sessions = [Recorder() for _ in range(5)]
        await asyncio.gather(*(dialler.open_session("hub", lambda s=s: s) for s in sessions))
        ports = {session.transport.get_extra_info("sockname")[1] for session in sessions}
        assert len(ports) == 1
        hub.gate.known.clear()
        hub.server.review()
        await until(lambda: all(session.lost for session in sessions), "the sessions end")
        hub.gate.known.add("spoke")
        again = Recorder()
        await dialler.open_session("hub", lambda: again)
        assert again.transport.get_extra_info("sockname")[1] not in ports
        await dialler.close()
        await until(lambda: again.lost, "the session ends with the dialler")


async def test_the_dialler_leaves_peers_that_left_the_plan() -> None:
    async with serving() as hub:
        peers: dict[str, PeerAddress] = {"hub": hub.address}
        dialler = ssh.Dialler(lambda: SPOKE, peers.get)
        session = Recorder()
        await dialler.open_session("hub", lambda: session)
        dialler.review()
        assert not session.lost
        peers.clear()
        dialler.review()
        await until(lambda: session.lost, "the session ends")
        with pytest.raises(PeerError, match="doesn't let this node dial hub"):
            await dialler.open_session("hub", Recorder)
        await dialler.close()
