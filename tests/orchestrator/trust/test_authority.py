"""The authority: what it issues, what it signs, and that its secret stays encrypted."""

import base64
import stat
import subprocess
from pathlib import Path

import asyncssh
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from orchestrator.errors import OperatorError
from orchestrator.trust import authority
from orchestrator.trust.authority import BACKDATE_S, LOGIN_LIFETIME_S, NODE_LIFETIME_S, BadKey
from orchestrator.trust.place import public_key_at
from schemas.control import ORCHESTRATOR_PRINCIPAL
from schemas.plans import digest, empty_plan, encode, signed_bytes

PASSPHRASE = "correct horse battery"
NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> authority.Authority:
    return authority.create(tmp_path_factory.mktemp("authority") / "authority", PASSPHRASE)


def node_key() -> tuple[asyncssh.SSHKey, str]:
    key = asyncssh.generate_private_key("ssh-ed25519")
    return key, key.export_public_key().decode()


def test_what_was_created_opens_again_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "authority"
    made = authority.create(path, PASSPHRASE)
    assert authority.load(path, PASSPHRASE).public_key == made.public_key == public_key_at(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {entry.name for entry in path.parent.iterdir()} == {"authority", "authority.pub", ".gitignore"}


def test_ssh_keygen_can_open_the_key_file(tmp_path: Path) -> None:
    made = authority.create(tmp_path / "authority", PASSPHRASE)
    command = ["ssh-keygen", "-y", "-P", PASSPHRASE, "-f", str(tmp_path / "authority")]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert shown.startswith(made.public_key)


def test_a_wrong_passphrase_is_said_without_showing_it(tmp_path: Path) -> None:
    authority.create(tmp_path / "authority", PASSPHRASE)
    with pytest.raises(OperatorError, match="passphrase doesn't open") as caught:
        authority.load(tmp_path / "authority", "wrong guess")
    assert "wrong guess" not in str(caught.value)


def test_an_existing_authority_is_never_replaced(tmp_path: Path) -> None:
    first = authority.create(tmp_path / "authority", PASSPHRASE)
    with pytest.raises(OperatorError, match="is there already"):
        authority.create(tmp_path / "authority", PASSPHRASE)
    assert authority.load(tmp_path / "authority", PASSPHRASE).public_key == first.public_key
    assert public_key_at(tmp_path / "authority") == first.public_key


def test_a_lost_public_half_is_written_again(tmp_path: Path) -> None:
    first = authority.create(tmp_path / "authority", PASSPHRASE)
    (tmp_path / "authority.pub").unlink()
    authority.load(tmp_path / "authority", PASSPHRASE)
    assert public_key_at(tmp_path / "authority") == first.public_key


def test_a_file_that_is_no_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "authority").write_text("kind: Topology\n")
    with pytest.raises(OperatorError, match="isn't a private key"):
        authority.load(tmp_path / "authority", PASSPHRASE)


@pytest.mark.parametrize("purpose", ["user", "host"])
def test_certificates_bind_one_name_one_purpose_and_one_term(
    opened: authority.Authority, purpose: str
) -> None:
    key, public = node_key()
    issue = opened.user_certificate if purpose == "user" else opened.host_certificate
    text = issue("branch-01", public, NOW)
    certificate = asyncssh.import_certificate(text)
    assert certificate.principals == ["branch-01"]
    assert certificate.key.public_data == key.public_data
    assert certificate.signing_key.public_data == asyncssh.import_public_key(opened.public_key).public_data
    described = subprocess.run(["ssh-keygen", "-L", "-f", "-"], input=text, capture_output=True, text=True)
    assert f"{purpose} certificate" in described.stdout
    if purpose == "user":
        assert "Extensions: (none)" in described.stdout
    assert certificate._valid_after == NOW - BACKDATE_S
    assert certificate._valid_before == NOW + NODE_LIFETIME_S


def test_serials_differ(opened: authority.Authority) -> None:
    _, public = node_key()
    shown = {
        subprocess.run(
            ["ssh-keygen", "-L", "-f", "-"],
            input=opened.host_certificate("a", public, NOW),
            capture_output=True,
            text=True,
        ).stdout.split("Serial: ")[1]
        for _ in range(2)
    }
    assert len(shown) == 2


def test_the_login_is_for_the_orchestrator_alone_and_short(opened: authority.Authority) -> None:
    login = opened.login(NOW)
    assert login.certificate.principals == [ORCHESTRATOR_PRINCIPAL]
    assert login.certificate._valid_before == NOW + LOGIN_LIFETIME_S
    assert opened.login(NOW).key.public_data != login.key.public_data


@pytest.mark.parametrize("bad", ["", "not a key", "ssh-ed25519 AAAA", "ssh-rsa"])
def test_a_node_key_that_is_not_ed25519_is_refused(opened: authority.Authority, bad: str) -> None:
    if bad == "ssh-rsa":
        bad = asyncssh.generate_private_key("ecdsa-sha2-nistp256").export_public_key().decode()
    with pytest.raises(BadKey):
        opened.user_certificate("a", bad, NOW)


def test_a_signed_plan_carries_its_own_text_and_a_signature_of_node_and_generation(
    opened: authority.Authority,
) -> None:
    plan = empty_plan("fleet", "branch-01")
    signed = opened.sign(plan, 7)
    assert signed.plan.encode() == encode(plan)
    assert (signed.digest, signed.node, signed.generation) == (digest(plan), "branch-01", 7)
    public = load_ssh_public_key(opened.public_key.encode())
    assert isinstance(public, Ed25519PublicKey)
    public.verify(base64.b64decode(signed.signature), signed_bytes("branch-01", 7, digest(plan)))
    assert opened.sign(plan, 8).signature != signed.signature


def test_nothing_shown_of_an_authority_holds_its_secret(opened: authority.Authority) -> None:
    shown = repr(opened) + repr(opened.login(NOW))
    assert "PRIVATE" not in shown
    assert "SSHKey" not in shown
