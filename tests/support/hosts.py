"""Nodes in memory, and hosts that lead to them: what the push is tested against when no process is needed.

A `MemoryNode` keeps to a node's rules with real keys, certificates and signatures: it refuses another
authority, a bad signature, another node's plan and an older generation. `requests` says what was asked of it.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field

import asyncssh
import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from orchestrator.apply.access import NodeAccess
from orchestrator.apply.host import Unreachable
from schemas.control import Accepted, Apply, Enrol, Identify, Identity, Refused, Reply, Report, Request
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
