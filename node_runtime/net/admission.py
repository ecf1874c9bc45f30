"""Who may talk to this node about what: the current plan, read as an access list. Pure.

Nothing is kept here, so nothing can be out of date: whoever wants to know asks with the plan that runs
now. An edge that is gone from the plan is access that is gone, also for connections and sessions that are
open.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from schemas.plans import NodePlan, PeerAddress, ReplicationPlan


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a peer may not open an edge, in words that the peer may read."""

    reason: str


def admit(plan: NodePlan | None, peer_node: str, edge: str) -> ReplicationPlan | Refusal:
    """The plan of `edge` if `peer_node` may open a session about it here, else why not.

    To a peer that isn't on the edge, an edge that exists and one that doesn't look the same.
    """
    found = _find(plan, edge) if plan else None
    if plan is None or found is None or peer_node not in (found.source.node, found.target.node):
        return Refusal(f"this node's plan has no edge {edge} with {peer_node}")
    if _peer_of(found, plan.node) != peer_node:
        return Refusal(f"the other end of {edge} isn't {peer_node}")
    if found.dials != peer_node:
        return Refusal(f"{edge} is opened by {found.dials}, not by {peer_node}")
    return found


def callers(plan: NodePlan | None) -> frozenset[str]:
    """The peers that may connect here: those that dial at least one edge of the plan."""
    if plan is None:
        return frozenset()
    return frozenset(edge.dials for edge in plan.edges if edge.dials != plan.node)


def dialled(plan: NodePlan | None) -> dict[str, PeerAddress]:
    """The peers that this node connects to, and where: those on at least one edge that it dials."""
    if plan is None:
        return {}
    mine = {_peer_of(edge, plan.node) for edge in plan.edges if edge.dials == plan.node}
    return {peer: address for peer, address in plan.peers.items() if peer in mine}


def _find(plan: NodePlan, edge: str) -> ReplicationPlan | None:
    """The edge of that id: edges stand sorted, and a hub has thousands that are asked for at once."""
    at = bisect_left(plan.edges, edge, key=lambda each: each.edge)
    return plan.edges[at] if at < len(plan.edges) and plan.edges[at].edge == edge else None


def _peer_of(edge: ReplicationPlan, node: str) -> str:
    """The other end's node; `node` itself where both ends are on it."""
    return edge.target.node if edge.source.node == node else edge.source.node
