"""Conflict policies by path: the last rule that matches counts, and both ends choose the same one."""

from __future__ import annotations

import pytest

from node_runtime.replica.entry import Entry
from node_runtime.replica.policies import policy_of
from node_runtime.replica.reconcile import Action, Decision, Rules, reconcile
from schemas.plans import ConflictPlan, ConflictRule
from tests.support.trees import A, B, directory, file

PLAN = ConflictPlan(
    "keep-both",
    rules=(
        ConflictRule("*.lock", "newest"),
        ConflictRule("/reports/**", "prefer", "ann"),
        ConflictRule("/reports/drafts/", "hold"),
        ConflictRule("build/", "newest"),
    ),
)


@pytest.mark.parametrize(
    ("path", "policy"),
    [
        ("notes.txt", "keep-both"),
        ("a.lock", "newest"),
        ("deep/er/a.lock", "newest"),
        ("reports/2026.txt", "prefer"),
        ("reports/a.lock", "prefer"),
        ("other/reports/2026.txt", "keep-both"),
        ("reports/drafts/x", "hold"),
        ("reports/drafts", "prefer"),  # here a file of that name
        ("src/build/out", "newest"),
        ("build", "keep-both"),
    ],
)
def test_the_last_rule_that_matches_counts(path: str, policy: str) -> None:
    one, two = file(path, "one", {A: 1}), file(path, "two", {B: 1})
    assert policy_of(PLAN, one, two).policy == policy_of(PLAN, two, one).policy == policy


def test_a_directory_at_either_end_makes_the_path_one() -> None:
    here, there = directory("build", {A: 1}), file("build", "text", {B: 1})
    assert policy_of(PLAN, here, there).policy == policy_of(PLAN, there, here).policy == "newest"


@pytest.mark.parametrize(
    ("path", "winner", "keeps_aside"),
    [("notes.txt", "bob", True), ("a.lock", "bob", False), ("reports/x", "ann", False)],
)
def test_both_ends_act_on_the_same_policy(path: str, winner: str, keeps_aside: bool) -> None:
    ann, bob = file(path, "one", {A: 1}, at=1), file(path, "two", {B: 1}, at=2)
    to_ann, to_bob = (_decide(ann, bob, "ann", A), _decide(bob, ann, "bob", B))
    acting, waiting = (to_ann, to_bob) if winner == "bob" else (to_bob, to_ann)
    assert acting.action is Action.UPDATE
    assert acting.entry.origin == winner
    assert (acting.keep_aside is not None) is keeps_aside
    assert waiting.action is Action.NOTHING


def test_a_held_path_is_held_at_both_ends() -> None:
    ann, bob = file("reports/drafts/x", "one", {A: 1}), file("reports/drafts/x", "two", {B: 1})
    assert _decide(ann, bob, "ann", A).action is Action.HOLD
    assert _decide(bob, ann, "bob", B).action is Action.HOLD


def _decide(local: Entry, peer: Entry, node: str, local_id: int) -> Decision:
    return reconcile(local, peer, Rules(local_id, node, False, "propagate", "revert", PLAN), 9)
