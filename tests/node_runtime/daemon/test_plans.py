"""The plan store: what it takes, what it refuses, and that no crash leaves anything between old and new."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from node_runtime.daemon.identity import open_identity
from node_runtime.daemon.layout import Layout
from node_runtime.daemon.plans import KEPT_PLANS, PlanStore
from node_runtime.errors import NodeError
from schemas.control import Accepted, Refused
from schemas.plans import NodePlan, SignedPlan, digest, encode, signed_bytes
from tests.support.authority import Authority
from tests.support.plans import edge_between, plan_of

AUTHORITY = Authority()
STRANGER = Authority()
FIRST = plan_of("hub", edge_between("hub:/data", "spoke:/data"))
SECOND = plan_of("hub", edge_between("hub:/data", "spoke:/other"))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "state")
    made.create()
    identity = open_identity(made)
    assert identity.enrol(AUTHORITY.enrol("hub", identity.public_key), time.time()) is None
    return made


def opened(layout: Layout) -> PlanStore:
    """The store as a runtime finds it at its start."""
    store = PlanStore(layout, open_identity(layout))
    store.load()
    return store


def stored(layout: Layout) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in layout.plans.rglob("*") if path.is_file()}


def test_an_accepted_plan_survives_a_restart(layout: Layout) -> None:
    assert opened(layout).accept(AUTHORITY.sign(FIRST, 1)) == Accepted(generation=1)
    store = opened(layout)
    assert (store.plan, store.generation, store.digest) == (FIRST, 1, digest(FIRST))


def test_a_newer_generation_replaces_the_plan(layout: Layout) -> None:
    store = opened(layout)
    store.accept(AUTHORITY.sign(FIRST, 1))
    assert store.accept(AUTHORITY.sign(SECOND, 7)) == Accepted(generation=7)
    assert store.plan == SECOND
    assert store.accept(AUTHORITY.sign(FIRST, 8)) == Accepted(generation=8)
    assert (opened(layout).plan, opened(layout).generation) == (FIRST, 8)


def test_the_same_plan_again_is_accepted_and_changes_nothing(layout: Layout) -> None:
    store = opened(layout)
    signed = AUTHORITY.sign(FIRST, 3)
    store.accept(signed)
    before = {path: os.stat(path).st_ino for path in stored(layout)}
    assert store.accept(signed) == Accepted(generation=3)
    assert {path: os.stat(path).st_ino for path in stored(layout)} == before


def resigned(text: str, generation: int = 5) -> SignedPlan:
    """An envelope whose signature holds over any text."""
    named = SignedPlan(text, _sha256(text), "hub", generation, "")
    raw = AUTHORITY.key.sign_raw(signed_bytes("hub", generation, named.digest), "")
    return msgspec.structs.replace(named, signature=base64.b64encode(raw).decode())


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def altered(**fields: Any) -> Callable[[], SignedPlan]:
    return lambda: msgspec.structs.replace(AUTHORITY.sign(SECOND, 5), **fields)


TEXT = encode(SECOND).decode()
REFUSED: dict[str, tuple[Callable[[], SignedPlan], str]] = {
    "a stranger's signature": (lambda: STRANGER.sign(SECOND, 5), "isn't signed by"),
    "no signature": (altered(signature=""), "isn't signed by"),
    "a signature that isn't base64": (altered(signature="%%%"), "isn't signed by"),
    "a signature too long": (altered(signature=base64.b64encode(bytes(65)).decode()), "isn't signed by"),
    "a generation other than signed": (altered(generation=6), "isn't signed by"),
    "a digest of something else": (altered(digest=digest(FIRST)), "digest doesn't match"),
    "a text other than signed": (altered(plan=TEXT.replace("/other", "/etc")), "digest doesn't match"),
    "another node's envelope": (
        lambda: AUTHORITY.sign(plan_of("spoke", edge_between("hub:/data", "spoke:/data")), 5),
        "for node spoke",
    ),
    "another node's plan in our envelope": (
        lambda: AUTHORITY.sign(plan_of("spoke", edge_between("hub:/data", "spoke:/data")), 5, node="hub"),
        "for node spoke",
    ),
    "an older generation": (lambda: AUTHORITY.sign(SECOND, 2), "older than the current 3"),
    "the same generation, another plan": (lambda: AUTHORITY.sign(SECOND, 3), "taken by another plan"),
    "generation zero": (lambda: AUTHORITY.sign(SECOND, 0), "out of range"),
    "an endless generation": (lambda: AUTHORITY.sign(SECOND, 2**63), "out of range"),
    "no JSON": (lambda: resigned("nonsense"), "can't be read"),
    "an unknown key": (lambda: resigned(TEXT.replace('"kind"', '"cost":1,"kind"')), "can't be read"),
    "a wrong type": (lambda: resigned(TEXT.replace('"two-way"', "2")), "can't be read"),
    "another API version": (lambda: resigned(TEXT.replace("syncgraph/v1", "syncgraph/v9")), "can't be read"),
    "an edge of others": (lambda: AUTHORITY.sign(plan_of("hub", edge_between("a:/x", "b:/x")), 5), "neither"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_plan_changes_nothing(layout: Layout, case: str) -> None:
    make, reason = REFUSED[case]
    store = opened(layout)
    store.accept(AUTHORITY.sign(FIRST, 3))
    before = stored(layout)
    reply = store.accept(make())
    assert isinstance(reply, Refused)
    assert reason in reply.reason
    assert (store.plan, store.generation) == (FIRST, 3)
    assert stored(layout) == before


def test_nothing_is_accepted_before_enrolment(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "new")
    layout.create()
    assert opened(layout).accept(AUTHORITY.sign(FIRST, 1)) == Refused("this node isn't enrolled")


def test_a_full_disk_is_a_refusal_and_keeps_the_old_plan(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(layout)
    store.accept(AUTHORITY.sign(FIRST, 1))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        reply = store.accept(AUTHORITY.sign(SECOND, 2))
    assert isinstance(reply, Refused)
    assert "No space left" in reply.reason
    assert store.plan == opened(layout).plan == FIRST
    assert not list(layout.plans.glob(".*"))


def test_after_leaving_a_fleet_its_plan_is_not_run(layout: Layout) -> None:
    opened(layout).accept(AUTHORITY.sign(FIRST, 9))
    layout.enrolment.unlink()
    identity = open_identity(layout)
    assert identity.enrol(STRANGER.enrol("hub", identity.public_key), time.time()) is None
    store = opened(layout)
    assert store.plan is None
    assert store.accept(STRANGER.sign(SECOND, 1)) == Accepted(generation=1)


@pytest.mark.parametrize("damage", ["current", "plan", "swapped"])
def test_a_damaged_store_says_what_to_do(layout: Layout, damage: str) -> None:
    store = opened(layout)
    store.accept(AUTHORITY.sign(FIRST, 1))
    first = layout.plans / f"{digest(FIRST)}.json"
    if damage == "current":
        (layout.plans / "current").write_text("../../etc/passwd\n")
    elif damage == "plan":
        first.write_bytes(first.read_bytes()[:100])
    else:
        first.write_bytes(encode(AUTHORITY.sign(SECOND, 1)))
    with pytest.raises(NodeError, match="apply again"):
        opened(layout)


def test_only_the_last_plans_are_kept(layout: Layout) -> None:
    store = opened(layout)
    plans = [plan_of("hub", edge_between("hub:/data", f"spoke:/d{n}")) for n in range(KEPT_PLANS + 5)]
    for generation, plan in enumerate(plans, 1):
        assert isinstance(store.accept(AUTHORITY.sign(plan, generation)), Accepted)
    names = {path.stem for path in layout.plans.glob("*.json")}
    assert names == {digest(plan) for plan in plans[-KEPT_PLANS:]}
    assert opened(layout).plan == plans[-1]


class Steps:
    """Counts the calls that change a disk, and kills this process, without any clean-up, at one of them."""

    def __init__(self, die_at: int, after: bool) -> None:
        self.count = 0
        self._die_at = die_at
        self._after = after

    def watch(self, name: str) -> None:
        original = getattr(os, name)

        def watched(*arguments: Any, **named: Any) -> Any:
            self.count += 1
            if self.count == self._die_at and not self._after:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return original(*arguments, **named)
            finally:
                if self.count == self._die_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        setattr(os, name, watched)


def accept_and_die(layout: Layout, signed: SignedPlan, die_at: int, after: bool) -> bool:
    """Accept a plan in a child that is killed at one step; whether it got to the end."""
    child = os.fork()
    if child == 0:
        try:
            store = opened(layout)
            steps = Steps(die_at, after)
            for name in ("open", "fchmod", "fsync", "replace", "rename", "unlink", "mkdir"):
                steps.watch(name)
            os._exit(0 if isinstance(store.accept(signed), Accepted) else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0
    return True


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
@pytest.mark.parametrize(("old", "new"), [(FIRST, SECOND), (FIRST, FIRST), (None, FIRST)])
def test_killed_at_any_step_leaves_the_old_plan_or_the_new(
    layout: Layout, old: NodePlan | None, new: NodePlan, after: bool
) -> None:
    generation = 0
    if old is not None:
        generation = 1
        opened(layout).accept(AUTHORITY.sign(old, generation))
    for die_at in range(1, 100):
        signed = AUTHORITY.sign(new, generation + 1)
        finished = accept_and_die(layout, signed, die_at, after)
        store = opened(layout)
        assert (store.plan, store.generation) in ((old, generation), (new, generation + 1))
        assert not list(layout.plans.glob(".*")), "the next start sweeps up"
        assert store.accept(signed) == Accepted(generation=generation + 1), "the orchestrator tries again"
        if finished:
            assert die_at > 8, "the swap has at least the steps that were meant to be hit"
            return
        generation += 2
        opened(layout).accept(AUTHORITY.sign(old or SECOND, generation))
        old = old or SECOND
    pytest.fail("the swap never ended")


def test_each_file_is_synced_before_its_name_and_its_name_before_the_next(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(layout)
    store.accept(AUTHORITY.sign(FIRST, 1))
    steps: list[str] = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def named(path: Any) -> str:
        return "plan" if str(path).endswith(".json") else Path(path).name

    def watched_fsync(descriptor: int) -> None:
        target = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        steps.append(f"sync {'directory' if target.is_dir() else 'file'}")
        fsync(descriptor)

    def watched_rename(source: Any, target: Any, **options: Any) -> None:
        steps.append(f"name {named(target)}")
        rename(source, target, **options)

    def watched_replace(source: Any, target: Any, **options: Any) -> None:
        steps.append(f"name {named(target)}")
        replace(source, target, **options)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "rename", watched_rename)
    monkeypatch.setattr(os, "replace", watched_replace)
    store.accept(AUTHORITY.sign(SECOND, 2))
    assert steps == [
        "sync file",
        "name plan",
        "sync directory",
        "sync file",
        "name current",
        "sync directory",
    ]
