"""Fleets as Mermaid, DOT and SVG: everything is on it, nothing overlaps, and large fleets stay small."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any
from xml.etree import ElementTree

import pytest

from orchestrator.model import Compiled, compile_fleet
from orchestrator.render import dot, mermaid, svg
from orchestrator.render.layout import BOX_HEIGHT, layout
from orchestrator.render.picture import panels
from tests.support.documents import inventory, loaded, topology

SVG = "{http://www.w3.org/2000/svg}"
M = {"selector": "role=m", "path": "/d"}
SHAPES: dict[str, dict[str, Any]] = {
    "one-way": {"source": "hub:/d", "target": "m-01:/d"},
    "bidirectional": {"between": ["hub:/d", "m-01:/d"]},
    "hub-and-spoke": {"hub": "hub:/d", "spokes": M, "direction": "to-spokes"},
    "full-mesh": {"members": M},
    "tree": {
        "root": "hub:/d",
        "tiers": [{**M, "fanout": 40}, {"selector": "role=n", "path": "/d"}],
        "direction": "both",
    },
    "chain": {"nodes": M},
    "ring": {"nodes": M},
}


def fleet(shape: str, count: int = 7, **more: Any) -> Compiled:
    nodes = inventory(
        "hub",
        {"name": f"m-[01:{count:02}]", "address": "$(name)", "labels": {"role": "m"}},
        {"name": "n-[01:09]", "address": "$(name)", "labels": {"role": "n"}},
    )
    graph = {"name": "g", "shape": shape, **SHAPES[shape], **more}
    compiled = compile_fleet(loaded(topology(graphs=[graph]), nodes))
    assert not compiled.problems
    return compiled


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [2, 3, 7, 30])
def test_boxes_stand_on_the_canvas_and_apart(shape: str, count: int) -> None:
    (panel,) = panels(fleet(shape, count))
    placed = layout(panel)
    assert set(placed.centres) == {box.key for box in panel.boxes}
    for x, y in placed.centres.values():
        assert placed.box_width / 2 <= x <= placed.width - placed.box_width / 2 + 0.01
        assert BOX_HEIGHT / 2 <= y <= placed.height - BOX_HEIGHT / 2 + 0.01
    for (x1, y1), (x2, y2) in combinations(placed.centres.values(), 2):
        assert abs(x1 - x2) >= placed.box_width or abs(y1 - y2) >= BOX_HEIGHT


@pytest.mark.parametrize("shape", SHAPES)
def test_an_svg_has_every_node_and_every_edge(shape: str) -> None:
    compiled = fleet(shape)
    root = ElementTree.fromstring(svg(compiled))
    texts = {element.text for element in root.iter(f"{SVG}text")}
    nodes = {replica.node for edge in compiled.edges for replica in (edge.source, edge.target)}
    assert nodes <= texts
    drawing = next(root.iter(f"{SVG}g"))
    lines = list(drawing.iter(f"{SVG}path"))
    assert len(lines) == len(compiled.edges)
    both = sum("marker-start" in line.attrib for line in lines)
    assert both == sum(edge.direction == "two-way" for edge in compiled.edges)
    assert all(line.attrib["class"] == "line continuous" for line in lines)


def test_names_can_not_break_out_of_the_drawing() -> None:
    edge = {"source": 'a:/<script>&"', "target": "b:/x"}
    compiled = compile_fleet(loaded(topology(edges=[edge]), inventory("a", "b")))
    root = ElementTree.fromstring(svg(compiled))
    assert not list(root.iter(f"{SVG}script"))
    assert '\\"' in dot(compiled)
    assert mermaid(compiled).count('"') % 2 == 0


def test_dark_and_light_set_the_same_classes() -> None:
    style = next(ElementTree.fromstring(svg(fleet("chain"))).iter(f"{SVG}style")).text or ""
    light, dark = style.split("@media (prefers-color-scheme:dark)")
    assert set(re.findall(r"\.[a-z-]+(?=\{)", dark)) <= set(re.findall(r"\.[a-z-]+(?=\{)", light))
    assert "url(" not in style


def test_a_large_hub_is_two_boxes() -> None:
    nodes = inventory("hub", {"name": "s-[0001:5000]", "address": "$(name)", "labels": {"role": "m"}})
    graph = {"name": "g", "shape": "hub-and-spoke", "hub": "hub:/$(spoke.name)", "spokes": M}
    compiled = compile_fleet(loaded(topology(graphs=[graph]), nodes))
    (panel,) = panels(compiled)
    assert sorted((box.title, box.subtitle, box.count) for box in panel.boxes) == [
        ("5,000 nodes", "s-0001 … s-5000", 5000),
        ("hub", "5,000 replicas", 1),
    ]
    assert [line.count for line in panel.lines] == [5000]
    assert len(svg(compiled)) < 10_000
    assert "continuous, 5,000 edges" in mermaid(compiled)
    assert dot(compiled).count("->") == 5000


def test_what_differs_stays_apart_in_a_large_fleet() -> None:
    """Spokes of another kind (name, or mode of the edge) are not one box."""
    nodes = inventory(
        "hub",
        {"name": "s-[001:150]", "address": "$(name)", "labels": {"role": "m"}},
        {"name": "t-[001:150]", "address": "$(name)", "labels": {"role": "m"}},
        {"name": "s-[151:160]", "address": "$(name)", "labels": {"role": "m", "link": "lte"}},
    )
    graph = {"name": "g", "shape": "hub-and-spoke", "hub": "hub:/d", "spokes": M}
    override = {"name": "o", "match": {"target": "link=lte"}, "set": {"sync": {"mode": "once"}}}
    (panel,) = panels(compile_fleet(loaded(topology(graphs=[graph], overrides=[override]), nodes)))
    assert sorted((box.title, box.subtitle) for box in panel.boxes) == [
        ("10 nodes", "s-151 … s-160"),
        ("150 nodes", "s-001 … s-150"),
        ("150 nodes", "t-001 … t-150"),
        ("hub", "/d"),
    ]
    assert {(line.mode, line.count) for line in panel.lines} == {("continuous", 150), ("once", 10)}


@pytest.mark.parametrize("shape", ["full-mesh", "ring"])
def test_a_large_circle_is_one_box_that_points_at_itself(shape: str) -> None:
    (panel,) = panels(fleet(shape, 80))
    assert [box.title for box in panel.boxes] == ["80 nodes"]
    assert [(line.source, line.two_way) for line in panel.lines] == [(panel.boxes[0].key, True)]


def test_a_ring_stands_in_its_own_order() -> None:
    names = ["c", "a", "d", "b"]
    graph = {"name": "g", "shape": "ring", "nodes": [f"{name}:/d" for name in names]}
    (panel,) = panels(compile_fleet(loaded(topology(graphs=[graph]), inventory(*names))))
    around = list(layout(panel).centres)
    at = around.index("c")
    assert (around[at:] + around[:at]) in (names, [names[0], *reversed(names[1:])])


def test_a_tree_grows_from_its_root_whichever_way_content_flows() -> None:
    for direction in ("to-leaves", "to-root", "both"):
        (panel,) = panels(fleet("tree", direction=direction, deletes="keep"))
        centres = layout(panel).centres
        columns = {key[0]: x for key, (x, _) in centres.items()}
        assert columns["h"] < columns["m"] < columns["n"], direction


def test_nothing_to_draw_is_said() -> None:
    compiled = compile_fleet(loaded(topology(), inventory("a")))
    assert "No edges" in svg(compiled)
    assert mermaid(compiled).startswith("flowchart")


def test_a_node_is_drawn_once_in_mermaid_whatever_graphs_it_is_in() -> None:
    graphs = [
        {"name": name, "shape": "bidirectional", "between": [f"a:/{name}", f"b:/{name}"]}
        for name in ("g", "h")
    ]
    text = mermaid(compile_fleet(loaded(topology(graphs=graphs), inventory("a", "b"))))
    assert text.splitlines() == [
        "flowchart LR",
        '  n0["a"]',
        '  n1["b"]',
        "  %% t/g",
        '  n0 <-->|"continuous"| n1',
        "  %% t/h",
        '  n0 <-->|"continuous"| n1',
        "  linkStyle 0,1 stroke:#2563eb",
    ]
