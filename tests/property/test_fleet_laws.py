"""The laws of the fleet: whatever users do, in whatever order nodes meet, whatever goes wrong on the way.

Replicas converge, one-way targets end as their source, nothing that a user wrote is lost, nobody
makes a conflict where there was none, and a fleet in step is quiet.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_runtime.replica.entry import Kind
from schemas.plans import ConflictPlan, ConflictRule
from tests.support.entropy import Entropy
from tests.support.fleet import Fleet, groundless_copies

PATHS = [b"a", b"d", b"d/x", b"d/y", b"d/s", b"d/s/z", b"e", b"e/x"]
EXAMPLES = 150

numbers = st.integers(0, 63)
users_steps = st.tuples(
    st.sampled_from(["write", "write", "link", "mkdir", "remove", "rename", "chmod"]),
    numbers,
    numbers,
    numbers,
)
faults = st.tuples(st.sampled_from(["meet", "meet", "cut", "again"]), numbers, numbers, numbers)
histories = st.lists(st.one_of(users_steps, faults), max_size=30)
shapes = st.integers(2, 5).flatmap(
    lambda size: st.tuples(
        st.just(size),
        st.tuples(*(st.integers(0, child - 1) for child in range(1, size))),  # a tree: each one's parent
        st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)), max_size=3),  # and rings
    )
)


patterns = st.sampled_from(["a", "/d/", "d/**", "x", "*", "s/", "/e/x"])
path_policies = st.one_of(
    st.builds(ConflictRule, patterns, st.sampled_from(["newest", "keep-both"])),
    st.builds(ConflictRule, patterns, st.just("prefer"), st.sampled_from(["node-0", "node-1"])),
)
plans_with_rules = st.builds(
    ConflictPlan,
    st.sampled_from(["newest", "keep-both"]),
    st.none(),
    st.lists(path_policies, min_size=1, max_size=4).map(tuple),
)


def build(shape: tuple[int, tuple[int, ...], list[tuple[int, int]]], **how: Any) -> Fleet:
    size, parents, extra = shape
    fleet = Fleet(size)
    pairs = {(upper, child) for child, upper in enumerate(parents, start=1)}
    pairs |= {(min(pair), max(pair)) for pair in extra if pair[0] != pair[1]}
    for source, target in sorted(pairs):
        fleet.connect(source, target, **how)
    return fleet


def live(fleet: Fleet, history: list[tuple[str, int, int, int]], writers: int | None = None) -> None:
    """Carry out a history of edits and faulty meetings."""
    for what, who, where, how in history:
        replica = fleet.replicas[who % (writers or len(fleet.replicas))]
        edge = fleet.edges[who % len(fleet.edges)]
        path, other = PATHS[where % len(PATHS)], PATHS[how % len(PATHS)]
        if how % 3:
            fleet.tick()  # else: edits of one second
        now_s = fleet.now_s
        if what == "write":
            replica.write(path, fleet.fresh_content(), now_s)
        elif what == "link":
            replica.write(path, fleet.fresh_content(), now_s, Kind.SYMLINK)
        elif what == "mkdir":
            replica.make_directory(path, now_s)
        elif what == "remove":
            replica.remove(path, now_s)
        elif what == "rename":
            replica.rename(path, other, now_s)
        elif what == "chmod":
            replica.chmod(path, 0o600 + how % 8, now_s)
        elif what == "meet":
            fleet.meet(edge, backwards=bool(how % 2))
        elif what == "cut":
            fleet.meet(edge, backwards=bool(how % 2), limit=how % 5)
        elif what == "again":
            fleet.send_again(edge, how % 10)
        else:
            replica.lose_index(now_s)


def assert_in_step(fleet: Fleet) -> None:
    """Every replica has the same rows, vectors and tombstones included."""
    first = fleet.replicas[0].index()
    for replica in fleet.replicas[1:]:
        assert replica.index() == first, f"{replica.node} differs from {fleet.replicas[0].node}"


@settings(max_examples=EXAMPLES, deadline=None)
@given(shapes, histories)
def test_two_way_replicas_converge_and_lose_nothing(shape: Any, history: Any) -> None:
    fleet = build(shape)
    live(fleet, history)
    fleet.settle()
    assert_in_step(fleet)
    assert not list(groundless_copies(fleet))
    assert not fleet.lost(), "every content that nobody gave up is live on every replica"


@settings(max_examples=EXAMPLES, deadline=None)
@given(shapes, histories, histories)
def test_a_lost_index_is_survived(shape: Any, before: Any, after: Any) -> None:
    fleet = build(shape)
    live(fleet, before)
    fleet.replicas[-1].lose_index(fleet.tick())
    live(fleet, after)
    fleet.settle()
    assert_in_step(fleet)
    assert not fleet.lost()


@settings(max_examples=EXAMPLES, deadline=None)
@given(shapes, histories)
def test_every_policy_converges_and_keeps_versions(shape: Any, history: Any) -> None:
    for plan in (ConflictPlan("newest"), ConflictPlan("prefer", "node-1")):
        fleet = build(shape, conflict=plan)
        live(fleet, history)
        fleet.settle()
        assert_in_step(fleet)
        assert not fleet.account.copies
        assert not fleet.lost(wherever=True)


@settings(max_examples=EXAMPLES, deadline=None)
@given(shapes, histories, st.lists(plans_with_rules, min_size=1, max_size=4))
def test_policies_by_path_converge_whatever_each_edge_says(shape: Any, history: Any, plans: Any) -> None:
    fleet = build(shape)
    for place, edge in enumerate(fleet.edges):
        edge.conflict = plans[place % len(plans)]
    live(fleet, history)
    fleet.settle()
    assert_in_step(fleet)
    assert not list(groundless_copies(fleet))
    assert not fleet.lost(wherever=True)


@settings(max_examples=EXAMPLES, deadline=None)
@given(shapes, histories)
def test_a_path_that_is_held_keeps_no_other_from_agreement(shape: Any, history: Any) -> None:
    fleet = build(shape, conflict=ConflictPlan(rules=(ConflictRule("/a", "hold"),)))
    live(fleet, [step for step in history if step[0] != "rename"])
    fleet.settle()
    rows = [{p: e for p, e in replica.index().items() if p != b"a"} for replica in fleet.replicas]
    assert all(each == rows[0] for each in rows)
    assert not fleet.lost(wherever=True)


@settings(max_examples=EXAMPLES, deadline=None)
@given(shapes, histories)
def test_hold_and_keep_are_quiet_and_overwrite_nothing_unseen(shape: Any, history: Any) -> None:
    for how in ({"conflict": ConflictPlan("hold")}, {"deletes": "keep"}):
        fleet = build(shape, **how)
        live(fleet, history)
        fleet.settle()
        assert not fleet.lost(wherever=True)


@settings(max_examples=EXAMPLES, deadline=None)
@given(shapes, histories)
def test_reverting_targets_end_as_their_source(shape: Any, history: Any) -> None:
    size, parents, _ = shape
    fleet = build((size, parents, []), two_way=False)
    live(fleet, history)
    fleet.settle()
    for replica in fleet.replicas[1:]:
        assert replica.tree() == fleet.replicas[0].tree()
    assert not fleet.account.copies
    assert not fleet.lost(wherever=True)


@settings(max_examples=EXAMPLES, deadline=None)
@given(shapes, histories)
def test_keeping_targets_have_all_of_an_untouched_source(shape: Any, history: Any) -> None:
    """Where only the source is edited, a target that keeps its own edits is no different."""
    size, parents, _ = shape
    fleet = build((size, parents, []), two_way=False, target_changes="keep")
    live(fleet, history, writers=1)
    fleet.settle()
    for replica in fleet.replicas[1:]:
        assert replica.tree() == fleet.replicas[0].tree()
    assert not fleet.account.copies


@settings(max_examples=EXAMPLES, deadline=None)
@given(shapes, st.lists(users_steps, max_size=20))
def test_no_conflict_where_edits_follow_one_another(shape: Any, history: Any) -> None:
    fleet = build(shape)
    for step in history:
        live(fleet, [step])
        fleet.settle()
    assert not fleet.account.copies
    assert not fleet.lost()


@settings(max_examples=EXAMPLES, deadline=None)
@given(shapes, histories, st.integers(0, 7))
def test_a_directory_with_excluded_children_never_goes(shape: Any, history: Any, keeper: int) -> None:
    fleet = build(shape)
    replica = fleet.replicas[keeper % len(fleet.replicas)]
    replica.make_directory(b"d/s", fleet.tick())
    replica.hidden.add(b"d/s/excluded")
    live(fleet, history)
    fleet.settle()
    assert_in_step(fleet)
    standing = replica.live(b"d/s")
    assert standing is not None
    assert standing.kind is Kind.DIRECTORY
    assert not fleet.lost()


@pytest.mark.parametrize("seed", range(6))
def test_long_walks(seed: int) -> None:
    """Fewer, longer histories than hypothesis makes, over full meshes."""
    entropy = Entropy(seed)
    fleet = Fleet(6)
    for source in range(6):
        for target in range(source):
            fleet.connect(source, target)
    verbs = ["write", "write", "link", "mkdir", "remove", "rename", "chmod", "meet", "meet", "cut", "again"]
    for _ in range(12):
        steps = [
            (entropy.pick(verbs), entropy.below(64), entropy.below(64), entropy.below(64)) for _ in range(25)
        ]
        live(fleet, steps)
        fleet.settle()
        assert_in_step(fleet)
    assert not fleet.lost()
    assert not list(groundless_copies(fleet))
