"""The fleet's certificate authority: one Ed25519 key that vouches for nodes and signs their plans.

It decides what a certificate says: principal, purpose, lifetime. It never sees a private key but its
own and the short-lived one that it makes for this run, and it knows nothing of hosts or of how its
certificates travel. With `orchestrator.apply.ssh` it is this program's only door to asyncssh: the
formats of keys and certificates here, the protocol there.

On disk there is one file, the key in OpenSSH's own format (bcrypt KDF, AES-256), so that ssh-keygen can
read, back up and re-encrypt it, and beside it the public half that nodes are given.

Source: OpenSSH PROTOCOL.certkeys (certificates), PROTOCOL.key (the key file).
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from orchestrator.errors import OperatorError
from orchestrator.trust.place import public_key_at, public_path
from schemas.control import ORCHESTRATOR_PRINCIPAL
from schemas.plans import NodePlan, SignedPlan, digest, encode, signed_bytes

KEY_ALGORITHM = "ssh-ed25519"
NODE_LIFETIME_S = 90 * 86_400
LOGIN_LIFETIME_S = 3_600  # one run of the orchestrator; nothing keeps this key
BACKDATE_S = 300  # clocks of nodes run behind ours by up to this
KDF_ROUNDS = 24  # of bcrypt-pbkdf, as ssh-keygen's default; about 0.2 s to open the key


@dataclass(frozen=True, slots=True)
class Login:
    """A key that lives in memory for one run, and the certificate that lets it command runtimes."""

    key: asyncssh.SSHKey = field(repr=False)
    certificate: asyncssh.SSHCertificate = field(repr=False)


class BadKey(Exception):
    """A node's public key can't be certified. Its operator acts."""


@dataclass(frozen=True, slots=True)
class Authority:
    """An open authority. Opening is slow on purpose, so it is opened once a run."""

    public_key: str  # OpenSSH format, one line without comment
    _key: asyncssh.SSHKey = field(repr=False)

    def user_certificate(self, node: str, public_key: str, now: float) -> str:
        """Lets the holder of `public_key` dial peers as `node`; one line in OpenSSH format."""
        certificate = self._certify_user(_node_key(public_key), node, now, NODE_LIFETIME_S)
        return _line(certificate.export_certificate())

    def host_certificate(self, node: str, public_key: str, now: float) -> str:
        """Lets the holder of `public_key` answer as `node`; one line in OpenSSH format."""
        certificate = self._key.generate_host_certificate(
            _node_key(public_key),
            key_id=node,
            serial=_serial(),
            principals=[node],
            valid_after=now - BACKDATE_S,
            valid_before=now + NODE_LIFETIME_S,
        )
        return _line(certificate.export_certificate())

    def login(self, now: float) -> Login:
        """A fresh key and its certificate, to talk to runtimes' own ports during one run."""
        key = asyncssh.generate_private_key(KEY_ALGORITHM)
        public = key.convert_to_public()
        return Login(key, self._certify_user(public, ORCHESTRATOR_PRINCIPAL, now, LOGIN_LIFETIME_S))

    def _certify_user(
        self, key: asyncssh.SSHKey, principal: str, now: float, lifetime_s: float
    ) -> asyncssh.SSHCertificate:
        return self._key.generate_user_certificate(
            key,
            key_id=principal,
            serial=_serial(),
            principals=[principal],
            valid_after=now - BACKDATE_S,
            valid_before=now + lifetime_s,
            permit_x11_forwarding=False,
            permit_agent_forwarding=False,
            permit_port_forwarding=False,
            permit_pty=False,
            permit_user_rc=False,
        )

    def sign(self, plan: NodePlan, generation: int) -> SignedPlan:
        """The envelope that a node accepts: the plan's own text, bound to its node and a generation."""
        plan_digest = digest(plan)
        signature = self._key.sign_raw(signed_bytes(plan.node, generation, plan_digest), "")
        return SignedPlan(
            plan=encode(plan).decode(),
            digest=plan_digest,
            node=plan.node,
            generation=generation,
            signature=base64.b64encode(signature).decode(),
        )


def create(path: Path, passphrase: str) -> Authority:
    """Make a new authority at `path`. Refuses to replace one: its nodes would obey nobody any more."""
    key = asyncssh.generate_private_key(KEY_ALGORITHM, comment="syncgraph authority")
    text = key.export_private_key("openssh", passphrase=passphrase, rounds=KDF_ROUNDS, ignore_few_rounds=True)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = Authority(_line(key.export_public_key()), key)
    _keep_out_of_git(path.parent, path.name)
    _publish(path, text, 0o600)
    _publish_public(path, authority)
    return authority


def load(path: Path, passphrase: str) -> Authority:
    """Open the authority at `path`."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise OperatorError(f"can't read the certificate authority's key {path}: {error.strerror}") from None
    try:
        key = asyncssh.import_private_key(text, passphrase)
    except (asyncssh.KeyEncryptionError, asyncssh.KeyImportError) as error:
        if b"OPENSSH PRIVATE KEY" not in text:
            raise OperatorError(f"{path} isn't a private key in OpenSSH format: {error}") from None
        raise OperatorError(f"the passphrase doesn't open the certificate authority's key {path}") from None
    if key.get_algorithm() != KEY_ALGORITHM:
        raise OperatorError(f"{path} holds a key of type {key.get_algorithm()}; it must be {KEY_ALGORITHM}")
    authority = Authority(_line(key.export_public_key()), key)
    if public_key_at(path) != authority.public_key:  # a creation was cut short, or the file was lost
        with contextlib.suppress(OSError):  # a read-only copy of the key serves as well
            _publish_public(path, authority)
    return authority


def fingerprint(public_key: str) -> str:
    """A public key as people compare it: SHA256:…"""
    try:
        return asyncssh.import_public_key(public_key).get_fingerprint()
    except asyncssh.KeyImportError:
        return "(not a public key)"


def _node_key(public_key: str) -> asyncssh.SSHKey:
    """A node's key, which came from outside and may be anything."""
    try:
        key = asyncssh.import_public_key(public_key)
    except (asyncssh.KeyImportError, ValueError) as error:
        raise BadKey(f"its public key can't be read: {error}") from None
    if key.get_algorithm() != KEY_ALGORITHM:
        raise BadKey(f"its key is of type {key.get_algorithm()}; it must be {KEY_ALGORITHM}")
    return key


def _serial() -> int:
    """Random, so that no counter needs keeping between runs and machines; 63 bits never meet."""
    return secrets.randbits(63)


def _line(exported: bytes) -> str:
    """Algorithm and base64 of an exported key or certificate; the comment says nothing that is signed."""
    return " ".join(exported.decode().split()[:2])


def _publish(path: Path, content: bytes, mode: int) -> None:
    """Write a file that appears whole, durable and with its mode, or not at all; never over another."""
    temporary = _write_beside(path, content, mode)
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise OperatorError(
            f"{path} is there already; a second authority would lock the first's nodes"
        ) from None
    finally:
        temporary.unlink()
    _sync_directory(path.parent)


def _publish_public(path: Path, authority: Authority) -> None:
    """Write the public half beside the key, replacing what is there."""
    public = public_path(path)
    _write_beside(public, authority.public_key.encode() + b"\n", 0o644).replace(public)
    _sync_directory(path.parent)


def _write_beside(path: Path, content: bytes, mode: int) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)  # whatever the umask
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    return temporary


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _keep_out_of_git(directory: Path, name: str) -> None:
    """An encrypted key is still not for a repository's history, whatever its own .gitignore says."""
    with contextlib.suppress(FileExistsError), (directory / ".gitignore").open("x") as file:
        file.write(f"{name}*\n")
