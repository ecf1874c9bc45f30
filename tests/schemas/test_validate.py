"""The schemas: they say what the types say, and their violations read as sentences."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator

from schemas import topology as types
from schemas.files import schema_text
from schemas.forms import FORMS
from schemas.generated import GENERATED, generate
from schemas.validate import NOT_YET, Violation, violations

SETTINGS = {"sync", "filters", "conflict", "deletes", "targetChanges"}


def topology(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "syncgraph/v1", "kind": "Topology", "metadata": {"name": "t"}, "spec": spec}


def graph(**keys: Any) -> dict[str, Any]:
    return topology(graphs=[{"name": "g", **keys}])


def only(document: Any) -> Violation:
    found = violations(document, "topology")
    assert len(found) == 1, found
    return found[0]


COMPLETE: dict[str, dict[str, Any]] = {
    "one-way": {"source": "a:/x", "target": "b:/x"},
    "bidirectional": {"between": ["a:/x", "b:/x"]},
    "hub-and-spoke": {"hub": "a:/x/$(spoke.name)", "spokes": ["b-[1:3]:/x"], "direction": "to-hub"},
    "full-mesh": {"members": {"selector": "role=lab", "path": "/x"}},
    "tree": {
        "root": "a:/x",
        "tiers": [{"selector": "t=1", "path": "/x", "fanout": 2, "zoneKey": "region"}],
        "direction": "to-root",
    },
    "chain": {"nodes": ["a:/x", "b:/x"], "direction": "both"},
    "ring": {"nodes": ["a:/x", "b:/x", "c:/x"], "direction": "forward"},
}


@pytest.mark.parametrize("name", ["topology", "inventory"])
def test_the_written_schemas_are_draft_7(name: str) -> None:
    Draft7Validator.check_schema(json.loads(schema_text(name)))


@pytest.mark.parametrize("name", sorted(GENERATED))
def test_the_generated_schemas_are_up_to_date(name: str) -> None:
    Draft202012Validator.check_schema(json.loads(schema_text(name)))
    assert schema_text(name) == generate(name), "run `python -m schemas.generated`"


@pytest.mark.parametrize("shape", sorted(types.SHAPE_KEYS))
def test_each_shape_takes_its_keys_and_no_others(shape: Any) -> None:
    required, directions = types.SHAPE_KEYS[shape]
    keys = COMPLETE[shape]
    assert violations(graph(shape=shape, **keys), "topology") == []
    for key in required:
        left = {name: value for name, value in keys.items() if name != key}
        missing = only(graph(shape=shape, **left))
        assert (missing.code, missing.value) == ("missing-key", key)
    foreign = {key for other in COMPLETE.values() for key in other} - required - {"direction"}
    for key in foreign:
        value = next(other[key] for other in COMPLETE.values() if key in other)
        misplaced = only(graph(shape=shape, **{**keys, key: value}))
        assert (misplaced.code, misplaced.pointer[-1]) == ("misplaced-key", key)
    accepted = {"both", "to-hub", "to-spokes", "to-leaves", "to-root", "forward"}
    for direction in accepted:
        found = violations(graph(shape=shape, **{**keys, "direction": direction}), "topology")
        assert (found == []) == (direction in directions), direction


def test_the_default_directions_are_those_of_the_types() -> None:
    conditions = json.loads(schema_text("topology"))["definitions"]["graph"]["allOf"]
    defaults = {
        each["if"]["properties"]["shape"]["const"]: each["then"]
        .get("properties", {})
        .get("direction", {})
        .get("enum", [])
        for each in conditions
    }
    assert defaults == {shape: list(directions) for shape, (_, directions) in types.SHAPE_KEYS.items()}


def written_names(struct: type[msgspec.Struct]) -> set[str]:
    return {each.encode_name for each in msgspec.structs.fields(struct)}


@pytest.mark.parametrize(
    ("schema", "definition", "struct"),
    [
        ("topology", "sync", types.SyncSettings),
        ("topology", "filter", types.Filter),
        ("topology", "conflict", types.ConflictSettings),
        ("topology", "conflictRule", types.PathPolicy),
        ("topology", "settings", types.Settings),
        ("topology", "selection", types.Selection),
        ("topology", "tier", types.Tier),
        ("topology", "graph", types.Graph),
        ("topology", "edge", types.EdgeSpec),
        ("topology", "match", types.Match),
        ("topology", "override", types.Override),
        ("inventory", "ssh", types.Ssh),
        ("inventory", "runtime", types.Runtime),
        ("inventory", "defaults", types.NodeDefaults),
        ("inventory", "node", types.NodeSpec),
    ],
)
def test_schema_and_types_have_the_same_keys(
    schema: str, definition: str, struct: type[msgspec.Struct]
) -> None:
    found = json.loads(schema_text(schema))["definitions"][definition]
    assert set(found["properties"]) == written_names(struct)
    assert not set(found.get(NOT_YET, [])) & set(found["properties"])
    needed = {each.encode_name for each in msgspec.structs.fields(struct) if each.required}
    assert set(found.get("required", [])) == needed


def test_schema_and_types_have_the_same_values() -> None:
    definitions = json.loads(schema_text("topology"))["definitions"]
    assert set(definitions["graph"]["properties"]["shape"]["enum"]) == set(get_args(types.Shape))
    assert set(definitions["sync"]["properties"]["mode"]["enum"]) == set(get_args(types.Mode))
    assert set(definitions["conflict"]["properties"]["policy"]["enum"]) == set(get_args(types.ConflictPolicy))
    assert set(definitions["deletes"]["enum"]) == set(get_args(types.Deletes))
    assert set(definitions["targetChanges"]["enum"]) == set(get_args(types.TargetChanges))
    access = json.loads(schema_text("inventory"))["definitions"]["access"]
    assert set(access["enum"]) == set(get_args(types.Access))


def subschemas(schema: Any) -> list[dict[str, Any]]:
    if isinstance(schema, list):
        return [found for each in schema for found in subschemas(each)]
    if not isinstance(schema, dict):
        return []
    return [schema, *(found for each in schema.values() for found in subschemas(each))]


@pytest.mark.parametrize("name", ["topology", "inventory"])
def test_every_format_is_known_and_accepts_its_examples(name: str) -> None:
    for schema in subschemas(json.loads(schema_text(name))):
        if isinstance(schema.get("format"), str):
            texts = [each for each in schema.get("examples", []) if isinstance(each, str)]
            for example in texts:
                if example != "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA":  # cut short for the reader
                    FORMS[schema["format"]](example)
            for example in [*texts, *filter(None, [schema.get("default")])]:
                assert re.search(schema.get("pattern", ""), example), example


@given(st.from_regex(r"[0-9]{1,2}h[0-9]{1,3}m[0-9]{1,2}(\.[0-9])?s", fullmatch=True))
def test_the_editors_pattern_takes_every_duration_that_is_one(text: str) -> None:
    FORMS["duration-text"](text)
    pattern = json.loads(schema_text("topology"))["definitions"]["sync"]["properties"]["debounce"]["pattern"]
    assert re.search(pattern, text)


@pytest.mark.parametrize("key", ["transfer", "hooks", "links", "windows", "publish"])
def test_keys_of_later_versions_are_refused_as_such(key: str) -> None:
    for document in (
        topology(defaults={key: {}}),
        graph(shape="ring", nodes=["a:/x", "b:/x"], **{key: {}}),
        topology(edges=[{"source": "a:/x", "target": "b:/x", key: {}}]),
        topology(overrides=[{"name": "o", "match": {"graph": "g"}, "set": {key: {}}}]),
    ):
        found = only(document)
        assert (found.code, found.pointer[-1], found.on_key) == ("not-supported-yet", key, True)


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        (topology(rollout={}), ("spec", "rollout")),
        (topology(defaults={"sync": {"missed": "skip"}}), ("spec", "defaults", "sync", "missed")),
        (topology(defaults={"filters": [{"fromFile": "x"}]}), ("spec", "defaults", "filters", 0, "fromFile")),
        (topology(defaults={"targetChanges": "report"}), ("spec", "defaults", "targetChanges")),
    ],
)
def test_other_later_keys_and_values_too(document: Any, pointer: tuple[str | int, ...]) -> None:
    found = only(document)
    assert (found.code, found.pointer) == ("not-supported-yet", pointer)


@pytest.mark.parametrize(
    ("document", "code", "message", "hint"),
    [
        (
            graph(shape="hub-and-spok"),
            "unknown-value",
            'spec.graphs[0].shape is "hub-and-spok"',
            '"hub-and-spoke"',
        ),
        (graph(shape="chain", node=["a:/x"]), "unknown-key", 'spec.graphs[0] has no key "node"', '"nodes"'),
        (graph(shape="chain", nodes="a:/x"), "wrong-type", "a list or a mapping belongs", '"selector"'),
        (graph(shape="chain", nodes=[]), "out-of-range", "spec.graphs[0].nodes is empty", "at least 1 entry"),
        (graph(shape="chain"), "missing-key", 'spec.graphs[0] has no "nodes"', "A chain graph takes nodes"),
        (graph(shape="bidirectional", between=["a:/x"]), "out-of-range", "has 1 entry", "at least 2 entries"),
        (graph(shape="chain", nodes=["a:x"]), "bad-endpoint-range", 'nodes[0] is "a:x"', "relative"),
        (
            topology(defaults={"conflict": {"rules": [{"paths": "[z-a]", "policy": "hold"}]}}),
            "bad-gitignore",
            'rules[0].paths is "[z-a]"',
            "not a gitignore pattern",
        ),
        (topology(defaults={"sync": {"mode": None}}), "wrong-type", "mode is empty", "write a text"),
        (topology(defaults={"sync": {"mode": True}}), "wrong-type", "mode is true", "write a text"),
        (
            topology(defaults=[]),
            "wrong-type",
            "defaults is an empty list",
            "write a mapping with the keys sync",
        ),
        (topology(defaults={"x y": 1}), "unknown-key", 'no key "x y"', "accepted keys: sync"),
        (
            topology(defaults={"filters": [{}]}),
            "out-of-range",
            "filters[0] is empty",
            "one of exclude, include",
        ),
        (
            topology(overrides=[{"name": "o", "match": {}, "set": {}}]),
            "out-of-range",
            "match is empty",
            "one of",
        ),
    ],
)
def test_a_violation_says_what_and_what_would_be_right(
    document: Any, code: str, message: str, hint: str
) -> None:
    found = only(document)
    assert found.code == code
    assert message in found.message
    assert hint in found.hint


@pytest.mark.parametrize("port", [0, 65536, 22.0, "22", True, None])
def test_a_port_is_a_whole_number_in_range(port: Any) -> None:
    inventory = {**topology(nodes=[{"name": "a", "ssh": {"port": port}}]), "kind": "Inventory"}
    assert [each.pointer[-1] for each in violations(inventory, "inventory")] == ["port"]


# any plain data, made mostly of the words that the schemas know, so that it gets deep before it is refused
WORDS = st.sampled_from(
    sorted(
        {
            key
            for each in subschemas(json.loads(schema_text("topology")))
            for key in each.get("properties", {})
        }
    )
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["a:/x", "role=x", "2s", "tree", "ring", "both"])
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=12,
)


@given(st.dictionaries(WORDS, TREES, max_size=5))
def test_what_the_schema_takes_the_types_take(spec: dict[str, Any]) -> None:
    document = topology(**spec)
    found = violations(document, "topology")
    if not found:
        assert msgspec.convert(document, types.Topology).metadata.name == "t"
    assert all(each.message and each.code for each in found)
