"""From loaded documents to a fleet: nodes, then the links of every graph, then the layers of every edge.

Decides edge ids and which layers an edge has. Problems that show while reading are collected here (unknown
nodes, empty selectors, replicas that a shape can't link); rules about the finished fleet are in `checks`.

An edge's id is topology/graph/source~target, by node names: adding a node elsewhere changes no other id.
Edges that are written out one by one have "edges" for a graph, and carry the paths as well, since there the
same two nodes may well share several trees.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import translate

from orchestrator.model.documents import Loaded, LoadedTopology, Where
from orchestrator.model.layers import BUILT_IN, Effective, Layer, resolve
from orchestrator.model.members import Members
from orchestrator.model.nodes import expand_nodes
from orchestrator.model.shapes import SHAPES, Link, Parts, TierMembers
from orchestrator.model.topology import Edge, Fleet, Replica
from schemas.errors import Problem
from schemas.text import nearest
from schemas.topology import SHAPE_KEYS, Graph, Override, Selection, Tier

WRITTEN_OUT = "edges"  # stands for the graph in ids of edges that are written one by one


def build_fleet(loaded: Loaded, name: str | None = None) -> tuple[Fleet, list[Problem]]:
    """The fleet that all documents describe together, and what is wrong with their texts.

    Without a name, the fleet is called after the first topology by name.
    """
    problems: list[Problem] = []
    topologies = sorted(loaded.topologies, key=lambda topology: topology.document.metadata.name)
    nodes = expand_nodes(loaded.inventories, problems)
    members = Members(nodes, problems)
    edges: list[Edge] = []
    seen: dict[str, Where] = {}
    for topology in topologies:
        where = Where(topology.places, ())
        own_name = topology.document.metadata.name
        if _is_new(own_name, where.at("metadata", "name"), seen, problems, "topology"):
            edges.extend(_Builder(topology, members).edges())
    named = name or (topologies[0].document.metadata.name if topologies else "")
    return Fleet(named, nodes, tuple(sorted(edges, key=lambda edge: edge.id))), problems


def _is_new(name: str, where: Where, seen: dict[str, Where], problems: list[Problem], kind: str) -> bool:
    """Whether this is the first use of a name that ids are made from; a second use is a problem."""
    if name not in seen:
        seen[name] = where
        return True
    problems.append(
        Problem(
            f"duplicate-{kind}",
            f'there is already a {kind} "{name}", at {seen[name].place}',
            where.place,
            name,
            "edge ids are made from this name; give each its own",
        )
    )
    return False


@dataclass(frozen=True, slots=True)
class _Matcher:
    """One override, ready to be asked about many edges."""

    override: Override
    layer: Layer
    edge: re.Pattern[str] | None
    sources: frozenset[str] | None  # node names; None: any
    targets: frozenset[str] | None

    def matches(self, edge_id: str, graph: str, link: Link) -> bool:
        """Whether the override is for this edge. Either end of a two-way edge may be the source."""
        source, target, direction = link
        if self.override.match.graph not in (None, graph):
            return False
        if self.edge and not self.edge.fullmatch(edge_id):
            return False
        return self._ends(source, target) or (direction == "two-way" and self._ends(target, source))

    def _ends(self, source: Replica, target: Replica) -> bool:
        return (self.sources is None or source.node in self.sources) and (
            self.targets is None or target.node in self.targets
        )


class _Builder:
    """Makes the edges of one topology."""

    def __init__(self, topology: LoadedTopology, members: Members) -> None:
        self._name = topology.document.metadata.name
        self._spec = topology.document.spec
        self._where = Where(topology.places, ("spec",))
        self._members = members
        self._problems = members.problems
        self._resolved: dict[tuple[object, ...], Effective] = {}
        self._used: set[int] = set()
        self._overrides = [
            self._matcher(override, self._where.at("overrides", position))
            for position, override in enumerate(self._spec.overrides)
        ]
        self._defaults = Layer(
            "defaults", f"defaults of {self._name}", self._spec.defaults, self._where.at("defaults")
        )

    def edges(self) -> Iterator[Edge]:
        """All edges, graph by graph, then the written-out ones."""
        seen: dict[str, Where] = {}
        for position, graph in enumerate(self._spec.graphs):
            where = self._where.at("graphs", position)
            if not _is_new(graph.name, where.at("name"), seen, self._problems, "graph"):
                continue
            layer = Layer("graph", f"graph {graph.name}", graph, where)
            for source, target, direction in self._links(graph, where):
                edge_id = f"{self._name}/{graph.name}/{source.node}~{target.node}"
                yield self._edge(edge_id, graph, (source, target, direction), (layer,), (), where)
        yield from self._written_out()
        self._report_unused([graph.name for graph in self._spec.graphs])

    def _written_out(self) -> Iterator[Edge]:
        for position, written in enumerate(self._spec.edges):
            where = self._where.at("edges", position)
            source = self._members.one(written.source, where.at("source"))
            target = self._members.one(written.target, where.at("target"))
            if source and target:
                edge_id = f"{self._name}/{WRITTEN_OUT}/{source}~{target}"
                layer = Layer("edge", "the edge itself", written, where)
                link = (source, target, written.direction)
                yield self._edge(edge_id, None, link, (), (layer,), where)

    def _edge(
        self,
        edge_id: str,
        graph: Graph | None,
        link: Link,
        below: tuple[Layer, ...],
        above: tuple[Layer, ...],
        where: Where,
    ) -> Edge:
        """One edge; `below` and `above` are its layers on either side of the overrides."""
        name, shape = (graph.name, graph.shape) if graph else (WRITTEN_OUT, None)
        source, target, direction = link
        matching = [
            position
            for position, matcher in enumerate(self._overrides)
            if matcher.matches(edge_id, name, link)
        ]
        self._used.update(matching)
        key = (where.pointer, direction, *matching)
        if key not in self._resolved:
            overrides = (self._overrides[position].layer for position in matching)
            self._resolved[key] = resolve((BUILT_IN, self._defaults, *below, *overrides, *above), direction)
        return Edge(edge_id, self._name, name, shape, source, target, direction, self._resolved[key], where)

    def _links(self, graph: Graph, where: Where) -> list[Link]:
        """What a graph's shape links; replicas that it can't link are a problem."""
        before = len(self._problems)
        parts = self._parts(graph, where)
        links = list(SHAPES[graph.shape](parts))
        if len(self._problems) == before:
            linked = {replica for source, target, _ in links for replica in (source, target)}
            stranded = sorted({str(replica) for replica in parts.replicas() if replica not in linked})
            if stranded or not links:
                self._problems.append(_stranded(graph, where, stranded))
        return links

    def _parts(self, graph: Graph, where: Where) -> Parts:
        """The replicas of a graph, whatever keys its shape has for them."""

        def one(text: str | None, *key: str | int) -> Replica | None:
            return self._members.one(text, where.at(*key)) if text else None

        if graph.between:
            first, second = (one(text, "between", end) for end, text in enumerate(graph.between))
        else:
            first = one(graph.source, "source") or one(graph.root, "root")
            second = one(graph.target, "target")
        many = {"spokes": graph.spokes, "members": graph.members, "nodes": graph.nodes}
        members = tuple(
            replica
            for key, written in many.items()
            if written is not None
            for replica in self._members.replicas(written, where.at(key))
        )
        directions = SHAPE_KEYS[graph.shape][1]
        return Parts(
            direction=graph.direction or (directions[0] if directions else ""),
            first=first,
            second=second,
            members=members,
            hubs=self._hubs(graph.hub, members, where.at("hub")) if graph.hub else {},
            tiers=tuple(
                self._tier(tier, where.at("tiers", position))
                for position, tier in enumerate(graph.tiers or ())
            ),
        )

    def _hubs(self, text: str, spokes: Iterable[Replica], where: Where) -> dict[Replica, Replica]:
        """Each spoke's replica at the hub: one for all of them, or one for each with $(spoke.name)."""
        if "$(spoke." not in text:
            hub = self._members.one(text, where)
            return dict.fromkeys(spokes, hub) if hub else {}
        hubs: dict[Replica, Replica] = {}
        for spoke in spokes:
            found = self._members.endpoint(text, where, {"spoke.name": spoke.node})
            if len(found) != 1:
                break  # the same text would be reported for every spoke
            hubs[spoke] = found[0]
        return hubs

    def _tier(self, tier: Tier, where: Where) -> TierMembers:
        replicas = self._members.replicas(Selection(selector=tier.selector, path=tier.path), where)
        zones = {}
        if tier.zone_key:
            zones = {
                node.name: node.labels[tier.zone_key]
                for node in self._members.nodes.values()
                if tier.zone_key in node.labels
            }
        return TierMembers(replicas, tier.fanout, zones)

    def _matcher(self, override: Override, where: Where) -> _Matcher:
        match = override.match
        layer = Layer("override", f"override {override.name}", override.set, where.at("set"))

        def names(selector: str | None, key: str) -> frozenset[str] | None:
            if selector is None:
                return None
            return frozenset(node.name for node in self._members.select(selector, where.at("match", key)))

        glob = re.compile(translate(match.edge)) if match.edge else None
        return _Matcher(override, layer, glob, names(match.source, "source"), names(match.target, "target"))

    def _report_unused(self, graphs: list[str]) -> None:
        for position, matcher in enumerate(self._overrides):
            if position in self._used:
                continue
            graph = matcher.override.match.graph
            hint = "loosen its match, or remove it"
            if graph is not None and graph not in graphs and graph != WRITTEN_OUT:
                near = nearest(graph, graphs)
                hint = f'there is no graph "{graph}"' + (f'; did you mean "{near}"?' if near else "")
            self._problems.append(
                Problem(
                    "unused-override",
                    f'the override "{matcher.override.name}" matches no edge',
                    self._where.at("overrides", position).place,
                    matcher.override.name,
                    hint,
                    "warning",
                )
            )


def _stranded(graph: Graph, where: Where, stranded: list[str]) -> Problem:
    """Replicas that stand in a graph and are linked with nothing."""
    if graph.shape == "tree":
        more = f" (and {len(stranded) - 1:,} more)" if len(stranded) > 1 else ""
        left_over = f"{stranded[0]}{more}" if stranded else "the root"
        return Problem(
            "unreachable-replica",
            f'in the tree "{graph.name}", {left_over} is linked with nothing',
            where.at("tiers").place,
            graph.name,
            "the parents above have no room left, or a tier is missing: raise fanout, or add parents",
        )
    return Problem(
        "too-few-replicas",
        f'the graph "{graph.name}" links nothing: a {graph.shape} needs at least two replicas',
        where.place,
        graph.name,
        "add a replica, or remove the graph",
    )
