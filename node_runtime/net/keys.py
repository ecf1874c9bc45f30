"""Keys and certificates: what counts as ours, as the authority's, as valid.

It decides whether a key, a certificate or a signature is what it claims to be; it never touches a file,
a socket or the clock (`now` is an argument). With `net.ssh` and `net.channel` it is this program's only
door to asyncssh: the formats here, the connections there. Read on in `daemon/identity.py`, which keeps
these things on disk.

Source: OpenSSH PROTOCOL.certkeys (certificates), RFC 8709 (Ed25519 in SSH), RFC 8032 (Ed25519).
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Literal

import asyncssh
from asyncssh.public_key import SSHOpenSSHCertificate

from node_runtime.errors import NodeError

KEY_ALGORITHM = "ssh-ed25519"
SIGNATURE_BYTES = 64

PrivateKey = asyncssh.SSHKey  # what others hold without knowing the library
Role = Literal["user", "host"]
_TYPE_OF_ROLE = {"user": 1, "host": 2}  # SSH_CERT_TYPE_USER, SSH_CERT_TYPE_HOST


@dataclass(frozen=True, slots=True)
class Credentials:
    """All that this node shows when it dials and when it is dialled, and whom it believes."""

    node: str
    authority: str  # public key, OpenSSH format, one line without comment
    key: asyncssh.SSHKey = field(repr=False)
    user_certificate: SSHOpenSSHCertificate = field(repr=False)
    host_certificate: SSHOpenSSHCertificate = field(repr=False)


def generate() -> asyncssh.SSHKey:
    """A new Ed25519 key."""
    return asyncssh.generate_private_key(KEY_ALGORITHM, comment="syncgraph node")


def read_private_key(text: bytes, where: str) -> asyncssh.SSHKey:
    """The node's own key from the text of its file; `where` names the file in messages."""
    try:
        key = asyncssh.import_private_key(text)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError) as error:
        raise NodeError(f"{where} isn't a usable private key: {error}") from None
    if key.get_algorithm() != KEY_ALGORITHM:
        raise NodeError(f"{where} holds a key of type {key.get_algorithm()}; it must be {KEY_ALGORITHM}")
    return key


def private_text(key: asyncssh.SSHKey) -> bytes:
    """The key in OpenSSH's format, not encrypted: a daemon starts with nobody there to type."""
    return key.export_private_key("openssh")


def public_line(key: asyncssh.SSHKey) -> str:
    """The public half: algorithm and base64, without a comment, so that equal keys are equal texts."""
    return " ".join(key.export_public_key().decode().split()[:2])


def read_public_key(text: str) -> asyncssh.SSHKey:
    """A public key that came from outside. Raises ValueError with the reason."""
    try:
        key = asyncssh.import_public_key(text)
    except (asyncssh.KeyImportError, ValueError) as error:
        raise ValueError(f"it isn't a public key in OpenSSH format: {error}") from None
    if key.get_algorithm() != KEY_ALGORITHM:
        raise ValueError(f"it is of type {key.get_algorithm()}; it must be {KEY_ALGORITHM}")
    return key


def fingerprint(public_key: str) -> str:
    """A public key as people compare it: SHA256:…"""
    return read_public_key(public_key).get_fingerprint()


def read_certificate(text: str) -> SSHOpenSSHCertificate:
    """An OpenSSH certificate whose signature holds, whoever signed it. Raises ValueError with the reason."""
    try:
        certificate = asyncssh.import_certificate(text)
    except (asyncssh.KeyImportError, ValueError) as error:
        raise ValueError(f"it can't be read: {error}") from None
    if not isinstance(certificate, SSHOpenSSHCertificate):
        raise ValueError("it is no certificate in OpenSSH's format")
    return certificate


def certificate_refused_because(
    certificate: SSHOpenSSHCertificate,
    role: Role,
    node: str,
    key: asyncssh.SSHKey,
    authority: asyncssh.SSHKey,
    now: float,
) -> str | None:
    """Why a certificate doesn't make `key` the node `node` in this role, or None where it does."""
    if certificate.signing_key != authority:
        return "it isn't signed by the authority"
    if _type_of(certificate) != _TYPE_OF_ROLE[role]:
        return f"it isn't a {role} certificate"
    if certificate.key.public_data != key.public_data:
        return "it is for another key than this node's"
    if list(certificate.principals) != [node]:
        return f"its principals are {', '.join(certificate.principals) or '(any)'}, not {node} alone"
    valid_after, valid_before = validity(certificate)
    if now < valid_after:
        return "it isn't valid yet; compare the clocks of this node and the orchestrator"
    if now >= valid_before:
        return "it has expired"
    return None


def validity(certificate: SSHOpenSSHCertificate) -> tuple[int, int]:
    """Since when and until when (Unix time, seconds) a certificate holds."""
    fields = vars(certificate)  # asyncssh reads them and gives them no public name
    return int(fields["_valid_after"]), int(fields["_valid_before"])


def signature_holds(authority: asyncssh.SSHKey, signed: bytes, signature: str) -> bool:
    """Whether `signature` (base64 of 64 bytes) is the authority's Ed25519 signature of `signed`."""
    try:
        raw = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return False
    if len(raw) != SIGNATURE_BYTES:
        return False
    blob = b"".join(_string(part) for part in (KEY_ALGORITHM.encode(), raw))  # RFC 8709 section 6
    return authority.verify(signed, blob)


def _type_of(certificate: SSHOpenSSHCertificate) -> int:
    return int(vars(certificate)["_cert_type"])


def _string(value: bytes) -> bytes:
    """RFC 4251 section 5: a string is its length and its bytes."""
    return len(value).to_bytes(4, "big") + value
