"""Enrolment: what is taken, what is refused, and that a refusal changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from node_runtime.daemon.identity import Identity, name_authority, open_identity
from node_runtime.daemon.layout import Layout
from node_runtime.errors import NodeError
from schemas.control import ORCHESTRATOR_PRINCIPAL, Enrol
from tests.support.authority import DAY_S, Authority

AUTHORITY = Authority()
STRANGER = Authority()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "state")
    made.create()
    return made


def contents(layout: Layout) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in layout.root.rglob("*") if path.is_file()}


def test_a_key_is_made_once_for_its_owner_alone(layout: Layout) -> None:
    first = open_identity(layout)
    assert open_identity(layout).public_key == first.public_key
    assert layout.root.stat().st_mode & 0o777 == 0o700
    assert layout.key.stat().st_mode & 0o777 == 0o600
    assert layout.key.read_bytes().startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----")
    assert layout.public_key.read_text() == first.public_key + "\n"
    assert first.credentials is None
    assert first.authority is None


def test_a_key_that_others_can_read_is_refused(layout: Layout) -> None:
    open_identity(layout)
    layout.key.chmod(0o640)
    with pytest.raises(NodeError, match="chmod 600"):
        open_identity(layout)


def test_a_damaged_key_is_said_without_a_traceback(layout: Layout) -> None:
    layout.key.write_text("not a key")
    with pytest.raises(NodeError, match="isn't a usable private key"):
        open_identity(layout)


def test_enrolment_survives_a_restart(layout: Layout) -> None:
    identity = open_identity(layout)
    assert identity.enrol(AUTHORITY.enrol("hub", identity.public_key), time.time()) is None
    again = open_identity(layout)
    assert again.credentials is not None
    assert again.credentials.node == "hub"
    assert again.authority == AUTHORITY.public_key
    assert again.certificate_expires_at == pytest.approx(time.time() + DAY_S, abs=60)
    assert layout.enrolment.stat().st_mode & 0o777 == 0o600


def test_renewed_certificates_replace_the_old(layout: Layout) -> None:
    identity = open_identity(layout)
    now = time.time()
    assert identity.enrol(AUTHORITY.enrol("hub", identity.public_key), now) is None
    later = Enrol(
        "hub",
        AUTHORITY.public_key,
        AUTHORITY.certificate("user", identity.public_key, ["hub"], valid_before=now + 30 * DAY_S),
        AUTHORITY.certificate("host", identity.public_key, ["hub"], valid_before=now + 20 * DAY_S),
    )
    assert identity.enrol(later, now) is None
    assert identity.certificate_expires_at == pytest.approx(now + 20 * DAY_S, abs=1)
    assert open_identity(layout).certificate_expires_at == identity.certificate_expires_at


def test_expired_certificates_are_kept_so_that_they_can_be_renewed(layout: Layout) -> None:
    identity = open_identity(layout)
    past = time.time() - 10 * DAY_S
    old = Enrol(
        "hub",
        AUTHORITY.public_key,
        AUTHORITY.certificate("user", identity.public_key, ["hub"], past - 60, past + 60),
        AUTHORITY.certificate("host", identity.public_key, ["hub"], past - 60, past + 60),
    )
    assert identity.enrol(old, past) is None
    assert open_identity(layout).certificate_expires_at == pytest.approx(past + 60, abs=1)


def wrong(role: str, make: Callable[[str], str]) -> Callable[[Enrol, str], Enrol]:
    """An enrolment whose certificate for one role is made by `make` from the node's public key."""
    field = f"{role}_certificate"
    return lambda good, key: msgspec.structs.replace(good, **{field: make(key)})


def of(role: str, *principals: str, by: Authority = AUTHORITY, **dates: float) -> Callable[[str], str]:
    return lambda key: by.certificate(role, key, principals, **dates)


OTHER_KEY = STRANGER.public_key
NOW = time.time()  # when the tests were collected; much later a fresh certificate isn't valid at this time
REFUSED = {
    "user certificate of a stranger": (wrong("user", of("user", "hub", by=STRANGER)), "isn't signed by"),
    "host certificate of a stranger": (wrong("host", of("host", "hub", by=STRANGER)), "isn't signed by"),
    "another key": (
        wrong("user", lambda key: AUTHORITY.certificate("user", OTHER_KEY, ["hub"])),
        "another key",
    ),
    "another principal": (wrong("user", of("user", "spoke")), "principals are spoke"),
    "one principal too many": (wrong("host", of("host", "hub", "spoke")), "principals are hub, spoke"),
    "any principal": (wrong("user", of("user")), "principals are (any)"),
    "expired": (wrong("user", of("user", "hub", valid_before=NOW - 1)), "has expired"),
    "not valid yet": (wrong("host", of("host", "hub", valid_after=NOW + 3600)), "isn't valid yet"),
    "a host certificate as user's": (wrong("user", of("host", "hub")), "isn't a user certificate"),
    "a user certificate as host's": (wrong("host", of("user", "hub")), "isn't a host certificate"),
    "no certificate": (wrong("user", lambda key: "ssh-ed25519-cert-v01@openssh.com AAAA"), "can't be read"),
    "a bare key": (wrong("user", lambda key: key), "user certificate can't be used"),
    "a bad authority": (
        lambda good, _: msgspec.structs.replace(good, authority="nothing"),
        "authority's key",
    ),
    "another authority's key": (
        lambda good, _: msgspec.structs.replace(good, authority=STRANGER.public_key),
        "isn't signed by",
    ),
    "a name with a pattern": (lambda good, _: msgspec.structs.replace(good, node="*"), "can't be used"),
    "the orchestrator's name": (
        lambda _, key: AUTHORITY.enrol(ORCHESTRATOR_PRINCIPAL, key),
        "no node can be named",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_enrolment_changes_nothing(layout: Layout, case: str) -> None:
    change, reason = REFUSED[case]
    identity = open_identity(layout)
    before = contents(layout)
    said = identity.enrol(
        change(AUTHORITY.enrol("hub", identity.public_key), identity.public_key), time.time()
    )
    assert said is not None
    assert reason in said
    assert identity.credentials is None
    assert contents(layout) == before


def enrolled(layout: Layout) -> Identity:
    identity = open_identity(layout)
    assert identity.enrol(AUTHORITY.enrol("hub", identity.public_key), time.time()) is None
    return identity


def test_a_member_refuses_another_fleet_and_says_how_to_leave(layout: Layout) -> None:
    identity = enrolled(layout)
    before = contents(layout)
    said = identity.enrol(STRANGER.enrol("hub", identity.public_key), time.time())
    assert said is not None
    assert "enrolment.json" in said
    assert contents(layout) == before
    layout.enrolment.unlink()
    assert open_identity(layout).enrol(STRANGER.enrol("hub", identity.public_key), time.time()) is None


def test_a_member_keeps_its_name(layout: Layout) -> None:
    identity = enrolled(layout)
    said = identity.enrol(AUTHORITY.enrol("spoke", identity.public_key), time.time())
    assert said is not None
    assert "this node is hub, not spoke" in said


def test_a_damaged_enrolment_says_what_to_do(layout: Layout) -> None:
    enrolled(layout)
    layout.enrolment.write_text("{")
    with pytest.raises(NodeError, match="remove it and apply again"):
        open_identity(layout)


def test_an_enrolment_copied_from_another_node_is_refused(layout: Layout) -> None:
    enrolled(layout)
    layout.key.unlink()
    with pytest.raises(NodeError, match="another key"):
        open_identity(layout)


def test_the_authority_and_name_given_at_init_are_the_only_ones(layout: Layout) -> None:
    name_authority(layout, AUTHORITY.public_key + " comment", "hub")
    identity = open_identity(layout)
    assert identity.authority == AUTHORITY.public_key
    now = time.time()
    assert "init" in str(identity.enrol(STRANGER.enrol("hub", identity.public_key), now))
    assert "not spoke" in str(identity.enrol(AUTHORITY.enrol("spoke", identity.public_key), now))
    assert identity.enrol(AUTHORITY.enrol("hub", identity.public_key), now) is None
    with pytest.raises(NodeError, match="belongs to the fleet"):
        name_authority(layout, STRANGER.public_key, "")
    with pytest.raises(NodeError, match="enrolled as hub"):
        name_authority(layout, "", "spoke")


def test_one_runtime_at_a_time_owns_a_state_directory(layout: Layout) -> None:
    with layout.lock(), pytest.raises(NodeError, match="another node runtime"), layout.lock():
        pass
    with layout.lock():
        pass


def test_a_directory_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    (home / "letters").touch()
    with pytest.raises(NodeError, match="isn't a state directory"):
        Layout(home).create()
    assert home.stat().st_mode & 0o777 == 0o755
    empty = tmp_path / "empty"
    empty.mkdir(mode=0o755)
    Layout(empty).create()
    assert empty.stat().st_mode & 0o777 == 0o700
