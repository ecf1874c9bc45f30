"""Who this node is: its key, the fleet it joined, and the certificates that fleet gave it.

It decides which enrolment is taken and which refused. A key is made once and never leaves the machine; an
enrolment names one authority for good, until a person removes it. It must not know plans or connections.
Read on in `net/keys.py` for what makes a certificate good, and `plans` for what the authority may order.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from node_runtime.daemon.layout import Layout, publish, sweep
from node_runtime.errors import NodeError
from node_runtime.net import keys
from node_runtime.net.keys import Credentials
from schemas.control import ORCHESTRATOR_PRINCIPAL, Enrol
from schemas.plans import Document, encode
from schemas.text import check_name


class Enrolment(Document, frozen=True):
    """What a node keeps of the fleet that it belongs to."""

    node: str
    authority: str  # public key, OpenSSH format, one line without comment
    user_certificate: str  # OpenSSH format
    host_certificate: str  # OpenSSH format


_decode_enrolment = msgspec.json.Decoder(Enrolment).decode


class Identity:
    """A node's key and enrolment, on disk and in memory. `open_identity` makes one."""

    def __init__(self, layout: Layout, key: keys.PrivateKey) -> None:
        self.key = key
        self.public_key = keys.public_line(key)
        self.credentials: Credentials | None = None  # None before enrolment
        self.named_authority = _read_line(layout.authority)  # "" where `init` was given none
        self.named_node = _read_line(layout.name)  # "" where `init` was given none
        self._layout = layout

    @property
    def authority(self) -> str | None:
        """The key whose word counts: the fleet's, or before enrolment the one named at `init`, if any."""
        return self.credentials.authority if self.credentials else self.named_authority or None

    @property
    def certificate_expires_at(self) -> float | None:
        """When the first of the two certificates runs out (Unix time); None before enrolment."""
        if self.credentials is None:
            return None
        both = (self.credentials.user_certificate, self.credentials.host_certificate)
        return float(min(keys.validity(certificate)[1] for certificate in both))

    def enrol(self, request: Enrol, now: float) -> str | None:
        """Join a fleet, or take its renewed certificates. The reason, where nothing changed."""
        refusal = self._enrolment_refused_because(request)
        if refusal is not None:
            return refusal
        try:
            authority = keys.public_line(keys.read_public_key(request.authority))
        except ValueError as error:
            return f"the authority's key can't be used: {error}"
        if self.authority is not None and authority != self.authority:
            return self.other_authority(authority)
        enrolment = Enrolment(request.node, authority, request.user_certificate, request.host_certificate)
        try:
            credentials = _credentials(enrolment, self.key, now)
        except ValueError as error:
            return str(error)
        publish(self._layout.enrolment, encode(enrolment))
        self.credentials = credentials
        return None

    def _enrolment_refused_because(self, request: Enrol) -> str | None:
        """What is wrong with the name alone."""
        try:
            check_name(request.node)
        except ValueError as error:
            return f"the node name {request.node!r} can't be used: {error}"
        if request.node == ORCHESTRATOR_PRINCIPAL:
            return f"no node can be named {ORCHESTRATOR_PRINCIPAL}: the orchestrator logs in by this name"
        known = self.credentials.node if self.credentials else self.named_node
        if known and request.node != known:
            how = self._how_to_leave() if self.credentials else f"remove {self._layout.name}"
            return f"this node is {known}, not {request.node}; to rename it, {how}"
        return None

    def other_authority(self, authority: str) -> str:
        """Why `authority` can't take this node over, and what its operator would have to do."""
        assert self.authority is not None
        shown = f"{keys.fingerprint(self.authority)}, not {keys.fingerprint(authority)}"
        if self.credentials:
            return f"this node belongs to the fleet of authority {shown}; to leave it, {self._how_to_leave()}"
        return f"`syncgraph-node init` named the authority {shown}; to change that, run it again"

    def _how_to_leave(self) -> str:
        return f"stop the node runtime, remove {self._layout.enrolment} and start it again"

    def load(self) -> None:
        """Read the enrolment back. Certificates that ran out meanwhile are kept: they are to be renewed."""
        try:
            text = self._layout.enrolment.read_bytes()
        except FileNotFoundError:
            return
        try:
            enrolment = _decode_enrolment(text)
            self.credentials = _credentials(enrolment, self.key, None)
        except (msgspec.DecodeError, ValueError) as error:
            raise NodeError(
                f"{self._layout.enrolment} can't be used: {error}; remove it and apply again to enrol anew"
            ) from None


def open_identity(layout: Layout) -> Identity:
    """The identity of this state directory, whose lock the caller holds; the first call makes its key."""
    sweep(layout.root)
    try:
        text = layout.key.read_bytes()
    except FileNotFoundError:
        key = keys.generate()
        publish(layout.key, keys.private_text(key), 0o600)
    except OSError as error:
        raise NodeError(f"can't read this node's key {layout.key}: {error.strerror}") from None
    else:
        key = keys.read_private_key(text, str(layout.key))
        _check_private(layout.key)
    identity = Identity(layout, key)
    if _read_line(layout.public_key) != identity.public_key:
        publish(layout.public_key, identity.public_key.encode() + b"\n", 0o644)
    identity.load()
    return identity


def name_authority(layout: Layout, authority: str, node: str) -> None:
    """Let only this authority enrol the node, under this name if one is given. Raises NodeError."""
    identity = open_identity(layout)
    if authority:
        try:
            line = keys.public_line(keys.read_public_key(authority))
        except ValueError as error:
            raise NodeError(f"the authority's key can't be used: {error}") from None
        if identity.credentials and identity.credentials.authority != line:
            raise NodeError(identity.other_authority(line))
        publish(layout.authority, line.encode() + b"\n", 0o644)
    if node:
        try:
            check_name(node)
        except ValueError as error:
            raise NodeError(f"--node {node!r}: {error}") from None
        if identity.credentials and identity.credentials.node != node:
            raise NodeError(f"this node is enrolled as {identity.credentials.node} already")
        publish(layout.name, node.encode() + b"\n", 0o644)


def _credentials(enrolment: Enrolment, key: keys.PrivateKey, now: float | None) -> Credentials:
    """An enrolment with its certificates checked; without `now` their dates aren't. Raises ValueError."""
    authority = keys.read_public_key(enrolment.authority)
    read = {}
    texts: dict[keys.Role, str] = {"user": enrolment.user_certificate, "host": enrolment.host_certificate}
    for role, text in texts.items():
        try:
            certificate = keys.read_certificate(text)
        except ValueError as error:
            raise ValueError(f"the {role} certificate can't be used: {error}") from None
        moment = keys.validity(certificate)[0] if now is None else now
        refusal = keys.certificate_refused_because(certificate, role, enrolment.node, key, authority, moment)
        if refusal is not None:
            raise ValueError(f"the {role} certificate can't be used: {refusal}")
        read[role] = certificate
    return Credentials(enrolment.node, enrolment.authority, key, read["user"], read["host"])


def _check_private(path: Path) -> None:
    """A key that others may read is no key any more; ssh refuses it likewise."""
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise NodeError(f"others can read this node's key {path} (mode {mode:o}); run `chmod 600 {path}`")


def _read_line(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return ""
