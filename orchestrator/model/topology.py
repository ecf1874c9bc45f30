"""The fleet as the planner sees it: nodes with everything merged, and edges with their settings.

Decides only what these values look like. Must not know how they were written (`nodes`, `members`,
`shapes` and `build` read the documents) nor what is right (`checks`). A replica is the pair of node
and path that plans carry, with its path in normal form, so that equal replicas compare equal.

Read next: `build`, which makes a `Fleet`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.model.documents import Where
from orchestrator.model.layers import Effective
from schemas.control import DEFAULT_PORT
from schemas.plans import Direction, PeerAddress, ReplicaRef
from schemas.topology import Access, Runtime, Shape, Ssh

Replica = ReplicaRef


@dataclass(frozen=True, slots=True)
class Node:
    """One node: its inventory's defaults merged beneath it, ranges expanded, templates filled."""

    name: str
    address: str | None  # where the orchestrator reaches it; None: nowhere known
    labels: Mapping[str, str]
    access: Access
    ssh: Ssh
    runtime: Runtime
    where: Where

    @property
    def listens_at(self) -> PeerAddress | None:
        """Where peers dial this node's runtime; None where no one can."""
        host = self.runtime.address or self.address
        return PeerAddress(host, self.runtime.port or DEFAULT_PORT) if host else None


@dataclass(frozen=True, slots=True)
class Edge:
    """One replication relation between two replicas, with the settings of all its layers."""

    id: str  # topology/graph/source~target
    topology: str
    graph: str  # "edges" for an edge that is written out
    shape: Shape | None  # of its graph; None for an edge that is written out
    source: Replica
    target: Replica
    direction: Direction
    settings: Effective
    where: Where  # the graph or the edge that it was written as


@dataclass(frozen=True, slots=True)
class Fleet:
    """All nodes and all edges of everything that was loaded."""

    name: str
    nodes: Mapping[str, Node]  # by name, sorted
    edges: tuple[Edge, ...]  # sorted by id
