"""Each rule: what breaks it, where that is said, and what comes close without breaking it."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.model import check_all, compile_fleet
from orchestrator.model.checks import CHECKS
from tests.support.documents import Document, inventory, loaded, topology

ABC = inventory("a", "b", "c")


def one_way(name: str, source: str, target: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": "one-way", "source": source, "target": target, **more}


def pair(name: str, one: str, other: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": "bidirectional", "between": [one, other], **more}


def codes(spec: dict[str, Any], *inventories: Document) -> list[str]:
    return [problem.code for problem in check_all(loaded(topology(**spec), *(inventories or (ABC,))))]


BROKEN: dict[str, dict[str, Any]] = {
    "unknown-node": {"graphs": [one_way("g", "a:/d", "bb:/d")]},
    "empty-selector": {
        "graphs": [{"name": "g", "shape": "full-mesh", "members": {"selector": "x=y", "path": "/d"}}]
    },
    "duplicate-edge": {"graphs": [pair("g", "a:/d", "b:/d"), pair("h", "b:/d/", "a:/d")]},
    "self-edge": {"graphs": [pair("g", "a:/d", "a:/d/./")]},
    "overlapping-replicas": {"graphs": [pair("g", "a:/d", "b:/d"), pair("h", "a:/d/e/f", "c:/d")]},
    "two-writers": {"graphs": [one_way("g", "a:/d", "c:/d"), one_way("h", "b:/d", "c:/d")]},
    "delete-loop": {
        "graphs": [{"name": "g", "shape": "ring", "nodes": ["a:/d", "b:/d", "c:/d"], "direction": "forward"}]
    },
    "no-schedule": {"graphs": [pair("g", "a:/d", "b:/d", sync={"mode": "scheduled"})]},
    "setting-without-effect": {"graphs": [pair("g", "a:/d", "b:/d", sync={"schedule": "@daily"})]},
    "prefer-nobody": {"graphs": [pair("g", "a:/d", "b:/d", conflict={"policy": "prefer"})]},
    "prefer-elsewhere": {"graphs": [pair("g", "a:/d", "b:/d", conflict={"policy": "prefer", "prefer": "c"})]},
    "prefer-nobody for some paths": {
        "graphs": [pair("g", "a:/d", "b:/d", conflict={"rules": [{"paths": "x", "policy": "prefer"}]})]
    },
    "prefer-elsewhere for some paths": {
        "graphs": [
            pair("g", "a:/d", "b:/d", conflict={"rules": [{"paths": "x", "policy": "prefer", "prefer": "c"}]})
        ]
    },
    "setting-without-effect for some paths": {
        "graphs": [
            pair("g", "a:/d", "b:/d", conflict={"rules": [{"paths": "x", "policy": "hold", "prefer": "a"}]})
        ]
    },
    "parent-in-path": {"graphs": [pair("g", "a:/d/../e", "b:/d")]},
    "bad-template": {"graphs": [pair("g", "a:/d/$(label.zone)", "b:/d")]},
    "too-few-replicas": {"graphs": [{"name": "g", "shape": "full-mesh", "members": ["a:/d"]}]},
    "duplicate-graph": {"graphs": [pair("g", "a:/d", "b:/d"), pair("g", "a:/e", "b:/e")]},
    "unused-override": {
        "graphs": [pair("g", "a:/d", "b:/d")],
        "overrides": [{"name": "o", "match": {"graph": "gg"}, "set": {}}],
    },
}


@pytest.mark.parametrize("code", BROKEN)
def test_each_broken_fleet_breaks_one_rule(code: str) -> None:
    assert codes(BROKEN[code]) == [code.partition(" ")[0]]


def test_a_range_where_one_node_is_wanted() -> None:
    nodes = inventory("a-[1:2]", "b")
    assert codes({"graphs": [one_way("g", "a-[1:2]:/d", "b:/d")]}, nodes) == ["too-many-replicas"]


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(
            {
                "graphs": [
                    pair("g", "a:/d", "b:/d"),
                    pair("h", "a:/de", "b:/d-e"),
                    pair("i", "a:/e/d", "c:/d"),
                ]
            },
            id="paths that only begin alike",
        ),
        pytest.param(
            {"graphs": [pair("g", "a:~/d", "b:/d"), pair("h", "a:/d/e", "c:/d")]}, id="home and absolute"
        ),
        pytest.param(
            {"graphs": [one_way(n, f"{n}:/d", "c:/d", targetChanges="keep") for n in "ab"]},
            id="two writers that keep what they find",
        ),
        pytest.param({"graphs": [pair("g", "a:/d", "b:/d"), one_way("h", "a:/d", "c:/d")]}, id="one writer"),
        pytest.param(
            {"graphs": [{"name": "g", "shape": "ring", "nodes": ["a:/d", "b:/d", "c:/d"]}]}, id="two-way ring"
        ),
        pytest.param(
            {
                "defaults": {"targetChanges": "keep"},
                "graphs": [
                    {"name": "g", "shape": "ring", "direction": "forward", "nodes": ["a:/d", "b:/d", "c:/d"]}
                ],
            },
            id="forward ring that keeps",
        ),
        pytest.param(
            {
                "defaults": {"targetChanges": "keep", "sync": {"schedule": "@daily"}},
                "graphs": [
                    pair("g", "a:/d", "b:/d"),
                    one_way("h", "a:/e", "b:/e", sync={"mode": "scheduled"}),
                ],
            },
            id="defaults that only some edges need",
        ),
    ],
)
def test_what_comes_close_is_let_through(spec: dict[str, Any]) -> None:
    assert codes(spec) == []


def test_a_one_way_target_that_a_two_way_edge_writes_too() -> None:
    assert codes({"graphs": [one_way("g", "a:/d", "c:/d"), pair("h", "b:/d", "c:/d")]}) == ["two-writers"]


def test_an_edge_without_any_address() -> None:
    nodes = inventory({"name": "a"}, {"name": "b"}, "c")
    assert codes({"graphs": [pair("g", "a:/d", "b:/d")]}, nodes) == ["unreachable-replica"]
    assert codes({"graphs": [pair("g", "a:/d", "c:/d")]}, nodes) == []


def test_a_tree_without_room() -> None:
    spec = {
        "graphs": [
            {
                "name": "g",
                "shape": "tree",
                "root": "a:/d",
                "tiers": [{"selector": "leaf", "path": "/d", "fanout": 2}],
            }
        ]
    }
    nodes = inventory("a", {"name": "l-[1:5]", "address": "$(name)", "labels": {"leaf": "yes"}})
    (problem,) = check_all(loaded(topology(**spec), nodes))
    assert problem.code == "unreachable-replica"
    assert "2 more" in problem.message


def test_the_nearest_name_is_offered() -> None:
    nodes = inventory("hq-a", "branch-[01:20]")
    (problem,) = check_all(loaded(topology(graphs=[pair("g", "hq-a:/d", "brnch-07:/d")]), nodes))
    assert (problem.value, problem.hint) == ("brnch-07:/d", 'did you mean "branch-07"?')
    assert str(problem.place) == "t#spec.graphs.0.between.1:1:1"


def test_a_selector_says_what_the_labels_hold() -> None:
    nodes = inventory({"name": "a", "labels": {"role": "hub"}}, {"name": "b", "labels": {"role": "branch"}})
    graph = {"name": "g", "shape": "full-mesh", "members": {"selector": "role=brnch", "path": "/d"}}
    (problem,) = check_all(loaded(topology(graphs=[graph]), nodes))
    assert problem.hint == 'the label "role" has the values branch, hub'


def test_without_an_inventory_that_is_what_is_missing() -> None:
    found = check_all(loaded(topology(graphs=[pair("g", "a:/d", "b:/d")])))
    assert {problem.code for problem in found} == {"unknown-node"}
    assert all("inventory" in problem.hint for problem in found)


def test_one_mistake_in_a_large_graph_is_said_once() -> None:
    nodes = inventory("hub", {"name": "s-[001:300]", "address": "$(name)", "labels": {"role": "s"}})
    spokes = {"selector": "role=s", "path": "/d"}
    graph = {"name": "g", "shape": "hub-and-spoke", "hub": "hub:/d", "spokes": spokes, "direction": "to-hub"}
    (problem,) = check_all(loaded(topology(graphs=[graph]), nodes))
    assert problem.code == "two-writers"
    assert "(and 298 more like it)" in problem.message


def test_a_loop_is_spelled_out_as_far_as_it_can_be_read() -> None:
    def message(count: int) -> str:
        nodes = [f"n-{number}:/d" for number in range(1, count + 1)]
        graph = {"name": "g", "shape": "ring", "direction": "forward", "nodes": nodes}
        (problem,) = check_all(loaded(topology(graphs=[graph]), inventory(f"n-[1:{count}]")))
        assert problem.code == "delete-loop"
        return problem.message.split(": ", 1)[1]

    assert message(3) == "n-1:/d → n-2:/d → n-3:/d → n-1:/d"
    assert message(9) == "n-1:/d → n-2:/d → n-3:/d → n-4:/d → … 4 more … → n-9:/d → n-1:/d"


def test_all_problems_at_once() -> None:
    spec: dict[str, Any] = {
        "graphs": [
            pair("g", "a:/d", "nobody:/d"),
            pair("h", "a:/x", "a:/x"),
            pair("i", "b:/d", "c:/d", sync={"mode": "scheduled"}),
        ]
    }
    assert sorted(codes(spec)) == ["no-schedule", "self-edge", "unknown-node"]


def test_an_edge_id_comes_once() -> None:
    nodes = ["a:/d", "b:/d", "a:/e", "b:/e"]
    assert codes({"graphs": [{"name": "g", "shape": "chain", "nodes": nodes}]}) == ["duplicate-edge"]


def test_overlaps_are_found_across_topologies() -> None:
    first, second = (
        topology("one", graphs=[pair("g", "a:/d", "b:/d")]),
        topology("two", graphs=[pair("g", "a:/d/sub", "c:/d")]),
    )
    assert [problem.code for problem in check_all(loaded(first, second, ABC))] == ["overlapping-replicas"]


def test_two_topologies_of_one_name() -> None:
    found = check_all(loaded(topology("one", graphs=[]), topology("one", graphs=[]), ABC))
    assert [problem.code for problem in found] == ["duplicate-topology"]


def test_errors_leave_no_plans_and_warnings_do() -> None:
    assert compile_fleet(loaded(topology(**BROKEN["self-edge"]), ABC)).node_plans == {}
    warned = compile_fleet(loaded(topology(**BROKEN["unused-override"]), ABC))
    assert [problem.severity for problem in warned.problems] == ["warning"]
    assert set(warned.node_plans) == {"a", "b", "c"}


def test_every_check_says_what_it_looks_for() -> None:
    assert all(check.__doc__ for check in CHECKS)
