"""What a drawing of a fleet shows: one panel a graph, with boxes for nodes and lines for edges.

Decides what is put together. A fleet of thousands can't be drawn machine by machine, so in a large one
the alike neighbours of one node (same name but for its digits, same kind of line) become one box that says
how many they are, and so do the members of a large mesh or ring. Must not know any drawing language.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from orchestrator.model.compile import Compiled
from orchestrator.model.topology import Edge
from schemas.plans import Mode
from schemas.topology import Shape

DRAWN_ONE_BY_ONE = 200  # nodes; in a larger fleet, alike ones are put together
ALIKE = 4  # so many alike nodes at least make one box
DRAWN_ROUND = 60  # members of a mesh or a ring; a larger one is a single box

_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Box:
    """A node, or several alike."""

    key: str  # the node's name; for several, one that no node has
    title: str
    subtitle: str  # the path, or how many replicas stand there
    count: int = 1


@dataclass(frozen=True, slots=True)
class Line:
    """An edge, or several between the same two boxes."""

    source: str  # box key
    target: str  # box key; the source's own for a mesh in one box
    two_way: bool
    mode: Mode
    count: int = 1


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph."""

    name: str  # topology/graph
    shape: Shape | None
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    edges: int  # before any were put together


def panels(compiled: Compiled, *, collapse: bool = True) -> tuple[Panel, ...]:
    """Every graph of a fleet, in the order of its edge ids."""
    large = collapse and len(compiled.nodes) > DRAWN_ONE_BY_ONE
    by_graph = groupby(compiled.edges, key=lambda edge: (edge.topology, edge.graph))
    return tuple(
        _panel(f"{topology}/{graph}", list(edges), large, collapse) for (topology, graph), edges in by_graph
    )


def _panel(name: str, edges: list[Edge], large: bool, collapse: bool) -> Panel:
    paths: dict[str, set[str]] = defaultdict(set)
    for edge in edges:
        paths[edge.source.node].add(edge.source.path)
        paths[edge.target.node].add(edge.target.path)
    shape = edges[0].shape
    group_of: dict[str, str] = {}
    if collapse and shape in ("full-mesh", "ring") and len(paths) > DRAWN_ROUND:
        group_of = dict.fromkeys(paths, f"{name}#all")
    elif large:
        group_of = _alike(name, edges)
    members: dict[str, list[str]] = defaultdict(list)
    for node in sorted(paths):
        members[group_of.get(node, node)].append(node)
    boxes = tuple(_box(key, nodes, paths) for key, nodes in members.items())
    return Panel(name, shape, boxes, tuple(_lines(edges, group_of)), len(edges))


def _alike(name: str, edges: list[Edge]) -> dict[str, str]:
    """The group of each node that can be drawn together with others: leaves of one parent."""
    links: dict[str, list[tuple[str, Edge]]] = defaultdict(list)
    for edge in edges:
        links[edge.source.node].append((edge.target.node, edge))
        links[edge.target.node].append((edge.source.node, edge))
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for node in sorted(links):
        if len(links[node]) == 1:
            (parent, edge) = links[node][0]
            way = edge.direction if edge.direction == "two-way" else str(edge.source.node == node)
            groups[parent, _DIGITS.sub("#", node), way, edge.settings.sync.mode].append(node)
    return {node: f"{name}#{nodes[0]}" for nodes in groups.values() if len(nodes) >= ALIKE for node in nodes}


def _box(key: str, nodes: list[str], paths: dict[str, set[str]]) -> Box:
    here = set().union(*(paths[node] for node in nodes))
    path = next(iter(here)) if len(here) == 1 else f"{len(here):,} replicas"
    if len(nodes) == 1:
        return Box(key, nodes[0], path)
    return Box(key, f"{len(nodes):,} nodes", f"{nodes[0]} … {nodes[-1]}", len(nodes))


def _lines(edges: list[Edge], group_of: dict[str, str]) -> Iterator[Line]:
    count: dict[tuple[str, str, bool, Mode], int] = defaultdict(int)
    for edge in edges:
        source, target = edge.source.node, edge.target.node
        key = (
            group_of.get(source, source),
            group_of.get(target, target),
            edge.direction == "two-way",
            edge.settings.sync.mode,
        )
        count[key] += 1
    for (source, target, two_way, mode), number in count.items():
        yield Line(source, target, two_way, mode, number)
