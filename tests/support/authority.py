"""A certificate authority for tests: what the orchestrator's does, with every field open to be made wrong."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncssh

from schemas.control import ORCHESTRATOR_PRINCIPAL, Enrol
from schemas.plans import NodePlan, SignedPlan, digest, encode, signed_bytes

DAY_S = 86_400.0


@dataclass
class Authority:
    """One Ed25519 key that signs whatever it is told to."""

    key: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))

    @property
    def public_key(self) -> str:
        return line(self.key.export_public_key())

    def certificate(
        self,
        role: str,
        public_key: str,
        principals: Sequence[str],
        valid_after: float | None = None,
        valid_before: float | None = None,
    ) -> str:
        """A user or host certificate, valid for a day around now unless told otherwise."""
        now = time.time()
        make = self.key.generate_user_certificate if role == "user" else self.key.generate_host_certificate
        made = make(
            asyncssh.import_public_key(public_key),
            key_id="test",
            principals=list(principals),
            valid_after=now - 60 if valid_after is None else valid_after,
            valid_before=now + DAY_S if valid_before is None else valid_before,
        )
        return line(made.export_certificate())

    def enrol(self, node: str, public_key: str) -> Enrol:
        """The request that makes the holder of `public_key` the node `node`."""
        return Enrol(
            node,
            self.public_key,
            self.certificate("user", public_key, [node]),
            self.certificate("host", public_key, [node]),
        )

    def sign(self, plan: NodePlan, generation: int, node: str | None = None) -> SignedPlan:
        """The envelope that a node of this authority accepts; another `node` makes a wrong one."""
        name = plan.node if node is None else node
        signature = self.key.sign_raw(signed_bytes(name, generation, digest(plan)), "")
        return SignedPlan(
            encode(plan).decode(), digest(plan), name, generation, base64.b64encode(signature).decode()
        )

    def login(
        self, principal: str = ORCHESTRATOR_PRINCIPAL
    ) -> tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]:
        """A fresh key and a certificate for it."""
        key = asyncssh.generate_private_key("ssh-ed25519")
        text = self.certificate("user", line(key.export_public_key()), [principal])
        return key, asyncssh.import_certificate(text)


def line(exported: bytes) -> str:
    """A key or certificate as one line without its comment."""
    return " ".join(exported.decode().split()[:2])
