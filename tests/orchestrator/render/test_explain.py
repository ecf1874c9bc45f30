"""Which edge and field a person means."""

from __future__ import annotations

import pytest

from orchestrator.errors import OperatorError
from orchestrator.model import compile_fleet
from orchestrator.model.layers import FIELDS
from orchestrator.render.explain import explain, explained_json, explained_text
from tests.support.documents import inventory, loaded, topology

ALL = len(FIELDS) + 1  # and one filter
EDGES = compile_fleet(
    loaded(
        topology(
            defaults={"sync": {"debounce": "90s"}, "filters": [{"exclude": "*.tmp"}]},
            graphs=[
                {"name": "g", "shape": "chain", "nodes": ["a:/d", "b:/d", "c:/d"], "deletes": "keep"},
                {
                    "name": "h",
                    "shape": "bidirectional",
                    "between": ["a:/h", "b:/h"],
                    "sync": {"mode": "once"},
                },
            ],
            edges=[{"source": "a:/x.sync", "target": "b:/y.d"}],
        ),
        inventory("a", "b", "c"),
    )
).edges


@pytest.mark.parametrize(
    ("asked", "edges", "fields"),
    [
        ("t/g/a~b", ["t/g/a~b"], ALL),
        ("b~c", ["t/g/b~c"], ALL),
        ("g/a~b", ["t/g/a~b"], ALL),
        ("b~c.deletes", ["t/g/b~c"], 1),
        ("b~c.sync", ["t/g/b~c"], 6),
        ("b~c.sync.timeZone", ["t/g/b~c"], 1),
        ("b~c.filters", ["t/g/b~c"], 1),
        ("t/g/*.deletes", ["t/g/a~b", "t/g/b~c"], 1),
        ("*a~b", ["t/g/a~b", "t/h/a~b"], ALL),
        ("t/edges/a:/x.sync~b:/y.d", ["t/edges/a:/x.sync~b:/y.d"], ALL),
        ("a:/x.sync~b:/y.d.sync.mode", ["t/edges/a:/x.sync~b:/y.d"], 1),
    ],
)
def test_what_is_meant(asked: str, edges: list[str], fields: int) -> None:
    found = explain(asked, EDGES)
    assert [each.edge.id for each in found] == edges
    assert {len(each.settings) for each in found} == {fields}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("t/g/a~bb", 'did you mean "t/g/a~b"?'),
        ("b~c.sync.mod", 'did you mean "sync.mode"?'),
        ("b~c.colour", "fields are sync.mode, "),
        ("a~b", "could be t/g/a~b, t/h/a~b"),
        ("zzzzz", 'ids look like "t/edges/'),
        ("nothing/*", 'no edge is called "nothing/*"'),
    ],
)
def test_what_nobody_could_mean(asked: str, message: str) -> None:
    with pytest.raises(OperatorError) as failure:
        explain(asked, EDGES)
    assert message in str(failure.value)


def test_without_edges_that_is_what_is_said() -> None:
    with pytest.raises(OperatorError, match="declare none"):
        explain("a~b", ())


def test_rows_name_layer_and_place() -> None:
    (found,) = explain("t/h/a~b", EDGES)
    rows = {field: rest for field, *rest in explained_text(found)}
    assert rows["sync.mode"] == ["once", "graph h", "t#spec.graphs.1.sync.mode:1:1"]
    assert rows["sync.debounce"] == [
        "1m30s (not used: sync.mode is once)",
        "defaults of t",
        "t#spec.defaults.sync.debounce:1:1",
    ]
    assert rows["deletes"] == ["propagate", "built-in", ""]


def test_json_has_the_same() -> None:
    (found,) = explain("t/h/a~b.sync.debounce", EDGES)
    assert explained_json(found)["fields"] == [
        {
            "field": "sync.debounce",
            "value": "1m30s",
            "layer": "defaults of t",
            "file": "t#spec.defaults.sync.debounce",
            "line": 1,
            "column": 1,
            "unusedBecause": "sync.mode is once",
        }
    ]
