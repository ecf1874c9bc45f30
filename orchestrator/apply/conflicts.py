"""Conflicts over the fleet: what every node sees of them, each told once.

It decides when what two nodes report is one conflict: the same path and contents in replicas that edges join.
It changes nothing anywhere; `resolve` ends one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from msgspec.structs import replace

from orchestrator.apply.access import Hosts
from orchestrator.apply.host import Unreachable
from schemas.conflicts import Conflict, Conflicts, Content, ListConflicts
from schemas.control import Refused
from schemas.plans import Document, NodePlan, ReplicaRef

Role = Literal["winner", "copy", "held"]


class Edit(Document, frozen=True):
    """One edit that a version contains."""

    node: str  # "" where the replica is of no node that answered
    at: float  # Unix time, seconds, by that node's clock; when its runtime noticed


class Side(Document, frozen=True):
    """One of the contents in a conflict."""

    role: Role
    path: str
    kind: str
    size_bytes: int
    modified_at: float  # Unix time, seconds
    origin: str  # the node that edited it last
    content: str
    replicas: tuple[str, ...]  # "node:/path" of those that hold it under this path
    knows: tuple[Edit, ...]  # the last edit of each replica that its version contains


class FleetConflict(Document, frozen=True):
    """One conflict, wherever it is seen."""

    path: str
    held: bool
    replicas: tuple[str, ...]  # "node:/path" of those that see it
    sides: tuple[Side, ...]  # the winner, unless it was deleted since, then the copy; or all that are held


class Silent(Document, frozen=True):
    """A node that couldn't be asked."""

    node: str
    reason: str


class FleetConflicts(Document, frozen=True):
    """What all nodes say."""

    conflicts: tuple[FleetConflict, ...]  # by path
    more: int  # that weren't listed
    unreachable: tuple[Silent, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """A conflict with the reports that it was made of."""

    conflict: FleetConflict
    group: ReplicaRef  # stands for the replicas that edges join
    reports: tuple[tuple[str, Conflict], ...]  # node, what it said


@dataclass(frozen=True, slots=True)
class Listing:
    """The conflicts as a person sees them, and as they can be ended."""

    known: tuple[Known, ...]
    more: int
    unreachable: tuple[Silent, ...]

    @property
    def document(self) -> FleetConflicts:
        """For programs."""
        return FleetConflicts(tuple(each.conflict for each in self.known), self.more, self.unreachable)


async def look(
    hosts: Hosts,
    plans: Mapping[str, NodePlan],
    *,
    edges: Collection[str] = (),
    patterns: tuple[str, ...] = (),
) -> Listing:
    """Ask the nodes that have edges; only about the ends of these edges where some are given by id, and about
    paths that a pattern matches."""
    scope = {
        name: sorted({end.path for end in _ends(plan, edges) if end.node == name})
        for name, plan in plans.items()
    }
    names = [name for name in hosts.names if scope.get(name)]

    async def one(name: str) -> Conflicts | Silent:
        try:
            async with hosts.use(name) as host:
                reply = await host.request(ListConflicts(tuple(scope[name]) if edges else (), patterns))
        except Unreachable as error:
            return Silent(name, error.reason)
        if isinstance(reply, Conflicts):
            asked = (each for each in reply.conflicts if not (edges and each.edge) or each.edge in edges)
            return replace(reply, conflicts=tuple(asked))
        reason = reply.reason if isinstance(reply, Refused) else "it answers another question"
        return Silent(name, reason)

    answers = dict(zip(names, await asyncio.gather(*(one(name) for name in names)), strict=True))
    said = {name: each for name, each in answers.items() if isinstance(each, Conflicts)}
    return Listing(
        put_together(said, plans),
        sum(each.more for each in said.values()),
        tuple(each for each in answers.values() if isinstance(each, Silent)),
    )


def _ends(plan: NodePlan, edges: Collection[str]) -> Iterator[ReplicaRef]:
    for edge in plan.edges:
        if not edges or edge.edge in edges:
            yield from (edge.source, edge.target)


def put_together(answers: Mapping[str, Conflicts], plans: Mapping[str, NodePlan]) -> tuple[Known, ...]:
    """Every conflict once, by path."""
    groups = joined_replicas(plans)
    nodes = {number: name for name, each in answers.items() for number in each.replicas.values()}
    alike: dict[tuple[ReplicaRef, str, str, str], list[tuple[str, Conflict]]] = {}
    for name, answer in sorted(answers.items()):
        for conflict in answer.conflicts:
            replica = ReplicaRef(name, conflict.replica)
            copy = ("", "") if conflict.peer else (conflict.other.path, conflict.other.content)
            key = (groups.get(replica, replica), conflict.path, *copy)
            alike.setdefault(key, []).append((name, conflict))
    known = [
        Known(_told(reports, nodes, plans), group, tuple(reports)) for (group, *_), reports in alike.items()
    ]
    return tuple(
        sorted(known, key=lambda each: (each.conflict.path, str(each.group), each.conflict.sides[-1].path))
    )


def joined_replicas(plans: Mapping[str, NodePlan]) -> dict[ReplicaRef, ReplicaRef]:
    """For each replica, the one that stands for all that edges join with it."""
    stands_for: dict[ReplicaRef, ReplicaRef] = {}

    def root(replica: ReplicaRef) -> ReplicaRef:
        while (above := stands_for.setdefault(replica, replica)) != replica:
            stands_for[replica] = stands_for.setdefault(above, above)
            replica = above
        return replica

    for plan in plans.values():
        for edge in plan.edges:
            low, high = sorted((root(edge.source), root(edge.target)), key=str)
            stands_for[high] = low
    return {replica: root(replica) for replica in list(stands_for)}


def _told(
    reports: list[tuple[str, Conflict]], nodes: Mapping[int, str], plans: Mapping[str, NodePlan]
) -> FleetConflict:
    first = reports[0][1]
    held = bool(first.peer)
    seen = tuple(f"{name}:{each.replica}" for name, each in reports)
    contents: dict[tuple[Role, str, str], tuple[Content, set[str]]] = {}

    def note(role: Role, content: Content, replica: str) -> None:
        key = (role, content.path, content.content)
        contents.setdefault(key, (content, set()))[1].add(replica)

    for name, conflict in reports:
        if conflict.here is not None:
            note("held" if held else "winner", conflict.here, f"{name}:{conflict.replica}")
        if not held:
            note("copy", conflict.other, f"{name}:{conflict.replica}")
    for name, conflict in reports if held else ():
        # An end that takes nothing reports nothing: its content is known from its peer.
        note("held", conflict.other, str(_peer_replica(name, conflict, plans)))
    sides = tuple(
        _side(role, content, replicas, nodes) for (role, *_), (content, replicas) in contents.items()
    )
    order = ("winner", "copy", "held")
    ordered = sorted(sides, key=lambda side: (order.index(side.role), side.replicas))
    return FleetConflict(first.path, held, tuple(dict.fromkeys(seen)), tuple(ordered))


def _peer_replica(node: str, conflict: Conflict, plans: Mapping[str, NodePlan]) -> ReplicaRef:
    """Which replica of the peer a held conflict is with."""
    here = ReplicaRef(node, conflict.replica)
    for edge in plans[node].edges if node in plans else ():
        if edge.edge == conflict.edge:
            return edge.target if edge.source == here else edge.source
    return ReplicaRef(conflict.peer, conflict.replica)


def _side(role: Role, content: Content, replicas: set[str], nodes: Mapping[int, str]) -> Side:
    return Side(
        role,
        content.path,
        content.kind,
        content.size_bytes,
        content.modified_at,
        content.origin,
        content.content,
        tuple(sorted(replicas)),
        tuple(Edit(nodes.get(number, ""), float(at)) for number, at in content.version),
    )
