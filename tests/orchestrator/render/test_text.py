"""Plans as people read them."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from orchestrator.model import compile_fleet
from orchestrator.plan import CERTIFICATE_LIFETIME_S, Observed, Plan, diff
from orchestrator.render import plan_text
from orchestrator.render.values import duration, size
from schemas.plans import NodePlan, digest
from schemas.text import parse_duration, parse_size
from tests.support.documents import inventory, loaded, topology


def plans(graphs: list[dict[str, Any]], *nodes: str) -> dict[str, NodePlan]:
    return compile_fleet(loaded(topology(graphs=graphs), inventory(*nodes))).node_plans


def running(desired: dict[str, NodePlan]) -> dict[str, Observed]:
    return {
        node: Observed(node, True, 1, digest(plan), plan, CERTIFICATE_LIFETIME_S)
        for node, plan in desired.items()
    }


def pair(name: str, one: str, other: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": "bidirectional", "between": [one, other], **more}


def changed() -> Plan:
    before = plans([pair("g", "a:/d", "b:/d"), pair("old", "a:/e", "b:/e")], "a", "b", "c")
    after = plans(
        [pair("g", "a:/d", "b:/d", sync={"debounce": "90s"}), pair("new", "a:/f", "c:/f", deletes="keep")],
        "a",
        "b",
        "c",
    )
    observed = running(before) | {"c": Observed("c")}
    return diff(after, observed | {"gone": Observed("gone", unreachable="no \x1b[2Jroute")}, now=0.0)


def test_a_plan_reads_like_this() -> None:
    assert plan_text(changed()).splitlines() == [
        "+ add   ~ change   - remove",
        "",
        "t/g",
        "  ~ a~b",
        "      sync.debounce  1s → 1m30s",
        "",
        "t/new",
        "  + a:/f ⇄ c:/f",
        "      deletes  keep",
        "",
        "t/old",
        "  - a:/e ⇄ b:/e",
        "",
        "nodes",
        "  + enrol c",
        "",
        "not reached",
        "  ! gone: no \N{REPLACEMENT CHARACTER}[2Jroute",
        "",
        "Plan: 1 to add, 1 to change, 1 to remove, on 3 nodes (1 to enrol).",
        "1 node could not be asked: nothing is planned there; the others go on.",
    ]


def test_colour_adds_nothing_but_colour() -> None:
    coloured = plan_text(changed(), colour=True)
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plan_text(changed())
    assert "\x1b[32m+\x1b[0m" in coloured


def test_nothing_to_do() -> None:
    desired = plans([pair("g", "a:/d", "b:/d")], "a", "b")
    assert plan_text(diff(desired, running(desired), now=0.0)) == (
        "No changes. What runs is what is declared, on 2 nodes."
    )
    away = running(desired) | {"b": Observed("b", unreachable="away")}
    assert plan_text(diff(desired, away, now=0.0)).splitlines()[-1] == (
        "No changes: what runs on the 1 node that answered is what is declared; 1 node could not be asked."
    )


def test_an_edge_that_only_one_end_needs_says_so() -> None:
    desired = plans([pair("g", "a:/d", "b:/d")], "a", "b")
    assert "  + a:/d ⇄ b:/d  (on b only)" in plan_text(
        diff(desired, running(desired) | {"b": Observed("b", True)}, now=0.0)
    )


def test_thousands_alike_fit_on_a_screen() -> None:
    spokes = {"selector": "role=s", "path": "/d"}
    graph = {"name": "g", "shape": "hub-and-spoke", "hub": "hub:/d", "spokes": spokes}
    nodes = inventory("hub", {"name": "s-[0001:2000]", "address": "$(name)", "labels": {"role": "s"}})
    desired = compile_fleet(loaded(topology(graphs=[graph]), nodes)).node_plans
    lines = plan_text(diff(desired, {node: Observed(node) for node in desired}, now=0.0)).splitlines()
    assert len(lines) < 30
    assert "  + … and 1,992 more like these" in lines
    assert lines[-1].startswith("Plan: 2,000 to add")


def test_a_peer_that_moved() -> None:
    desired = plans([pair("g", "a:/d", "b:/d")], "a", "b")
    old = msgspec.structs.replace(
        desired["b"], peers={"a": msgspec.structs.replace(desired["b"].peers["a"], port=1)}
    )
    observed = running(desired) | running({"b": old})
    text = plan_text(diff(desired, observed, now=0.0))
    assert "  ~ update b\n      peers.a  a.example.net:1 → a.example.net:7722" in text


def test_durations_read_as_they_are_written() -> None:
    for text in ("0s", "500ms", "2s", "1m30s", "1h", "30d", "1d2h3m4s5ms"):
        assert duration(parse_duration(text)) == text


def test_a_size_reads_as_it_is_written() -> None:
    for text in ("10GiB", "500MB", "1TB", "1023B", "1536KiB", "unlimited"):
        assert size(parse_size(text)) == text
