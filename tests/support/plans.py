"""Node plans for tests, said in few words."""

from __future__ import annotations

from typing import Any

from schemas.plans import API_VERSION, NodePlan, PeerAddress, ReplicaRef, ReplicationPlan

SOMEWHERE = PeerAddress("127.0.0.1", 9)  # the discard port: nobody listens


def edge_between(source: str, target: str, dials: str = "", **changes: Any) -> ReplicationPlan:
    """A two-way edge between "node:/path" and "node:/path"; the target's node dials unless said otherwise."""
    ends = [ReplicaRef(*each.split(":", 1)) for each in (source, target)]
    fields: dict[str, Any] = {
        "edge": f"t/g/{source}~{target}",
        "source": ends[0],
        "target": ends[1],
        "direction": "two-way",
        "dials": dials or ends[1].node,
    }
    return ReplicationPlan(**{**fields, **changes})


def plan_of(node: str, *edges: ReplicationPlan, peers: dict[str, PeerAddress] | None = None) -> NodePlan:
    """The plan of `node`: its edges sorted, and an address for whomever it dials."""
    dialled = {
        end.node: SOMEWHERE
        for edge in edges
        for end in (edge.source, edge.target)
        if edge.dials == node != end.node
    }
    ordered = tuple(sorted(edges, key=lambda edge: edge.edge))
    return NodePlan(API_VERSION, "NodePlan", "fleet", node, {**dialled, **(peers or {})}, ordered)
