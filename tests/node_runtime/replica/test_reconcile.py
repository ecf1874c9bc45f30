"""Reconciling, case by case: what both ends did since they agreed, against what is decided."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from node_runtime.replica.conflict import conflict_copy_name
from node_runtime.replica.entry import MAX_FILE_BYTES, Entry, Kind
from node_runtime.replica.reconcile import Action, Decision, Rules, check_peer_entry, reassert, reconcile
from node_runtime.replica.version import Order, compare
from schemas.plans import ConflictPlan
from tests.support.trees import A, B, C, chmod, directory, file, gone, link, touch

NOW_S = 100
BASE = file("x", "base", {A: 1}, at=10)

# What the peer, ann, did to BASE, at 30 s; what the local end, bob, did to it, at 20 s.
PEER: dict[str, Entry] = {
    "unheard": gone("x", {}),
    "unchanged": BASE,
    "edited": file("x", "peer", {A: 3}, at=30),
    "metadata": chmod(BASE, 0o600, A, 3),
    "deleted": gone("x", {A: 3}, at=30),
    "directory": directory("x", {A: 3}),
    "link": link("x", "peer", {A: 3}, at=30),
}
LOCAL: dict[str, Entry | None] = {
    "absent": None,
    "unchanged": BASE,
    "edited": file("x", "local", {A: 1, B: 2}, at=20),
    "metadata": chmod(BASE, 0o640, B, 2),
    "deleted": gone("x", {A: 1, B: 2}, at=20),
    "directory": directory("x", {A: 1, B: 2}),
    "link": link("x", "local", {A: 1, B: 2}, at=20),
}
SIGNS = {
    ".": Action.NOTHING,
    "merge": Action.MERGE,
    "meta": Action.METADATA,
    "create": Action.CREATE,
    "update": Action.UPDATE,
    "aside": Action.UPDATE,  # after the local content was kept aside
    "delete": Action.DELETE,
}
TWO_WAY = """
              unheard  unchanged  edited  metadata  deleted  directory  link
  absent      .        create     create  create    merge    create     create
  unchanged   .        .          update  meta      delete   update     update
  edited      .        .          aside   .         .        aside      aside
  metadata    .        .          update  meta      delete   update     update
  deleted     .        .          create  .         merge    create     create
  directory   .        .          .       .         .        merge      .
  link        .        .          aside   .         .        aside      aside
"""
REVERT = """
              unheard  unchanged  edited  metadata  deleted  directory  link
  absent      .        create     create  create    merge    create     create
  unchanged   delete   .          update  meta      delete   update     update
  edited      delete   update     update  update    delete   update     update
  metadata    delete   meta       update  meta      delete   update     update
  deleted     .        create     create  create    merge    create     create
  directory   delete   update     update  update    delete   merge      update
  link        delete   update     update  update    delete   update     update
"""


def cells(table: str) -> list[tuple[str, str, str]]:
    head, *rows = (line.split() for line in table.strip().splitlines())
    return [(row[0], column, sign) for row in rows for column, sign in zip(head, row[1:], strict=True)]


def rules(policy: Any = "keep-both", prefer: str | None = None, **how: Any) -> Rules:
    plan = ConflictPlan(policy, prefer)
    settings: dict[str, Any] = {"one_way": False, "deletes": "propagate", "target_changes": "revert"} | how
    return Rules(local_id=B, local_node="bob", conflict=plan, **settings)


def decide(local: Entry | None, peer: Entry, how: Rules) -> Decision:
    """`reconcile`, and what must be true of every decision."""
    decision = reconcile(local, peer, how, NOW_S)
    result = decision.entry
    if decision.action in (Action.NOTHING, Action.HOLD):
        assert result == (local or peer)
    else:
        assert check_peer_entry(result) is None
        assert result != local
        for known in filter(None, (local, peer)):
            assert compare(known.version, result.version) in (Order.EQUAL, Order.BEFORE)
            assert compare(known.metadata_version, result.metadata_version) in (Order.EQUAL, Order.BEFORE)
    assert decision.learned_exactly is (local == peer or (result == peer and decision.action not in QUIET))
    if decision.keep_aside is not None:
        assert decision.action is Action.UPDATE
        assert local is not None
        assert decision.keep_aside == conflict_copy_name(local)
    return decision


QUIET = (Action.NOTHING, Action.HOLD)


@pytest.mark.parametrize(("local", "peer", "sign"), cells(TWO_WAY))
@pytest.mark.parametrize(
    "how", [rules(), rules(one_way=True, target_changes="keep")], ids=["two-way", "keep"]
)
def test_two_way_and_keeping_ends(local: str, peer: str, sign: str, how: Rules) -> None:
    decision = decide(LOCAL[local], PEER[peer], how)
    assert (decision.action, decision.keep_aside is not None) == (SIGNS[sign], sign == "aside")


@pytest.mark.parametrize(("local", "peer", "sign"), cells(REVERT))
def test_reverting_ends(local: str, peer: str, sign: str) -> None:
    how = rules(one_way=True)
    decision = decide(LOCAL[local], PEER[peer], how)
    assert (decision.action, decision.keep_aside) == (SIGNS[sign], None)
    result, source = decision.entry, PEER[peer]
    if decision.action is not Action.NOTHING:
        assert result.same_content(source)
        assert result.deleted or result.same_metadata(source)
        again = reconcile(result, source, how, NOW_S + 1)
        assert again.action is Action.NOTHING, "what is mirrored stays so: the vector doesn't grow"


@pytest.mark.parametrize(("local", "peer", "sign"), cells(TWO_WAY))
def test_where_deletes_are_kept_tombstones_are_not_heard(local: str, peer: str, sign: str) -> None:
    for how in (rules(deletes="keep"), rules(deletes="keep", one_way=True)):
        decision = decide(LOCAL[local], PEER[peer], how)
        if PEER[peer].deleted:
            assert decision.action is Action.NOTHING
        elif not how.one_way:
            assert decision.action is SIGNS[sign]


@pytest.mark.parametrize(("local", "peer", "sign"), cells(TWO_WAY))
def test_policies_change_conflicts_only(local: str, peer: str, sign: str) -> None:
    mine, theirs = LOCAL[local], PEER[peer]
    newest = decide(mine, theirs, rules("newest"))
    assert (newest.action, newest.keep_aside) == (SIGNS[sign], None)
    held = decide(mine, theirs, rules("hold"))
    is_conflict = sign == "aside" or (local, peer) in (("directory", "edited"), ("directory", "link"))
    assert held.action is (Action.HOLD if is_conflict else SIGNS[sign])
    if is_conflict:
        assert "ann" in held.reason
        assert "bob" in held.reason


def test_a_preferred_node_wins_over_a_newer_time() -> None:
    ours, theirs = file("x", "ours", {B: 2}, at=20), file("x", "theirs", {A: 2}, at=30)
    assert decide(ours, theirs, rules("prefer", "bob")).action is Action.NOTHING
    assert decide(ours, theirs, rules("prefer", "ann")).action is Action.UPDATE
    assert decide(ours, theirs, rules("prefer", "somebody else")).action is Action.UPDATE


def test_the_winner_s_holder_waits_for_the_loser_s() -> None:
    """Were the winner's version joined first, it would overwrite the loser where nobody has kept it yet."""
    winner, loser = file("x", "new", {A: 2}, at=30), file("x", "old", {B: 2}, at=20)
    assert decide(winner, loser, rules()).action is Action.NOTHING
    taken = decide(loser, winner, rules())
    assert taken.keep_aside is not None
    joined = decide(winner, taken.entry, rules())
    assert (joined.action, joined.learned_exactly) == (Action.MERGE, True)
    assert joined.entry == taken.entry


def test_equal_times_are_settled_the_same_way_at_both_ends() -> None:
    one, two = file("x", "one", {A: 2}, at=5), file("x", "two", {B: 2}, at=5)
    actions = {decide(one, two, rules()).action, decide(two, one, rules()).action}
    assert actions == {Action.NOTHING, Action.UPDATE}


def test_equal_versions_of_different_content_are_a_conflict_settled_by_the_plain_order() -> None:
    """An index that was lost, or three replicas on their way to agreement, can bring this about."""
    one, two = file("x", "one", {A: 2}, at=5, by=A), file("x", "two", {A: 2}, at=6, by=B)
    for how in (rules(), rules("prefer", "ann")):
        assert decide(one, two, how).action is Action.UPDATE
        assert decide(two, one, how).action is Action.NOTHING


def test_equal_content_merges_whatever_the_vectors() -> None:
    one, two = file("x", "same", {A: 2}, at=5), file("x", "same", {B: 2}, at=6)
    here, there = decide(one, two, rules()), decide(two, one, rules())
    assert here.entry == there.entry
    assert here.entry.mtime_ns == 6 * 10**9
    assert here.action is Action.METADATA
    assert there.action is Action.MERGE


def test_of_concurrent_modes_only_what_both_give_remains() -> None:
    closed, default = directory("d", {A: 2}, mode=0o700), directory("d", {B: 2}, mode=0o755)
    assert decide(closed, default, rules()).entry.mode == 0o700
    assert decide(default, closed, rules()).entry.mode == 0o700


def test_a_metadata_edit_neither_outvotes_content_nor_undoes_a_delete() -> None:
    changed = chmod(BASE, 0o600, A, 9)
    edited = file("x", "local", {A: 1, B: 2}, at=5)
    assert decide(edited, changed, rules()).action is Action.NOTHING
    assert decide(gone("x", {A: 1, B: 2}), changed, rules()).action is Action.NOTHING
    taken = decide(changed, edited, rules())
    assert taken.action is Action.UPDATE
    assert taken.entry.same_metadata(edited)
    assert decide(edited, taken.entry, rules()).action is Action.MERGE


def test_the_later_metadata_edit_is_taken_with_its_time() -> None:
    touched = touch(BASE, 5, A, 4)
    assert decide(BASE, touched, rules()).entry == touched
    assert decide(touched, BASE, rules()).action is Action.NOTHING


def test_a_conflict_copy_gets_no_copy() -> None:
    path = conflict_copy_name(BASE).decode()
    loser, winner = file(path, "old", {B: 2}, at=20), file(path, "new", {A: 2}, at=30)
    decision = decide(loser, winner, rules())
    assert (decision.action, decision.keep_aside) == (Action.UPDATE, None)
    assert "kept versions" in decision.reason


def test_a_reversal_is_newer_than_the_edit_it_undoes() -> None:
    """A third replica that has the target's edit must take the reversal for what comes after."""
    edited = file("x", "local", {A: 1, B: 2}, at=20)
    undone = decide(edited, BASE, rules(one_way=True)).entry
    third = decide(edited, undone, rules())
    assert (third.action, third.learned_exactly) == (Action.UPDATE, True)


def test_a_metadata_edit_of_a_mirror_is_undone_as_a_newer_metadata_edit() -> None:
    undone = decide(chmod(BASE, 0o600, B, 2), BASE, rules(one_way=True)).entry
    assert undone.mode == BASE.mode
    assert undone.version == BASE.version
    assert compare(chmod(BASE, 0o600, B, 2).metadata_version, undone.metadata_version) is Order.BEFORE


def test_what_the_source_never_had_goes_at_the_time_it_was_found() -> None:
    tombstone = decide(file("x", "own", {B: 2}), gone("x", {}), rules(one_way=True)).entry
    assert tombstone.deleted
    assert tombstone.mtime_ns == NOW_S * 10**9
    assert tombstone.origin == "bob"


def test_a_noted_tombstone_keeps_an_older_copy_from_coming_back() -> None:
    noted = decide(None, gone("x", {A: 3}), rules()).entry
    assert decide(noted, BASE, rules()).action is Action.NOTHING


class TestReassert:
    """A directory that can't go comes back."""

    HELD = directory("d", {A: 1})

    def test_it_contains_the_deletion(self) -> None:
        tombstone = gone("d", {A: 3}, kind=Kind.DIRECTORY)
        kept = reassert(self.HELD, tombstone, B, NOW_S)
        assert check_peer_entry(kept) is None
        assert decide(tombstone, kept, rules()).action is Action.CREATE
        assert decide(kept, tombstone, rules()).action is Action.NOTHING

    def test_it_lets_a_file_in_its_place_be_kept_aside(self) -> None:
        replacing = file("d", "text", {A: 1, C: 3}, at=50)
        kept = reassert(self.HELD, replacing, B, NOW_S)
        assert decide(replacing, kept, rules()).keep_aside is not None
        assert decide(kept, replacing, rules()).action is Action.NOTHING

    def test_it_goes_past_our_own_counter_that_the_peer_has(self) -> None:
        replacing = file("d", "text", {A: 1, B: NOW_S + 7, C: 3}, at=50)
        kept = reassert(self.HELD, replacing, B, NOW_S)
        assert compare(kept.version, replacing.version) is Order.CONCURRENT

    @pytest.mark.parametrize("peer", [gone("d", {A: 3}), file("d", "text", {A: 1, C: 3})])
    def test_saying_it_twice_changes_nothing(self, peer: Entry) -> None:
        once = reassert(self.HELD, peer, B, NOW_S)
        assert reassert(once, peer, B, NOW_S + 5) == once


GOOD = [BASE, *(entry for entry in PEER.values() if entry.version)]


@pytest.mark.parametrize("entry", GOOD)
def test_what_replicas_make_is_let_through(entry: Entry) -> None:
    assert check_peer_entry(entry) is None


@pytest.mark.parametrize(
    ("entry", "changes"),
    [
        (BASE, {"path": b"../x"}),
        (BASE, {"path": b"/x"}),
        (BASE, {"size": -1}),
        (BASE, {"size": MAX_FILE_BYTES + 1}),
        (BASE, {"content": b"short"}),
        (BASE, {"content": b""}),
        (BASE, {"version": (), "metadata_version": ()}),
        (BASE, {"version": ((2, 1), (1, 1)), "metadata_version": ((2, 1), (1, 1))}),
        (BASE, {"metadata_version": ()}),
        (BASE, {"metadata_version": ((B, 9),)}),
        (BASE, {"metadata_version": ((A, 0), (B, 1))}),
        (BASE, {"mode": 0o10000}),
        (BASE, {"mode": -1}),
        (BASE, {"mtime_ns": 2**63}),
        (BASE, {"mtime_ns": -(2**63)}),
        (BASE, {"origin": ""}),
        (BASE, {"origin": "n" * 256}),
        (BASE, {"origin": "a\x1b[31m"}),
        (PEER["deleted"], {"size": 1}),
        (PEER["deleted"], {"content": b"x" * 32}),
        (PEER["deleted"], {"mode": 0o644}),
        (PEER["directory"], {"content": b"x"}),
        (PEER["directory"], {"size": 1}),
        (PEER["link"], {"content": b""}),
        (PEER["link"], {"content": b"a\0b"}),
        (PEER["link"], {"content": b"x" * 4096}),
        (PEER["link"], {"size": 1}),
    ],
)
def test_what_no_replica_makes_is_refused(entry: Entry, changes: dict[str, Any]) -> None:
    assert check_peer_entry(msgspec.structs.replace(entry, **changes))
