"""SSH between nodes: who may come in, who is really at the far end, and channels that carry raw bytes.

It decides how a login is judged and what a connection may ask for: two subsystems and nothing else. It
must not know plans, edges or messages: who is let in, and what answers on a channel, it asks of its
`Gate`. A channel is handed over as plain asyncio: a protocol that somebody else made, on a transport
that keeps asyncio's contract. Read on in `net/channel.py` (that contract), `net/admission.py` (who) and
`net/stream.py` (what travels).

With `net.keys` and `net.channel` it is this program's only door to asyncssh.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any, Protocol

import asyncssh

from node_runtime.errors import NodeError, PeerError
from node_runtime.net.channel import CHANNEL_OPTIONS, ClientChannel, ServerChannel, because
from node_runtime.net.keys import Credentials
from schemas.control import SESSION_SUBSYSTEM
from schemas.plans import PeerAddress

CONNECT_TIMEOUT_S = 15.0  # TCP, key exchange and login together
LOGIN_TIMEOUT_S = 15.0  # how long a stranger may hold a connection; asyncssh's own is two minutes
OPEN_TIMEOUT_S = 15.0  # for a channel on a connection that stands
KEEPALIVE_S = 15.0  # under the 30 s after which the strictest NAT boxes forget a flow
KEEPALIVE_MISSED = 3
MAX_STRANGERS = 1024  # connections before login at one time; a restarted hub is dialled by all its spokes
REKEY_BYTES = 32 * 1024**3  # AES: at most 2^32 blocks of 16 bytes, half of it taken (RFC 4344 section 3.2)
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com")

ProtocolFactory = Callable[[], asyncio.Protocol]
Connection = asyncssh.SSHClientConnection

log = logging.getLogger(__name__)

_COMMON: dict[str, Any] = {
    "config": None,  # nobody's ~/.ssh/config has a say between runtimes
    "encryption_algs": CIPHERS,
    "compression_algs": None,
    "keepalive_interval": KEEPALIVE_S,
    "keepalive_count_max": KEEPALIVE_MISSED,
    "login_timeout": LOGIN_TIMEOUT_S,
    "rekey_bytes": REKEY_BYTES,
    "gss_host": None,
    "x509_trusted_certs": None,
}


class Gate(Protocol):
    """What the server asks about a caller, anew at each login and at each channel."""

    def authority(self) -> str | None:
        """The public key whose certificates count; None: nobody's."""

    def admits(self, user: str) -> bool:
        """Whether the holder of a certificate for `user` may be connected at all. Never true of a pattern."""

    def subsystem(self, user: str, name: str) -> asyncio.Protocol | None:
        """What answers when `user` asks for the subsystem `name`; None: refused."""


class Server:
    """The runtime's own SSH port. `serve` makes one."""

    def __init__(self, gate: Gate, key: asyncssh.SSHKey) -> None:
        self._gate = gate
        self._key = key
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._doors: set[_Door] = set()
        self._strangers: set[_Door] = set()  # of the doors, those before login

    async def start(self, listening: socket.socket, certificate: asyncssh.SSHCertificate | None) -> None:
        """Accept connections on a bound socket."""
        self._acceptor = await asyncssh.listen(
            sock=listening,
            server_factory=lambda: _Door(self._gate, self._doors, self._strangers),
            server_host_keys=self._host_keys(certificate),
            allow_pty=False,
            line_editor=False,
            agent_forwarding=False,
            x11_forwarding=False,
            sftp_factory=None,
            allow_scp=False,
            host_based_auth=False,
            kbdint_auth=False,
            password_auth=False,
            public_key_auth=True,
            **CHANNEL_OPTIONS,
            **_COMMON,
        )

    def present(self, certificate: asyncssh.SSHCertificate) -> None:
        """Show this host certificate to whoever connects from now on."""
        assert self._acceptor is not None, "present before start"
        self._acceptor.update(server_host_keys=self._host_keys(certificate))

    def review(self) -> None:
        """Close at once every connection whose user the gate doesn't admit any more."""
        for door in list(self._doors):
            door.review()

    async def close(self) -> None:
        """Stop listening and close every connection."""
        if self._acceptor is not None:
            self._acceptor.close()
        for door in list(self._doors):
            door.disconnect("the node runtime is stopping")
        if self._acceptor is not None:
            await self._acceptor.wait_closed()

    def _host_keys(self, certificate: asyncssh.SSHCertificate | None) -> list[Any]:
        """With a certificate asyncssh offers the bare key too, for those who pinned it before enrolment."""
        return [self._key] if certificate is None else [(self._key, certificate)]


def bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket; an empty host means every address, IPv6 and IPv4 alike where it can be."""
    try:
        if host:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            return socket.create_server((host, port), family=family)
        if socket.has_dualstack_ipv6():
            try:
                return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
            except OSError as error:
                log.info("no IPv6 on this machine, listening on IPv4 alone: %s", error.strerror)
        return socket.create_server(("", port))
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "a port is between 0 and 65535"
        raise NodeError(
            f"can't listen on {host or '*'} port {port}: {reason}; choose another address with --listen"
        ) from None


async def serve(
    listening: socket.socket,
    gate: Gate,
    key: asyncssh.SSHKey,
    certificate: asyncssh.SSHCertificate | None,
) -> Server:
    """Accept peers and the orchestrator on a bound socket; before enrolment only the bare key is shown."""
    server = Server(gate, key)
    await server.start(listening, certificate)
    return server


async def dial(address: PeerAddress, peer_node: str, credentials: Credentials) -> Connection:
    """Connect to the runtime of `peer_node`, which proves its name by a certificate, or we leave."""
    authority = asyncssh.import_public_key(credentials.authority)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            return await asyncssh.connect(
                address.host,
                address.port,
                username=credentials.node,
                client_keys=[(credentials.key, credentials.user_certificate)],
                known_hosts=([], [authority], []),
                host_key_alias=peer_node,
                agent_path=None,
                preferred_auth="publickey",
                public_key_auth=True,
                password_auth=False,
                kbdint_auth=False,
                host_based_auth=False,
                **_COMMON,
            )
    except (OSError, asyncssh.Error, ValueError) as error:
        where = f"{peer_node} at {address.host} port {address.port}"
        raise PeerError(f"can't reach {where}: {because(error)}") from None


async def open_session(connection: Connection, factory: ProtocolFactory) -> None:
    """Open one more session channel on a connection and put the protocol that `factory` makes on it."""
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            await connection.create_session(
                lambda: ClientChannel(factory), subsystem=SESSION_SUBSYSTEM, **CHANNEL_OPTIONS
            )
    except (OSError, asyncssh.Error) as error:
        raise PeerError(f"no session: {because(error)}") from None


class Dialler:
    """The connections that this node opened: one a peer, shared by all the sessions with it."""

    def __init__(
        self,
        credentials: Callable[[], Credentials],
        address: Callable[[str], PeerAddress | None],
    ) -> None:
        self._credentials = credentials
        self._address = address
        self._connections: dict[str, tuple[PeerAddress, Connection]] = {}
        self._dialling: dict[str, asyncio.Lock] = {}

    async def open_session(self, peer_node: str, factory: ProtocolFactory) -> None:
        """A session channel to `peer_node`, over the connection that stands or a new one."""
        async with self._dialling.setdefault(peer_node, asyncio.Lock()):
            address = self._address(peer_node)
            if address is None:
                raise PeerError(f"the current plan doesn't let this node dial {peer_node}")
            connection = self._standing(peer_node, address)
            if connection is None:
                connection = await dial(address, peer_node, self._credentials())
                if self._address(peer_node) != address:
                    connection.abort()
                    raise PeerError(f"the plan changed while {peer_node} was dialled")
                self._connections[peer_node] = (address, connection)
                log.info("connected to peer=%s address=%s:%d", peer_node, address.host, address.port)
        await open_session(connection, factory)

    def review(self) -> None:
        """Close at once every connection to a peer that isn't dialled any more, or not there."""
        for peer_node, (address, connection) in list(self._connections.items()):
            if connection.is_closed():
                del self._connections[peer_node]
            elif self._address(peer_node) != address:
                log.info("closing connection to peer=%s: the plan has changed", peer_node)
                del self._connections[peer_node]
                connection.disconnect(asyncssh.DISC_BY_APPLICATION, "the plan has changed")

    async def close(self) -> None:
        """Close every connection."""
        standing = [connection for _, connection in self._connections.values()]
        self._connections.clear()
        for connection in standing:
            connection.disconnect(asyncssh.DISC_BY_APPLICATION, "the node runtime is stopping")
        for connection in standing:
            await connection.wait_closed()

    def _standing(self, peer_node: str, address: PeerAddress) -> Connection | None:
        known = self._connections.get(peer_node)
        if known is None or known[0] != address or known[1].is_closed():
            return None
        return known[1]


class _Door(asyncssh.SSHServer):
    """One connection from outside: a stranger until its login stands."""

    def __init__(self, gate: Gate, doors: set[_Door], strangers: set[_Door]) -> None:
        self._gate = gate
        self._doors = doors
        self._strangers = strangers
        self._connection: asyncssh.SSHServerConnection | None = None
        self._user = ""  # the name for which the authority's certificates count at this moment
        self._from = "?"  # address and port of whoever is there
        self._logged_in = False
        self._refused = False  # and logged already

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Somebody connected."""
        self._connection = conn
        name = conn.get_extra_info("peername")
        self._from = f"{name[0]}:{name[1]}" if name else "?"
        self._doors.add(self)
        self._strangers.add(self)
        if len(self._strangers) > MAX_STRANGERS:
            log.warning("too many connections before login; dropping the newest")
            conn.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._doors.discard(self)
        self._strangers.discard(self)
        if not self._logged_in and not self._refused:
            log.info("login failed from=%s user=%s: %s", self._from, self._shown(), because(exc))
        elif self._logged_in and exc is not None:
            log.info("connection lost from=%s user=%s: %s", self._from, self._shown(), because(exc))

    def begin_auth(self, username: str) -> bool:
        """Believe certificates of the authority that carry exactly this name, and nothing else.

        The name goes into a pattern, so only names that the gate knows get that far. What an earlier name of
        the same connection was granted is taken back first: its certificate must not open this name.
        """
        assert self._connection is not None
        self._user = ""
        self._connection.set_authorized_keys(None)
        authority = self._gate.authority()
        if authority is None or not self._gate.admits(username):
            self._user = username
            self._refused = True
            log.warning("refused login from=%s user=%s: not in this node's plan", self._from, self._shown())
            return True
        entry = f'cert-authority,principals="{username}" {authority}'
        self._connection.set_authorized_keys(asyncssh.import_authorized_keys(entry))
        self._user = username
        return True

    def auth_completed(self) -> None:
        """The caller holds the key of a valid certificate."""
        assert self._connection is not None
        if self._connection.get_extra_info("username") != self._user:
            self.disconnect("the login changed its name")
            return
        self._logged_in = True
        self._strangers.discard(self)
        log.info("login from=%s user=%s", self._from, self._shown())
        self.review()

    def session_requested(self) -> ServerChannel | bool:
        """A channel is opened; which subsystem it is for is said next."""
        if not self._gate.admits(self._user):
            return False
        return ServerChannel(lambda name: self._gate.subsystem(self._user, name))

    def review(self) -> None:
        """Leave if the gate doesn't admit this user any more."""
        if self._logged_in and not self._gate.admits(self._user):
            log.info("closing connection from=%s user=%s: no longer in the plan", self._from, self._shown())
            self.disconnect("no longer in this node's plan")

    def disconnect(self, reason: str) -> None:
        """Say why, and close at once."""
        assert self._connection is not None
        self._connection.disconnect(asyncssh.DISC_BY_APPLICATION, reason)

    def _shown(self) -> str:
        """The user name as a stranger wrote it, cut and escaped for the log."""
        return repr(self._user[:64])
