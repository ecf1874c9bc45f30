"""The shapes: a table from a shape's name to the links it draws between replicas.

Decides who is linked with whom, and which way. Must not know nodes' addresses, settings or problems: a
replica that no shape could link is simply in no link, and `build` reports it. Links come in a fixed
order that doesn't depend on the order of an inventory, and a link depends on nothing but its own replicas
and (in a tree) its siblings.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise

from orchestrator.model.topology import Replica
from schemas.plans import Direction
from schemas.topology import Shape

Link = tuple[Replica, Replica, Direction]


@dataclass(frozen=True, slots=True)
class TierMembers:
    """One level of a tree."""

    replicas: tuple[Replica, ...]
    fanout: int | None  # children of one parent at most; None: spread evenly
    zones: Mapping[str, str] = field(default_factory=dict)  # node: zone; empty where zones don't matter


@dataclass(frozen=True, slots=True)
class Parts:
    """What a graph is made of; which fields a shape reads is its own affair."""

    direction: str  # one of the shape's own words for it; "" where it has none
    first: Replica | None = None  # source, hub or root; of `between`, the one written first
    second: Replica | None = None  # target; of `between`, the one written second
    members: tuple[Replica, ...] = ()
    hubs: Mapping[Replica, Replica] = field(default_factory=dict)  # spoke: its replica at the hub
    tiers: tuple[TierMembers, ...] = ()

    def replicas(self) -> Iterator[Replica]:
        """Every replica that the shape should link."""
        yield from (replica for replica in (self.first, self.second) if replica)
        yield from self.members
        yield from self.hubs.values()
        for tier in self.tiers:
            yield from tier.replicas


def _order(replica: Replica) -> tuple[str, str]:
    return replica.node, replica.path


def _one_way(parts: Parts) -> Iterator[Link]:
    if parts.first and parts.second:
        yield parts.first, parts.second, "one-way"


def _bidirectional(parts: Parts) -> Iterator[Link]:
    if parts.first and parts.second:
        yield parts.first, parts.second, "two-way"


def _hub_and_spoke(parts: Parts) -> Iterator[Link]:
    for spoke in parts.members:
        hub = parts.hubs.get(spoke)
        if hub:
            yield _link(hub, spoke, {"to-spokes": "down", "to-hub": "up", "both": "both"}[parts.direction])


def _full_mesh(parts: Parts) -> Iterator[Link]:
    for one, other in combinations(sorted(parts.members, key=_order), 2):
        yield one, other, "two-way"


def _chain(parts: Parts) -> Iterator[Link]:
    direction: Direction = "two-way" if parts.direction == "both" else "one-way"
    for one, other in pairwise(parts.members):
        yield one, other, direction


def _ring(parts: Parts) -> Iterator[Link]:
    yield from _chain(parts)
    if len(parts.members) > 2:  # closing a ring of two would be the same edge again
        direction: Direction = "two-way" if parts.direction == "both" else "one-way"
        yield parts.members[-1], parts.members[0], direction


def _tree(parts: Parts) -> Iterator[Link]:
    parents: Sequence[Replica] = (parts.first,) if parts.first else ()
    way = {"to-leaves": "down", "to-root": "up", "both": "both"}[parts.direction]
    for tier in parts.tiers:
        chosen = assign(parents, tier)
        parents = sorted(chosen, key=_order)  # one without a parent has nothing to pass on
        for child in parents:
            yield _link(chosen[child], child, way)


def _link(upper: Replica, lower: Replica, way: str) -> Link:
    if way == "up":
        return lower, upper, "one-way"
    return upper, lower, "two-way" if way == "both" else "one-way"


SHAPES: dict[Shape, Callable[[Parts], Iterator[Link]]] = {
    "one-way": _one_way,
    "bidirectional": _bidirectional,
    "hub-and-spoke": _hub_and_spoke,
    "full-mesh": _full_mesh,
    "tree": _tree,
    "chain": _chain,
    "ring": _ring,
}


def assign(parents: Sequence[Replica], tier: TierMembers) -> dict[Replica, Replica]:
    """A parent for every child that one has room for: in the child's zone first, then anywhere.

    Each child ranks the parents by a hash of both and takes the first that has room (rendezvous
    hashing, Thaler and Ravishankar 1998, with bounded loads), so that a new or lost machine moves few
    of the others, where dealing them out in turn would move nearly all.
    """
    if not parents:
        return {}
    load: dict[Replica, int] = defaultdict(int)
    chosen: dict[Replica, Replica] = {}
    children = sorted(tier.replicas, key=_order)
    if tier.zones:
        for zone in sorted(set(tier.zones.values())):
            mine = [child for child in children if tier.zones.get(child.node) == zone]
            near = [parent for parent in parents if tier.zones.get(parent.node) == zone]
            _place(mine, near, tier.fanout, load, chosen)
    _place([child for child in children if child not in chosen], parents, tier.fanout, load, chosen)
    return chosen


def _place(
    children: Sequence[Replica],
    parents: Sequence[Replica],
    fanout: int | None,
    load: dict[Replica, int],
    chosen: dict[Replica, Replica],
) -> None:
    if not parents or not children:
        return
    taken = sum(load[parent] for parent in parents)
    room = fanout if fanout is not None else -(-(taken + len(children)) // len(parents))
    names = {parent: f"\0{parent}".encode() for parent in parents}
    for child in children:
        seed = hashlib.sha256(str(child).encode())

        def rank(parent: Replica, seed: hashlib._Hash = seed) -> bytes:
            mixed = seed.copy()
            mixed.update(names[parent])
            return mixed.digest()

        open_parents = [parent for parent in parents if load[parent] < room]
        if not open_parents:
            return
        best = min(open_parents, key=rank)
        chosen[child] = best
        load[best] += 1
