"""Desired against observed."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.model import compile_fleet
from orchestrator.plan import CERTIFICATE_LIFETIME_S, Observed, Plan, decode_plan, diff, stale_because
from schemas.plans import NodePlan, digest, encode
from tests.support.documents import inventory, loaded, topology

NOW = 1_800_000_000.0
NODES = ("a", "b", "c", "d")


def plans(*pairs: tuple[str, str], **more: Any) -> dict[str, NodePlan]:
    """The node plans of a fleet of four with these one-way edges."""
    edges = [
        {"source": f"{source}:/{source}{target}", "target": f"{target}:/{source}{target}", **more}
        for source, target in pairs
    ]
    compiled = compile_fleet(loaded(topology(edges=edges), inventory(*NODES)))
    assert not compiled.problems
    return compiled.node_plans


def running(plan: NodePlan, generation: int = 1) -> Observed:
    return Observed(plan.node, True, generation, digest(plan), plan, NOW + CERTIFICATE_LIFETIME_S)


def all_running(desired: dict[str, NodePlan]) -> dict[str, Observed]:
    return {node: running(plan) for node, plan in desired.items()}


def said(plan: Plan) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(change.symbol, change.subject, change.nodes) for change in plan.changes]


AB = "t/edges/a:/ab~b:/ab"
BC = "t/edges/b:/bc~c:/bc"


def test_a_new_fleet_is_enrolled_and_told_everything() -> None:
    desired = plans(("a", "b"))
    plan = diff(desired, {node: Observed(node) for node in NODES}, now=NOW)
    assert said(plan) == [("+", AB, ("a", "b")), ("+", "a", ("a",)), ("+", "b", ("b",))]
    assert (plan.summary.add, plan.summary.enrol, plan.summary.nodes) == (1, 2, 2)
    assert set(plan.node_plans) == {"a", "b"}  # c and d have nothing to do and are left alone


def test_what_runs_is_what_is_declared() -> None:
    desired = plans(("a", "b"), ("b", "c"))
    plan = diff(desired, all_running(desired), now=NOW)
    assert plan.empty
    assert plan.changes == ()
    assert plan.node_plans == {}


def test_a_changed_field_is_shown_once_for_both_ends() -> None:
    before, after = plans(("a", "b")), plans(("a", "b"), sync={"mode": "once"}, deletes="keep")
    plan = diff(after, all_running(before), now=NOW)
    assert said(plan) == [("~", AB, ("a", "b"))]
    assert [(field.field, field.old, field.new) for field in plan.changes[0].fields] == [
        ("deletes", "propagate", "keep"),
        ("sync.mode", "continuous", "once"),
    ]


def test_an_end_that_was_told_already_is_not_told_again() -> None:
    desired = plans(("a", "b"))
    plan = diff(desired, {**all_running(desired), "b": Observed("b", True)}, now=NOW)
    assert said(plan) == [("+", AB, ("b",))]
    assert [step.node for step in plan.steps if step.push] == ["b"]


def test_an_edge_that_is_gone_leaves_an_empty_plan() -> None:
    plan = diff(plans(("a", "b")), all_running(plans(("a", "b"), ("b", "c"))), now=NOW)
    assert said(plan) == [("-", BC, ("b", "c"))]
    assert plan.node_plans["c"].edges == ()


def test_a_node_that_is_no_longer_declared_gets_an_empty_plan() -> None:
    observed = all_running(plans(("a", "b")))
    plan = diff({}, observed, now=NOW)
    assert said(plan) == [("-", AB, ("a", "b"))]
    assert {node: each.edges for node, each in plan.node_plans.items()} == {"a": (), "b": ()}
    assert plan.fleet == "t"


def test_unreachable_nodes_are_named_and_the_others_go_on() -> None:
    desired = plans(("a", "b"))
    observed = {node: Observed(node) for node in NODES} | {"b": Observed("b", unreachable="no route to host")}
    del observed["d"]
    plan = diff(desired, observed, now=NOW)
    assert [(node.node, node.reason) for node in plan.unreachable] == [
        ("b", "no route to host"),
        ("d", "it was not asked"),
    ]
    assert said(plan) == [("+", AB, ("a",)), ("+", "a", ("a",))]


def test_a_certificate_is_renewed_when_a_third_of_its_life_is_left() -> None:
    desired = plans(("a", "b"))
    third = CERTIFICATE_LIFETIME_S / 3
    observed = all_running(desired)
    observed["a"] = msgspec.structs.replace(observed["a"], certificate_expires_at=NOW + third)
    observed["b"] = msgspec.structs.replace(observed["b"], certificate_expires_at=NOW + third - 1)
    plan = diff(desired, observed, now=NOW)
    assert [(change.action, change.subject) for change in plan.changes] == [("renew", "b")]
    assert not plan.empty
    assert plan.node_plans == {}


def test_a_peer_that_moved_is_a_change_of_the_node_that_dials_it() -> None:
    desired = plans(("a", "b"))
    observed = all_running(desired)
    old = msgspec.structs.replace(
        desired["b"], peers={"a": msgspec.structs.replace(desired["b"].peers["a"], host="elsewhere")}
    )
    observed["b"] = running(old)
    plan = diff(desired, observed, now=NOW)
    assert said(plan) == [("~", "b", ("b",))]
    (field,) = plan.changes[0].fields
    assert (field.field, field.old["host"], field.new["host"]) == ("peers.a", "elsewhere", "a.example.net")


pair = st.tuples(st.sampled_from(NODES), st.sampled_from(NODES)).filter(lambda ends: ends[0] != ends[1])
fleets = st.builds(
    lambda pairs, mode: plans(*sorted(pairs), sync={"mode": mode}),
    st.sets(pair, max_size=4).filter(lambda pairs: not any((b, a) in pairs for a, b in pairs)),
    st.sampled_from(["once", "continuous"]),
)


@given(
    before=fleets, after=fleets, away=st.sets(st.sampled_from(NODES)), fresh=st.sets(st.sampled_from(NODES))
)
@settings(max_examples=60, deadline=None)
def test_carrying_a_plan_out_gives_what_is_desired(
    before: dict[str, NodePlan], after: dict[str, NodePlan], away: set[str], fresh: set[str]
) -> None:
    observed = {
        node: Observed(node, unreachable="away")
        if node in away
        else Observed(node)
        if node in fresh
        else each
        for node, each in all_running(before).items()
    }
    plan = diff(after, observed, now=NOW)
    for step in plan.steps:
        if step.push:
            observed[step.node] = running(plan.node_plans[step.node], step.generation + 1)
    for node in set(NODES) - away:
        ran = observed[node].plan
        assert (ran.edges if ran else ()) == after[node].edges
    again = diff(after, observed, now=NOW)
    assert again.empty
    assert again.changes == ()
    assert plan.empty == (not plan.node_plans)


def test_a_plan_survives_being_kept_in_a_file() -> None:
    plan = diff(
        plans(("a", "b")), all_running(plans(("a", "b"), deletes="keep", filters=[{"exclude": "x"}])), now=NOW
    )
    kept = encode(plan)
    assert encode(decode_plan(kept)) == kept
    assert decode_plan(kept).node_plans == plan.node_plans


def test_a_kept_plan_is_stale_when_a_node_has_moved_on() -> None:
    desired = plans(("a", "b"))
    observed: dict[str, Observed] = {node: Observed(node) for node in NODES}
    plan = diff(desired, observed, now=NOW)
    assert stale_because(plan, observed) is None
    assert stale_because(plan, observed | {"a": Observed("a", unreachable="away")}) is None
    moved = Observed("a", False, 4, "0" * 64)
    assert "a ran generation 0" in (stale_because(plan, observed | {"a": moved}) or "")
    assert "enrolled" in (stale_because(plan, observed | {"a": Observed("a", True)}) or "")
    assert "not any more" in (stale_because(plan, {"b": Observed("b")}) or "")


def test_the_digest_names_what_is_desired() -> None:
    none: dict[str, Observed] = {}
    assert (
        diff(plans(("a", "b")), none, now=NOW).desired_digest
        == diff(plans(("a", "b")), all_running(plans()), now=0.0).desired_digest
    )
    assert (
        diff(plans(("a", "b")), none, now=NOW).desired_digest
        != diff(plans(("b", "a")), none, now=NOW).desired_digest
    )
