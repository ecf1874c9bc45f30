"""Nodes over SSH: through the system's sshd (access "sshd"), or at the runtime's own port ("runtime").

With `orchestrator.trust.authority` it is this program's only door to asyncssh. It decides how a login is
made, whom to, and what is said when it fails. It never answers a question about a host key: a key that
isn't known already is refused, whatever ~/.ssh/config says.

Over sshd the user's own setup applies, as with ssh: ~/.ssh/config, agent, identities, known_hosts, jump
hosts. The runtime's own port takes and shows certificates of the fleet's authority alone; before a node
has one, its key is the one that the inventory pins.

Source: RFC 4251-4254; ssh_config(5); OpenSSH PROTOCOL.certkeys.
"""

from __future__ import annotations

import asyncio
import shlex
from abc import abstractmethod
from pathlib import Path
from typing import Any, cast

import asyncssh

from orchestrator.apply.conversation import Broken, Conversation, StreamHost, printable
from orchestrator.apply.gates import LoginGates
from orchestrator.apply.host import CONNECT_TIMEOUT_S
from orchestrator.trust.authority import Login
from schemas.control import CONTROL_SUBSYSTEM, DEFAULT_PORT, ORCHESTRATOR_PRINCIPAL
from schemas.topology import Runtime, Ssh

LOGIN_TIMEOUT_S = 15.0
KEEPALIVE_S = 15.0  # three unanswered ones end a connection that a firewall forgot
LAST_WORDS_TIMEOUT_S = 2.0
GOODBYE_TIMEOUT_S = 2.0
LAST_WORDS_BYTES = 1_000
MAX_JUMPS = 8  # deeper means that a jump host's own settings lead back to it
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com")
KNOWN_HOSTS_FILES = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts")
COMMAND_NOT_FOUND = 127  # a POSIX shell's exit status

FAILURES = (asyncssh.Error, OSError, TimeoutError, asyncssh.KeyImportError, asyncssh.ConfigParseError)


class SshHost(StreamHost):
    """What both kinds of SSH host share: one connection, and one channel on it."""

    failures = FAILURES

    def __init__(self, node: str, address: str) -> None:
        super().__init__(node)
        self.address = address
        self._connection: asyncssh.SSHClientConnection | None = None

    @abstractmethod
    async def connect(self) -> asyncssh.SSHClientConnection:
        """Log in."""

    @abstractmethod
    def session(self) -> dict[str, Any]:
        """What to open on the connection: arguments of asyncssh's `open_session`."""

    async def open(self) -> Conversation:
        """Log in, and open the channel."""
        self._connection = await self.connect()
        writer, reader, errors = await self._connection.open_session(
            **self.session(), encoding=None, request_pty=False
        )

        async def last_words() -> str:
            try:
                async with asyncio.timeout(LAST_WORDS_TIMEOUT_S):
                    said: bytes = await errors.read(LAST_WORDS_BYTES)
                    await writer.channel.wait_closed()
            except (TimeoutError, asyncssh.Error):
                said = b""
            text = printable(said.decode("utf-8", "replace"))
            if cast(asyncssh.SSHClientChannel[bytes], writer.channel).get_exit_status() == COMMAND_NOT_FOUND:
                return f"{text}; is the node runtime installed there? Its program is ssh.command"
            return text

        return Conversation(reader, writer, last_words)

    async def hang_up(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await _hang_up(connection)


class SshAccess:
    """What all nodes behind system sshds share in one run: login gates, known_hosts files, jump hosts."""

    def __init__(self, config: Path | None = None, gates: LoginGates | None = None) -> None:
        self.gates = gates or LoginGates()
        self._config: Any = (str(config),) if config else ()  # (): asyncssh reads ~/.ssh/config
        self._known: dict[tuple[str, ...], asyncssh.SSHKnownHosts] = {}
        self._jumps: dict[str, asyncio.Task[asyncssh.SSHClientConnection]] = {}

    async def connect(self, address: str, ssh: Ssh, depth: int = 0) -> asyncssh.SSHClientConnection:
        """Log in at an sshd, through its jump hosts. Raises what asyncssh raises, or `Broken`."""
        if depth > MAX_JUMPS:
            raise Broken(f"more than {MAX_JUMPS} jump hosts; a ProxyJump for a jump host may lead to itself")
        arguments: dict[str, Any] = {
            "host": address,
            "config": self._config,
            "agent_forwarding": False,
            "x11_forwarding": False,
            "connect_timeout": CONNECT_TIMEOUT_S,
            "login_timeout": LOGIN_TIMEOUT_S,
            "keepalive_interval": KEEPALIVE_S,
        }
        if ssh.port is not None:
            arguments["port"] = ssh.port
        if ssh.user is not None:
            arguments["username"] = ssh.user
        if ssh.identity_file is not None:
            arguments["client_keys"] = [str(Path(ssh.identity_file).expanduser())]
            arguments["ignore_encrypted"] = True  # the agent may hold it open
        settings = await asyncssh.SSHClientConnectionOptions.construct(**arguments)
        arguments["known_hosts"] = self._known_hosts(ssh, settings.known_hosts)
        jump = ssh.jump or (settings.tunnel if isinstance(settings.tunnel, str) else None)
        if jump:
            arguments["tunnel"] = await self._jump(jump, ssh, depth + 1)
        async with self.gates.login(jump or settings.host, settings.port):
            return await asyncssh.connect(**arguments)

    async def close(self) -> None:
        """Hang up on the jump hosts."""
        jumps, self._jumps = self._jumps, {}
        for result in await asyncio.gather(*jumps.values(), return_exceptions=True):
            if isinstance(result, asyncssh.SSHClientConnection):
                await _hang_up(result)

    async def _jump(self, written: str, ssh: Ssh, depth: int) -> asyncssh.SSHClientConnection:
        """The connection to a jump host, one for all nodes behind it. The last of a chain is what counts.

        The node's known_hosts and identity serve for its jump hosts too: a person who names such a
        file means it for this way.
        """
        before, _, last = written.rpartition(",")
        key = f"{depth} {written} {ssh.known_hosts} {ssh.identity_file}"  # depth: no login waits for itself
        task = self._jumps.get(key)
        if task is None or (task.done() and not _is_alive(task)):
            user, address, port = _parse_jump(last)
            hop = Ssh(
                user=user,
                port=port,
                identity_file=ssh.identity_file,
                known_hosts=ssh.known_hosts,
                jump=before or None,
            )
            task = self._jumps[key] = asyncio.create_task(self.connect(address, hop, depth))
        try:
            return await asyncio.shield(task)
        except FAILURES as error:
            reason = _host_key_reason(error) if _is_host_key_failure(error) else _plain(error)
            raise Broken(f"jump host {last}: {reason}") from None

    def _known_hosts(self, ssh: Ssh, configured: Any) -> asyncssh.SSHKnownHosts:
        """The host keys that are trusted; never `None`, which would turn the check off."""
        if ssh.known_hosts is not None:
            wanted = (str(Path(ssh.known_hosts).expanduser()),)
            if not Path(wanted[0]).is_file():
                raise Broken(f"ssh.knownHosts names {wanted[0]}, which isn't there")
        elif configured is None:
            raise Broken('"UserKnownHostsFile none" in the SSH configuration turns host key checks off')
        else:
            wanted = tuple(configured or (str(Path(file).expanduser()) for file in KNOWN_HOSTS_FILES))
        if wanted not in self._known:
            self._known[wanted] = asyncssh.read_known_hosts([file for file in wanted if Path(file).is_file()])
        return self._known[wanted]


class SshdHost(SshHost):
    """A node behind the system's sshd, where `syncgraph-node control` joins us to its runtime."""

    def __init__(self, node: str, address: str, ssh: Ssh, runtime: Runtime, access: SshAccess) -> None:
        super().__init__(node, address)
        self._ssh = ssh
        self._runtime = runtime
        self._access = access

    async def connect(self) -> asyncssh.SSHClientConnection:
        """Log in."""
        return await self._access.connect(self.address, self._ssh)

    def session(self) -> dict[str, Any]:
        """The bridge to the control socket."""
        return {"command": control_command(self._ssh.command, self._runtime.state)}

    def reason(self, error: BaseException) -> str:
        """One failure, for the operator."""
        if _is_host_key_failure(error):
            return _host_key_reason(error)
        if isinstance(error, asyncssh.PermissionDenied):
            return (
                f"sshd at {self.address} refuses the login ({_plain(error)}): offer a key that it knows, by "
                "ssh-agent, ~/.ssh/config or ssh.identityFile, and check ssh.user"
            )
        return _plain(error, self.address)


class RuntimeHost(SshHost):
    """A node at its runtime's own SSH port."""

    def __init__(
        self,
        node: str,
        address: str,
        runtime: Runtime,
        login: Login,
        authority_key: str,
        gates: LoginGates,
    ) -> None:
        super().__init__(node, address)
        self._port = runtime.port or DEFAULT_PORT
        self._pinned_key = runtime.host_key
        self._login = login
        self._authority_key = authority_key
        self._gates = gates

    async def connect(self) -> asyncssh.SSHClientConnection:
        """Log in with the authority's certificate, at a host that shows the node's."""
        pinned = [asyncssh.import_public_key(self._pinned_key)] if self._pinned_key else []
        trusted: Any = (pinned, [asyncssh.import_public_key(self._authority_key)], [])
        async with self._gates.login(self.address, self._port):
            return await asyncssh.connect(
                self.address,
                self._port,
                config=None,
                known_hosts=trusted,
                host_key_alias=self.node,  # the principal that the host's certificate must have
                username=ORCHESTRATOR_PRINCIPAL,
                client_keys=[(self._login.key, self._login.certificate)],
                agent_path=None,
                preferred_auth="publickey",
                encryption_algs=CIPHERS,
                connect_timeout=CONNECT_TIMEOUT_S,
                login_timeout=LOGIN_TIMEOUT_S,
                keepalive_interval=KEEPALIVE_S,
            )

    def session(self) -> dict[str, Any]:
        """The runtime's own subsystem."""
        return {"subsystem": CONTROL_SUBSYSTEM}

    def reason(self, error: BaseException) -> str:
        """One failure, for the operator."""
        if _is_host_key_failure(error):
            if self._pinned_key:
                return (
                    "its host key is neither the pinned runtime.hostKey nor certified for "
                    f"{self.node} by this fleet's authority ({_plain(error)})"
                )
            return (
                f"it shows no certificate for {self.node} by this fleet's authority ({_plain(error)}); "
                "until it is enrolled, pin the key that `syncgraph-node init` prints there as runtime.hostKey"
            )
        if isinstance(error, asyncssh.PermissionDenied):
            return (
                "it refuses this fleet's authority; if it was never enrolled, run there: syncgraph-node "
                f"init --authority {shlex.quote(self._authority_key)} --node {self.node}"
            )
        if isinstance(error, asyncssh.KeyImportError):
            return f"runtime.hostKey isn't a public key in OpenSSH format: {error}"
        return _plain(error, f"{self.address} port {self._port}")


def control_command(program: str | None, state: str | None) -> str:
    """The remote command line. sshd hands it to the user's shell, so every word of it is quoted."""
    words = [_quote(program or "syncgraph-node"), "control"]
    if state:
        words += ["--state", _quote(state)]
    return " ".join(words)


def _quote(word: str) -> str:
    """Quote for a shell, leaving a leading "~/" to it: the home directory is the far side's."""
    return f"~/{shlex.quote(word[2:])}" if word.startswith("~/") and word[2:] else shlex.quote(word)


def _parse_jump(written: str) -> tuple[str | None, str, int | None]:
    """The parts of [user@]host[:port]; an IPv6 address stands in brackets."""
    user, _, place = written.rpartition("@")
    host, colon, port = place.rpartition(":")
    if not colon or place.endswith("]"):
        host, port = place, ""
    if port and not port.isdecimal():
        raise Broken(f'ssh.jump "{written}": "{port}" isn\'t a port')
    return user or None, host.removeprefix("[").removesuffix("]"), int(port) if port else None


async def _hang_up(connection: asyncssh.SSHClientConnection) -> None:
    """Say goodbye, and don't wait for a far side that no longer listens."""
    connection.close()
    try:
        async with asyncio.timeout(GOODBYE_TIMEOUT_S):
            await connection.wait_closed()
    except TimeoutError:
        connection.abort()


def _is_alive(task: asyncio.Task[asyncssh.SSHClientConnection]) -> bool:
    return not task.cancelled() and task.exception() is None and not task.result().is_closed()


def _is_host_key_failure(error: BaseException) -> bool:
    """Whether the host couldn't show a key that we know; asyncssh has two ways to say it."""
    return isinstance(error, asyncssh.HostKeyNotVerifiable) or (
        isinstance(error, asyncssh.KeyExchangeFailed) and "host key" in error.reason
    )


def _host_key_reason(error: BaseException) -> str:
    return (
        f"its SSH host key isn't known ({_plain(error)}): compare it, then add it to known_hosts "
        "by connecting once with ssh"
    )


def _plain(error: BaseException, where: str = "") -> str:
    """A failure in one line, without asyncssh's or the system's trimmings."""
    at = f"{where}: " if where else ""
    if isinstance(error, TimeoutError):
        return f"{at}no connection within {CONNECT_TIMEOUT_S:.0f} s"
    if isinstance(error, asyncssh.Error):
        return f"{at}{error.reason.partition(', sent ')[0]}"  # what follows lists every algorithm
    if isinstance(error, OSError) and error.strerror:
        return f"{at}{error.filename}: {error.strerror}" if error.filename else f"{at}{error.strerror}"
    return f"{at}{error}"
