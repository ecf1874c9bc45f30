"""From documents to plans: the same bytes always, both ends alike, and the laws of every shape."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.model import Compiled, compile_fleet
from schemas.plans import NodePlan, PeerAddress, digest, encode
from tests.support.documents import Document, inventory, loaded, topology

SELECTED = {"selector": "role=m", "path": "/d"}
SHAPES: dict[str, dict[str, Any]] = {
    "one-way": {"source": "hub:/d", "target": "m-1:/d"},
    "bidirectional": {"between": ["hub:/d", "m-1:/d"]},
    "hub-and-spoke": {"hub": "hub:/d", "spokes": SELECTED},
    "full-mesh": {"members": SELECTED},
    "tree": {"root": "hub:/d", "tiers": [{**SELECTED, "fanout": 3}, {"selector": "role=n", "path": "/d"}]},
    "chain": {"nodes": SELECTED},
    "ring": {"nodes": SELECTED},
}
EDGES = {
    "one-way": lambda n: 1,
    "bidirectional": lambda n: 1,
    "hub-and-spoke": lambda n: n,
    "full-mesh": lambda n: n * (n - 1) // 2,
    "tree": lambda n: 2 * n,
    "chain": lambda n: n - 1,
    "ring": lambda n: n if n > 2 else n - 1,
}


def machines(stem: str, count: int, role: str) -> list[dict[str, Any]]:
    return [
        {"name": f"{stem}-{number}", "address": "$(name).example", "labels": {"role": role}}
        for number in range(1, count + 1)
    ]


def fleet(shape: str, count: int, *more: dict[str, Any] | str) -> Compiled:
    # A tree's first tier has at most 3 machines, so that the root's fanout holds.
    first = min(count, 3) if shape == "tree" else count
    nodes = inventory("hub", *machines("m", first, "m"), *machines("n", 2 * count - first, "n"), *more)
    return compile_fleet(loaded(topology(graphs=[{"name": "g", "shape": shape, **SHAPES[shape]}]), nodes))


def reached(compiled: Compiled) -> set[str]:
    """All nodes that hang together with the first edge's."""
    found = {compiled.edges[0].source.node}
    waiting = list(compiled.edges)
    while True:
        near = [edge for edge in waiting if {edge.source.node, edge.target.node} & found]
        if not near:
            return found
        found |= {node for edge in near for node in (edge.source.node, edge.target.node)}
        waiting = [edge for edge in waiting if edge not in near]


@pytest.mark.parametrize("shape", SHAPES)
@given(count=st.integers(2, 9))
@settings(max_examples=8, deadline=None)
def test_the_laws_of_every_shape(shape: str, count: int) -> None:
    compiled = fleet(shape, count)
    assert compiled.problems == []
    ids = [edge.id for edge in compiled.edges]
    assert len(ids) == EDGES[shape](count)
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids)
    touched = {node for edge in compiled.edges for node in (edge.source.node, edge.target.node)}
    assert reached(compiled) == touched
    # An unrelated machine changes no plan but its own empty one.
    grown = fleet(shape, count, "stranger", {"name": "another", "labels": {"role": "x"}})
    assert {name: plan for name, plan in grown.node_plans.items() if plan.edges} == {
        name: plan for name, plan in compiled.node_plans.items() if plan.edges
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_both_ends_are_told_the_same_and_one_of_them_dials(shape: str) -> None:
    compiled = fleet(shape, 5)
    told: dict[str, list[bytes]] = {}
    for name, plan in compiled.node_plans.items():
        assert plan.node == name
        assert [edge.edge for edge in plan.edges] == sorted(edge.edge for edge in plan.edges)
        dialled = set()
        for edge in plan.edges:
            told.setdefault(edge.edge, []).append(encode(edge))
            assert name in (edge.source.node, edge.target.node)
            assert edge.dials in (edge.source.node, edge.target.node)
            if edge.dials == name:
                dialled |= {edge.source.node, edge.target.node} - {name}
        assert set(plan.peers) == dialled
    assert all(len(texts) == 2 and len(set(texts)) == 1 for texts in told.values())


def documents() -> list[Document]:
    """Two topologies and two inventories that use every shape and layer."""
    graphs = [
        {"name": f"g-{shape}", "shape": shape, **spec}
        for shape, spec in SHAPES.items()
        if shape in ("full-mesh", "tree")
    ]
    for graph in graphs:  # paths of their own, so that the graphs don't meet
        if graph["shape"] == "tree":
            graph["root"] = "hub:/t"
            graph["tiers"] = [{**tier, "path": "/t"} for tier in graph["tiers"]]
    override = {"name": "o", "match": {"source": "role=m"}, "set": {"sync": {"mode": "once"}}}
    return [
        topology("one", graphs=graphs, overrides=[override], defaults={"filters": [{"exclude": "*.o"}]}),
        topology("two", edges=[{"source": "hub:/e", "target": "m-1:/e"}]),
        inventory("hub", *machines("m", 3, "m")),
        inventory(*machines("n", 9, "n"), name="more"),
    ]


@given(order=st.permutations(range(4)))
@settings(max_examples=10, deadline=None)
def test_the_order_of_documents_changes_nothing(order: list[int]) -> None:
    given_documents = documents()
    straight = compile_fleet(loaded(*given_documents))
    shuffled = compile_fleet(loaded(*(given_documents[position] for position in order)))
    assert straight.problems == shuffled.problems == []
    assert encode(straight.node_plans) == encode(shuffled.node_plans)


def test_the_same_bytes_whatever_the_hash_seed() -> None:
    program = (
        "from tests.orchestrator.model.test_compile import documents\n"
        "from tests.support.documents import loaded\n"
        "from orchestrator.model import compile_fleet\n"
        "from schemas.plans import digest\n"
        "print(digest(compile_fleet(loaded(*documents())).node_plans))"
    )
    root = Path(__file__).parents[3]
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            cwd=root,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for seed in ("0", "1")
    }
    assert said == {digest(compile_fleet(loaded(*documents())).node_plans)}


@pytest.mark.parametrize(
    ("source", "target", "dials", "peer"),
    [
        ({"address": "s"}, {"address": "t"}, "b", PeerAddress("s", 7722)),
        ({"address": "s"}, {}, "b", PeerAddress("s", 7722)),
        ({}, {"address": "t"}, "a", PeerAddress("t", 7722)),
        ({"runtime": {"address": "s2", "port": 1}}, {"address": "t"}, "b", PeerAddress("s2", 1)),
    ],
)
def test_the_target_dials_where_it_can(
    source: dict[str, Any], target: dict[str, Any], dials: str, peer: PeerAddress
) -> None:
    nodes = inventory({"name": "a", **source}, {"name": "b", **target})
    graph = {"name": "g", "shape": "one-way", "source": "a:/d", "target": "b:/d"}
    plans = compile_fleet(loaded(topology(graphs=[graph]), nodes)).node_plans
    assert plans["a"].edges[0].dials == dials
    other = "a" if dials == "b" else "b"
    assert plans[dials].peers == {other: peer}
    assert plans[other].peers == {}


def test_one_node_with_two_replicas_dials_nobody() -> None:
    edge = {"source": "a:/one", "target": "a:/two"}
    compiled = compile_fleet(loaded(topology(edges=[edge]), inventory({"name": "a"})))
    assert compiled.problems == []
    (plan,) = compiled.node_plans.values()
    assert plan.peers == {}
    assert [(edge.edge, edge.dials) for edge in plan.edges] == [("t/edges/a:/one~a:/two", "a")]


def test_a_hub_has_a_place_for_each_spoke() -> None:
    graph = {"name": "g", "shape": "hub-and-spoke", "hub": "hub:/in/$(spoke.name)", "spokes": SELECTED}
    compiled = compile_fleet(
        loaded(topology(graphs=[{**graph, "direction": "to-hub"}]), inventory("hub", *machines("m", 3, "m")))
    )
    assert [(edge.id, str(edge.target)) for edge in compiled.edges] == [
        (f"t/g/m-{number}~hub", f"hub:/in/m-{number}") for number in (1, 2, 3)
    ]


def test_the_fleet_is_called_after_the_first_topology_by_name_or_as_asked() -> None:
    both = loaded(topology("z"), topology("a"), inventory("n"))
    assert compile_fleet(both).fleet == "a"
    named = compile_fleet(both, "office")
    assert named.fleet == named.node_plans["n"].fleet == "office"


def test_a_plan_says_nothing_of_what_nobody_has_set() -> None:
    for plan in fleet("bidirectional", 1).node_plans.values():
        assert b"retention" not in encode(plan)
        assert encode(msgspec.json.decode(encode(plan), type=NodePlan)) == encode(plan)
