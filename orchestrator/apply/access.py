"""Which door leads to a node, and the open conversations of one run.

`NodeAccess` is all that the push needs to know of a node, so that a saved plan can carry it. `Doors` opens
a host by its access; `Hosts` keeps conversations open between asking and applying, because a login costs
far more than a request, and bounds how many there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestrator.apply.gates import LoginGates
from orchestrator.apply.host import Host, Unreachable
from orchestrator.apply.local import LocalHost, state_directory
from schemas.control import Reply, Request
from schemas.plans import Document
from schemas.topology import Access, Runtime, Ssh

if TYPE_CHECKING:
    from orchestrator.apply.ssh import SshAccess
    from orchestrator.trust.authority import Authority, Login

MAX_OPEN = 256  # conversations at once: each is a file descriptor here, and 1024 are usual


class NodeAccess(Document, frozen=True, omit_defaults=True):
    """How the orchestrator reaches one node."""

    name: str
    access: Access
    address: str | None = None  # only None with access "local", or where the node can't be reached
    ssh: Ssh = Ssh()  # only with access "sshd"
    runtime: Runtime = Runtime()


class ClosedDoor:
    """A node that can't be reached as it is declared. Every request says why."""

    def __init__(self, node: str, reason: str) -> None:
        self.node = node
        self.reason = reason

    async def request(self, request: Request) -> Reply:
        """Raises `Unreachable`."""
        raise Unreachable(self.node, self.reason)

    async def close(self) -> None:
        """Nothing is open."""


class Opener(Protocol):
    """Makes the host of a node, without connecting."""

    def open(self, node: NodeAccess) -> Host: ...

    async def close(self) -> None: ...


class Doors:
    """Hosts by their access. The SSH library is loaded only when a node needs it."""

    def __init__(
        self,
        authority: Authority | None,  # only needed for access "runtime"
        now: float,
        environ: Mapping[str, str],
        ssh_config: Path | None = None,  # None: the user's
    ) -> None:
        self._authority = authority
        self._now = now
        self._environ = environ
        self._ssh_config = ssh_config
        self._gates = LoginGates()
        self._ssh_access: SshAccess | None = None
        self._login: Login | None = None

    def open(self, node: NodeAccess) -> Host:
        """The host of a node, not yet connected."""
        if node.access == "local":
            return LocalHost(node.name, state_directory(node.runtime.state, self._environ))
        address = node.address or (node.runtime.address if node.access == "runtime" else None)
        if address is None:
            return ClosedDoor(node.name, "its inventory gives no address to reach it at")
        if node.access == "sshd":
            return self._open_sshd(node, address)
        return self._open_runtime(node, address)

    async def close(self) -> None:
        """Hang up on what the hosts shared."""
        if self._ssh_access is not None:
            await self._ssh_access.close()

    def _open_sshd(self, node: NodeAccess, address: str) -> Host:
        from orchestrator.apply.ssh import SshAccess, SshdHost

        if self._ssh_access is None:
            self._ssh_access = SshAccess(self._ssh_config, self._gates)
        return SshdHost(node.name, address, node.ssh, node.runtime, self._ssh_access)

    def _open_runtime(self, node: NodeAccess, address: str) -> Host:
        from orchestrator.apply.ssh import RuntimeHost

        if self._authority is None:
            return ClosedDoor(
                node.name,
                "a runtime's own port takes only certificates of this fleet's authority, and there is none "
                "yet; the first apply makes it",
            )
        if self._login is None:
            self._login = self._authority.login(self._now)
        key = self._authority.public_key
        return RuntimeHost(node.name, address, node.runtime, self._login, key, self._gates)


class Hosts:
    """The conversations of one run, by node name."""

    def __init__(self, nodes: Mapping[str, NodeAccess], opener: Opener, max_open: int = MAX_OPEN) -> None:
        self._nodes = nodes
        self._opener = opener
        self._keep_open = len(nodes) <= max_open  # else every use is a login of its own
        self._turns = asyncio.Semaphore(max_open)
        self._open: dict[str, Host] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All nodes, sorted."""
        return tuple(sorted(self._nodes))

    @asynccontextmanager
    async def use(self, name: str) -> AsyncIterator[Host]:
        """The host of a node, for a few requests."""
        async with self._turns:
            host = self._open.pop(name, None) or self._opener.open(self._nodes[name])
            try:
                yield host
            finally:
                if self._keep_open:
                    self._open[name] = host
                else:
                    await host.close()

    async def close(self) -> None:
        """Hang up everywhere. The next use of a host logs in anew."""
        hosts, self._open = list(self._open.values()), {}
        await asyncio.gather(*(host.close() for host in hosts))
        await self._opener.close()
