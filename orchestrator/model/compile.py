"""From a fleet to plans: one replication plan an edge, one node plan a node.

Decides which end of an edge opens the session, and whose address a node is told. The same documents give the
same bytes, on any machine and in whatever order they were loaded. Must not know what runs already: that is
`orchestrator.plan`.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.model.build import build_fleet
from orchestrator.model.checks import check_fleet
from orchestrator.model.documents import Loaded
from orchestrator.model.topology import Edge, Fleet, Node
from schemas.errors import Place, Problem
from schemas.plans import API_VERSION, NodePlan, PeerAddress, ReplicationPlan


@dataclass(frozen=True, slots=True)
class Compiled:
    """Everything that the documents say, ready to be compared with what runs."""

    fleet: str  # its name
    nodes: tuple[Node, ...]  # sorted by name
    edges: tuple[Edge, ...]  # sorted by id
    node_plans: dict[str, NodePlan]  # one for every node of the inventory; empty where a problem is an error
    problems: list[Problem]  # errors and warnings of the model; those of the loader are not among them


def compile_fleet(loaded: Loaded, fleet: str | None = None) -> Compiled:
    """All topologies over one fleet as one set of plans.

    `fleet` names the fleet where the first topology's name shouldn't. A fleet with errors has no plans, so
    that nothing half understood can be pushed.
    """
    built, problems = build_fleet(loaded, fleet)
    problems += check_fleet(built)
    problems = sorted(set(problems), key=_reading_order)
    sound = not any(problem.severity == "error" for problem in problems)
    plans = node_plans(built) if sound else {}
    return Compiled(built.name, tuple(built.nodes.values()), built.edges, plans, problems)


def _reading_order(problem: Problem) -> tuple[Place, str, str]:
    return problem.place or Place("", 0, 0), problem.code, problem.message


def check_all(loaded: Loaded) -> list[Problem]:
    """Every problem of the model; those of the loader are not among them."""
    return compile_fleet(loaded).problems


def node_plans(fleet: Fleet) -> dict[str, NodePlan]:
    """The plan of every node, by name, sorted."""
    edges: dict[str, list[ReplicationPlan]] = {name: [] for name in fleet.nodes}
    peers: dict[str, dict[str, PeerAddress]] = {name: {} for name in fleet.nodes}
    for edge in fleet.edges:
        plan, address = replication_plan(edge, fleet)
        for node in sorted({edge.source.node, edge.target.node}):
            edges[node].append(plan)
        if address:
            peer = edge.target.node if plan.dials == edge.source.node else edge.source.node
            peers[plan.dials][peer] = address
    return {
        name: NodePlan(
            API_VERSION, "NodePlan", fleet.name, name, dict(sorted(peers[name].items())), tuple(mine)
        )
        for name, mine in edges.items()
    }


def replication_plan(edge: Edge, fleet: Fleet) -> tuple[ReplicationPlan, PeerAddress | None]:
    """What both ends are told of an edge, and where the dialling end finds the other.

    The target dials where it can: those who want the content ask for it, and a hub that only gives needs no
    way to its spokes. There is no address where both ends are on one node.
    """
    if edge.source.node == edge.target.node:
        dials, address = edge.source.node, None
    elif address := fleet.nodes[edge.source.node].listens_at:
        dials = edge.target.node
    else:
        dials, address = edge.source.node, fleet.nodes[edge.target.node].listens_at
    settings = edge.settings
    plan = ReplicationPlan(
        edge=edge.id,
        source=edge.source,
        target=edge.target,
        direction=edge.direction,
        dials=dials,
        sync=settings.sync,
        filters=settings.filters,
        conflict=settings.conflict,
        deletes=settings.deletes,
        target_changes=settings.target_changes,
        retention=settings.retention,
        guards=settings.guards,
    )
    return plan, address
