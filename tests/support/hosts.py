"""Nodes in memory, and hosts that lead to them: what the push is tested against when no process is needed.

A `MemoryNode` keeps to a node's rules with real keys, certificates and signatures: it refuses another
authority, a bad signature, another node's plan and an older generation. `requests` says what was asked of it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from orchestrator.apply.access import NodeAccess
from orchestrator.apply.conversation import Reader
from orchestrator.apply.host import Unreachable
from schemas.conflicts import Conflicts, ListConflicts, ResolveConflict, Resolved
from schemas.control import (
    CONTROL_SUBSYSTEM,
    ORCHESTRATOR_PRINCIPAL,
    Accepted,
    Apply,
    Approve,
    Enrol,
    Identify,
    Identity,
    Refused,
    Reply,
    Report,
    Request,
    decode_request,
)
from schemas.plans import NodePlan, SignedPlan, signed_bytes
from schemas.status import EdgeStatus, NodeStatus

CERTIFICATE_LIFETIME_S = 90 * 86_400.0


def _new_key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


@dataclass
class MemoryNode:
    """One node's runtime, without disk and network."""

    name: str
    now: float = 1_800_000_000.0
    key: asyncssh.SSHKey = field(default_factory=_new_key)
    unreachable: str = ""  # a reason: every request fails with it
    node: str = ""
    authority: str = ""
    generation: int = 0
    digest: str = ""
    plan: str = ""
    expires_at: float | None = None
    edges: tuple[EdgeStatus, ...] = ()
    conflicts: Conflicts | None = None
    requests: list[Request] = field(default_factory=list)

    @property
    def public_key(self) -> str:
        return self.key.export_public_key().decode().strip()

    def answer(self, request: Request) -> Reply:
        self.requests.append(request)
        match request:
            case Identify():
                return Identity(
                    version="0.1.0",
                    public_key=self.public_key,
                    node=self.node,
                    authority=self.authority,
                    generation=self.generation,
                    digest=self.digest,
                    plan=self.plan,
                    certificate_expires_at=self.expires_at,
                )
            case Enrol():
                return self._enrol(request)
            case Apply(signed=signed):
                return self._accept(signed)
            case ListConflicts() if self.conflicts is not None:
                return self.conflicts
            case ResolveConflict():
                return Resolved("elsewhere")
            case Approve(edge=edge, hold=hold):
                known = any(each.edge == edge and each.held and each.held.hold == hold for each in self.edges)
                return Accepted(self.generation) if known else Refused(f"{edge} holds nothing back")
            case _:
                return Report(
                    NodeStatus(
                        node=self.node,
                        version="0.1.0",
                        generation=self.generation,
                        digest=self.digest,
                        started_at=self.now,
                        certificate_expires_at=self.expires_at,
                        edges=self.edges,
                    )
                )

    def _enrol(self, request: Enrol) -> Reply:
        if self.authority and self.authority != request.authority:
            return Refused("enrolled with another authority")
        authority = asyncssh.import_public_key(request.authority)
        for text in (request.user_certificate, request.host_certificate):
            certificate = asyncssh.import_certificate(text)
            if certificate.signing_key.public_data != authority.public_data:
                return Refused("a certificate of another authority")
            if certificate.key.public_data != self.key.public_data:
                return Refused("a certificate for another key")
            if certificate.principals != [request.node]:
                return Refused("a certificate for another name")
        self.node, self.authority = request.node, request.authority
        self.expires_at = self.now + CERTIFICATE_LIFETIME_S
        return Accepted(self.generation)

    def _accept(self, signed: SignedPlan) -> Reply:
        if not self.authority:
            return Refused("not enrolled")
        authority = load_ssh_public_key(self.authority.encode())
        assert isinstance(authority, Ed25519PublicKey)
        try:
            authority.verify(
                base64.b64decode(signed.signature),
                signed_bytes(signed.node, signed.generation, signed.digest),
            )
        except InvalidSignature:
            return Refused("bad signature")
        if hashlib.sha256(signed.plan.encode()).hexdigest() != signed.digest:
            return Refused("the digest isn't the plan's")
        plan = msgspec.json.decode(signed.plan, type=NodePlan)
        if self.node not in (signed.node, "") or plan.node != self.node:
            return Refused("another node's plan")
        if signed.generation < self.generation:
            return Refused("an older generation")
        if signed.generation == self.generation and signed.digest != self.digest:
            return Refused("another plan of the same generation")
        self.generation, self.digest, self.plan = signed.generation, signed.digest, signed.plan
        return Accepted(self.generation)


class MemoryHost:
    """The way to a `MemoryNode`."""

    def __init__(self, node: str, memory: MemoryNode) -> None:
        self.node = node
        self._memory = memory

    async def request(self, request: Request) -> Reply:
        if self._memory.unreachable:
            raise Unreachable(self.node, self._memory.unreachable)
        return self._memory.answer(request)

    async def close(self) -> None:
        pass


class MemoryFleet:
    """Nodes by name; opens the way to each, and counts what is open."""

    def __init__(self, *names: str) -> None:
        self.nodes = {name: MemoryNode(name) for name in names}

    def access(self) -> dict[str, NodeAccess]:
        return {name: NodeAccess(name, "local") for name in self.nodes}

    def open(self, node: NodeAccess) -> MemoryHost:
        return MemoryHost(node.name, self.nodes[node.name])

    async def close(self) -> None:
        pass


@dataclass
class FarSide:
    """A memory node behind a byte stream, which may be told to misbehave on its next answers."""

    memory: MemoryNode
    faults: list[bytes | None] = field(default_factory=list)  # sent instead of an answer; None: hang up
    conversations: int = 0

    async def converse(self, reader: Reader, write: Callable[[bytes], Awaitable[None]]) -> None:
        """One conversation, until either side hangs up."""
        self.conversations += 1
        pending = b""
        while chunk := await reader.read(65536):
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                if not self.faults:
                    await write(msgspec.json.encode(self.memory.answer(decode_request(line))) + b"\n")
                elif (fault := self.faults.pop(0)) is not None:
                    await write(fault)
                else:
                    return


@asynccontextmanager
async def socket_server(far_side: FarSide, state: Path) -> AsyncIterator[None]:
    """The far side at a runtime's control socket."""

    conversing: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def write(content: bytes) -> None:
            writer.write(content)
            await writer.drain()

        try:
            await far_side.converse(reader, write)
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversing.add(asyncio.create_task(serve(reader, writer)))

    state.mkdir(parents=True, exist_ok=True)
    directory = os.open(state, os.O_PATH)  # temporary directories may be longer than a socket's path may
    server = await asyncio.start_unix_server(accept, f"/proc/self/fd/{directory}/control.sock")
    os.close(directory)
    try:
        yield
    finally:
        server.close()
        for task in conversing:
            task.cancel()
        await asyncio.gather(*conversing, return_exceptions=True)


@asynccontextmanager
async def runtime_server(
    far_side: FarSide,
    authority_key: str,
    certificate: str | None,
    key: asyncssh.SSHKey | None = None,
) -> AsyncIterator[int]:
    """The far side at a runtime's own SSH port. Without a certificate, it shows its bare key."""
    key = key or far_side.memory.key

    async def accept(process: asyncssh.SSHServerProcess[bytes]) -> None:
        if process.subsystem != CONTROL_SUBSYSTEM:
            process.exit(1)
            return

        async def write(content: bytes) -> None:
            process.stdout.write(content)
            await process.stdout.drain()

        await far_side.converse(process.stdin, write)
        process.exit(0)

    trusted = f'cert-authority,principals="{ORCHESTRATOR_PRINCIPAL}" {authority_key}'
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[(key, asyncssh.import_certificate(certificate)) if certificate else key],
        authorized_client_keys=asyncssh.import_authorized_keys(trusted),
        process_factory=accept,
        encoding=None,
    )
    try:
        yield server.get_port()
    finally:
        server.close()


BRIDGE = """#!{python} -S
# Stands in for `syncgraph-node`, called as "control --state DIR": joins stdin and stdout to the socket.
import os, select, socket, sys
with open(os.path.join(os.path.dirname(__file__), "arguments"), "w") as file:
    file.write("\\n".join(sys.argv[1:]))
here = socket.socket(socket.AF_UNIX)
os.chdir(sys.argv[3])
try:
    here.connect("control.sock")
except OSError as error:
    sys.exit(f"no node runtime: {{error.strerror}}")
while True:
    for ready in select.select([0, here], [], [])[0]:
        chunk = os.read(0, 65536) if ready == 0 else here.recv(65536)
        if not chunk:
            sys.exit(0)
        if ready == 0:
            here.sendall(chunk)
        else:
            while chunk:
                chunk = chunk[os.write(1, chunk):]
"""


def write_bridge(path: Path) -> Path:
    """A program for the far end of an sshd, beside which it leaves the arguments that it got."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(BRIDGE.format(python=sys.executable))
    path.chmod(0o755)
    return path


@contextmanager
def served_fleet(directory: Path, *names: str) -> Iterator[dict[str, FarSide]]:
    """Memory nodes behind control sockets in `directory`/NAME, served from a thread while the block lasts.

    So the whole command line can be run against them in one process: access "local" finds them.
    """
    fleet = {name: FarSide(MemoryNode(name)) for name in names}
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with AsyncExitStack() as stack:
            for name, far_side in fleet.items():
                await stack.enter_async_context(socket_server(far_side, directory / name))
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield fleet
    finally:
        done.set()
        thread.join()


def write_star(directory: Path, states: Path, hub: str, *spokes: str, deletes: str = "propagate") -> Path:
    """Documents for a hub that gives to its spokes, with the nodes' state below `states`."""
    directory.mkdir(parents=True, exist_ok=True)
    nodes = "".join(
        f"    - {{name: {name}, access: local, address: 127.0.0.1, runtime: {{state: '{states / name}'}}}}\n"
        for name in (hub, *spokes)
    )
    (directory / "inventory.yaml").write_text(
        f"apiVersion: syncgraph/v1\nkind: Inventory\nmetadata: {{name: nodes}}\nspec:\n  nodes:\n{nodes}"
    )
    ends = ", ".join(f'"{spoke}:/srv/data"' for spoke in spokes)
    (directory / "topology.yaml").write_text(
        "apiVersion: syncgraph/v1\nkind: Topology\nmetadata: {name: fleet}\nspec:\n"
        f"  inventory: [inventory.yaml]\n  defaults: {{deletes: {deletes}}}\n  graphs:\n"
        f'    - {{name: star, shape: hub-and-spoke, hub: "{hub}:/srv/data", spokes: [{ends}], '
        "direction: to-spokes}\n"
    )
    return directory
