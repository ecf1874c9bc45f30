"""Which layer has the last word."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from orchestrator.model import compile_fleet
from orchestrator.model.layers import FIELDS, Effective, Setting
from schemas.plans import (
    ConflictPlan,
    ConflictRule,
    FilterRule,
    GuardPlan,
    ReplicaRef,
    ReplicationPlan,
    RetentionPlan,
    SyncPlan,
    encode,
)
from schemas.topology import Settings
from tests.support.documents import inventory, loaded, topology

PAIR = {"name": "g", "shape": "bidirectional", "between": ["a:/d", "b:/d"]}


def effective(**spec: Any) -> Effective:
    compiled = compile_fleet(loaded(topology(**spec), inventory("a", "b")))
    assert len(compiled.edges) == 1
    return compiled.edges[0].settings


def setting(found: Effective, field: str) -> Setting:
    return next(each for each in found.settings if each.field == field)


def test_without_any_setting_everything_is_built_in() -> None:
    found = effective(graphs=[PAIR])
    bare = ReplicationPlan("", None, None, "two-way", "")  # type: ignore[arg-type]  # only defaults are read
    assert (found.sync, found.filters, found.conflict) == (bare.sync, bare.filters, bare.conflict)
    assert (found.deletes, found.target_changes) == (bare.deletes, bare.target_changes)
    assert found.retention == bare.retention
    assert {each.layer.name for each in found.settings} == {"built-in"}
    assert all(each.place is None for each in found.settings)


def test_retention_is_layered_key_by_key() -> None:
    found = effective(
        defaults={"retention": {"deleted": "7d", "size": "10GiB"}},
        graphs=[{**PAIR, "retention": {"versions": 3}}],
        overrides=[{"name": "o", "match": {"graph": "g"}, "set": {"retention": {"size": "unlimited"}}}],
    )
    assert found.retention == RetentionPlan(7 * 86_400.0, 3, None)
    assert setting(found, "retention.size").layer.name == "override o"


def test_every_written_setting_has_a_field() -> None:
    written = set()
    for field in msgspec.structs.fields(Settings):
        nested = [t for t in getattr(field.type, "__args__", ()) if hasattr(t, "__struct_fields__")]
        if field.name == "filters" or not nested:
            written.add((field.name,))
        else:
            written |= {(field.name, inner) for inner in nested[0].__struct_fields__}
    assert {field.attributes for field in FIELDS.values()} == written - {("filters",), ("conflict", "rules")}


LAYERS = ("defaults", "graph", "override one", "override two")


@pytest.mark.parametrize("strongest", range(len(LAYERS)))
def test_the_strongest_layer_wins(strongest: int) -> None:
    """Layers up to `strongest` set a debounce; the last of them is the one that holds."""
    values = [
        {"sync": {"debounce": f"{position + 2}s"}} if position <= strongest else {} for position in range(4)
    ]
    found = effective(
        defaults=values[0],
        graphs=[{**PAIR, **values[1]}],
        overrides=[
            {"name": "one", "match": {"graph": "g"}, "set": values[2]},
            {"name": "two", "match": {"edge": "t/g/*"}, "set": values[3]},
        ],
    )
    assert found.sync.debounce_s == strongest + 2
    assert LAYERS[strongest] in setting(found, "sync.debounce").layer.name


def test_an_edge_that_is_written_out_is_stronger_than_an_override() -> None:
    found = effective(
        edges=[{"source": "a:/d", "target": "b:/d", "deletes": "keep"}],
        overrides=[{"name": "o", "match": {"source": "!none"}, "set": {"deletes": "propagate"}}],
    )
    assert found.deletes == "keep"
    assert str(setting(found, "deletes").place).startswith("t#spec.edges.0.deletes")


def test_a_guard_may_be_set_in_parts_and_no_guard_is_no_byte_of_a_plan() -> None:
    found = effective(
        defaults={"guards": {"maxDelete": "25%", "requireMarker": True}},
        graphs=[{**PAIR, "guards": {"maxDelete": 500}}],
    )
    assert found.guards == GuardPlan("500", require_marker=True)
    assert setting(found, "guards.maxDelete").layer.kind == "graph"
    assert setting(found, "guards.requireMarker").layer.kind == "defaults"
    bare = ReplicationPlan("", ReplicaRef("a", "/d"), ReplicaRef("b", "/d"), "two-way", "a")
    assert b"guards" not in encode(bare)


def test_filters_of_all_layers_are_joined_weakest_first() -> None:
    found = effective(
        defaults={"filters": [{"exclude": "*.tmp"}]},
        graphs=[{**PAIR, "filters": [{"include": "keep.tmp"}]}],
        overrides=[{"name": "o", "match": {"graph": "g"}, "set": {"filters": [{"exclude": "x"}]}}],
    )
    assert found.filters == (
        FilterRule("exclude", "*.tmp"),
        FilterRule("include", "keep.tmp"),
        FilterRule("exclude", "x"),
    )
    places = [str(each.place) for each in found.settings if each.field == "filters"]
    assert places == [
        "t#spec.defaults.filters.0:1:1",
        "t#spec.graphs.0.filters.0:1:1",
        "t#spec.overrides.0.set.filters.0:1:1",
    ]


def test_what_belongs_to_an_overridden_mode_is_left_out() -> None:
    found = effective(
        defaults={"sync": {"mode": "continuous", "debounce": "9s", "rescan": "2h"}},
        graphs=[{**PAIR, "sync": {"mode": "scheduled", "schedule": "@daily", "jitter": "2m"}}],
    )
    assert found.sync == SyncPlan(mode="scheduled", schedule="@daily", jitter_s=120.0)
    debounce = setting(found, "sync.debounce")
    assert debounce.unused_because == "sync.mode is scheduled"
    assert not debounce.misfit


def test_an_override_by_selector_takes_either_end_of_a_two_way_edge() -> None:
    nodes = inventory("a", {"name": "b", "address": "b", "labels": {"link": "lte"}})
    override = {"name": "o", "match": {"source": "link=lte"}, "set": {"deletes": "keep"}}
    one_way = {"name": "h", "shape": "one-way", "source": "a:/e", "target": "b:/e"}
    compiled = compile_fleet(loaded(topology(graphs=[PAIR, one_way], overrides=[override]), nodes))
    assert {edge.graph: edge.settings.deletes for edge in compiled.edges} == {"g": "keep", "h": "propagate"}


def test_conflict_rules_of_all_layers_are_joined_weakest_first() -> None:
    found = effective(
        defaults={"conflict": {"rules": [{"paths": "*.lock", "policy": "newest"}]}},
        graphs=[{**PAIR, "conflict": {"policy": "hold"}}],
        overrides=[
            {
                "name": "o",
                "match": {"graph": "g"},
                "set": {"conflict": {"rules": [{"paths": "/r", "policy": "prefer", "prefer": "b"}]}},
            }
        ],
    )
    assert found.conflict == ConflictPlan(
        "hold", rules=(ConflictRule("*.lock", "newest"), ConflictRule("/r", "prefer", "b"))
    )
    assert [str(each.place) for each in found.settings if each.field == "conflict.rules"] == [
        "t#spec.defaults.conflict.rules.0:1:1",
        "t#spec.overrides.0.set.conflict.rules.0:1:1",
    ]
