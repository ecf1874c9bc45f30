"""Desired against observed: every difference, edge by edge and field by field.

Decides what has to change on which node. Pure: the time is an argument. An edge stands on two nodes, which
may run different things (an apply that was cut off, a node that was away), so each node is compared by
itself, and equal differences of one edge are then put together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from orchestrator.plan.change import Action, Change, FieldChange, Observed, OutOfReach, Plan, Step
from schemas.plans import API_VERSION, NodePlan, ReplicationPlan, digest, empty_plan

CERTIFICATE_LIFETIME_S = 90 * 86_400.0
# With a third of its life left there is a month for somebody to notice that renewals fail.
RENEW_BEFORE_EXPIRY_S = CERTIFICATE_LIFETIME_S / 3

EdgeDifference = tuple[str, Action, tuple[FieldChange, ...]]


def diff(desired: Mapping[str, NodePlan], observed: Mapping[str, Observed], *, now: float) -> Plan:
    """The plan that brings every reachable node from what it runs to what is desired.

    `now` is Unix time in seconds. A node that is observed but not desired any more, and still runs edges, is
    given an empty plan. A desired node that nobody tried to observe counts as unreachable.
    """
    wanted = {**_leftovers(desired, observed), **desired}
    digests = {node: digest(plan) for node, plan in sorted(wanted.items())}
    steps: list[Step] = []
    unreachable: list[OutOfReach] = []
    node_changes: list[Change] = []
    edges: dict[EdgeDifference, list[str]] = defaultdict(list)
    for node in sorted({*wanted, *observed}):
        seen = observed.get(node, Observed(node, unreachable="it was not asked"))
        if seen.unreachable:
            unreachable.append(OutOfReach(node, seen.unreachable))
            continue
        plan = wanted.get(node)
        push = plan is not None and digests[node] != seen.digest and _matters(plan, seen)
        certificate = _certificate_change(plan, seen, now)
        if certificate:
            node_changes.append(certificate)
        if push:
            assert plan is not None
            for difference in _edge_differences(seen.plan, plan):
                edges[difference].append(node)
            own = _node_difference(node, seen, plan)
            node_changes.extend([own] if own else [])
        steps.append(Step(node, seen.generation, seen.digest, seen.enrolled, certificate is not None, push))
    edge_changes = [
        Change(action, edge, "edge", tuple(nodes), fields) for (edge, action, fields), nodes in edges.items()
    ]
    return Plan(
        API_VERSION,
        "Plan",
        next((plan.fleet for plan in wanted.values()), ""),
        digest(digests),
        (*sorted(edge_changes, key=_order), *node_changes),
        tuple(steps),
        tuple(unreachable),
        {step.node: wanted[step.node] for step in steps if step.push},
    )


def _order(change: Change) -> tuple[str, str, tuple[str, ...]]:
    return change.subject, change.action, change.nodes


def _leftovers(desired: Mapping[str, NodePlan], observed: Mapping[str, Observed]) -> dict[str, NodePlan]:
    """Empty plans for nodes that are not declared any more and still run edges."""
    return {
        node: empty_plan(seen.plan.fleet, node)
        for node, seen in observed.items()
        if node not in desired and not seen.unreachable and seen.plan is not None and seen.plan.edges
    }


def _matters(plan: NodePlan, seen: Observed) -> bool:
    """Whether a different plan is worth a push: a node that has never had an edge needs no empty plan."""
    return bool(plan.edges) or bool(seen.digest)


def _certificate_change(plan: NodePlan | None, seen: Observed, now: float) -> Change | None:
    """Enrolment for a node that gets its first edge, renewal for one whose certificate runs out."""
    if not seen.enrolled:
        if plan is None or not plan.edges:
            return None
        return Change("enrol", seen.node, "node", (seen.node,))
    expires_at = seen.certificate_expires_at
    if plan is None or expires_at is None or expires_at - now >= RENEW_BEFORE_EXPIRY_S:
        return None
    return Change("renew", seen.node, "node", (seen.node,))


def _edge_differences(old: NodePlan | None, new: NodePlan) -> Iterator[EdgeDifference]:
    """What becomes of each edge at one node."""
    before = {edge.edge: edge for edge in old.edges} if old else {}
    after = {edge.edge: edge for edge in new.edges}
    for edge in sorted({*before, *after}):
        if edge not in before:
            yield edge, "create", tuple(_told(after[edge], created=True))
        elif edge not in after:
            yield edge, "delete", tuple(_told(before[edge], created=False))
        elif before[edge] != after[edge]:
            yield edge, "update", tuple(edge_fields(before[edge], after[edge]))


def edge_fields(old: ReplicationPlan, new: ReplicationPlan) -> Iterator[FieldChange]:
    """The fields in which two versions of one edge differ."""
    before, after = flat(old), flat(new)
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            yield FieldChange(name, before.get(name), after.get(name))


def _told(edge: ReplicationPlan, *, created: bool) -> Iterator[FieldChange]:
    """What to say of an edge that comes or goes: its ends, its direction, and what isn't built-in."""
    bare = ReplicationPlan(edge.edge, edge.source, edge.target, edge.direction, edge.dials)
    if edge != bare:
        built_in = flat(bare)
        own = {name: value for name, value in flat(edge).items() if value != built_in[name]}
    else:
        own = {}
    ends = {"source": str(edge.source), "target": str(edge.target), "direction": edge.direction}
    for name, value in {**ends, **own}.items():
        yield FieldChange(name, None, value) if created else FieldChange(name, value, None)


def flat(edge: ReplicationPlan) -> dict[str, Any]:
    """An edge as field names and plain values, defaults included: "sync.mode", "source", "filters"."""
    return {
        "source": str(edge.source),
        "target": str(edge.target),
        "direction": edge.direction,
        "dials": edge.dials,
        "sync.mode": edge.sync.mode,
        "sync.schedule": edge.sync.schedule,
        "sync.timeZone": edge.sync.time_zone,
        "sync.jitter": edge.sync.jitter_s,
        "sync.debounce": edge.sync.debounce_s,
        "sync.rescan": edge.sync.rescan_s,
        "filters": tuple(f"{rule.action} {rule.pattern}" for rule in edge.filters),
        "conflict.policy": edge.conflict.policy,
        "conflict.prefer": edge.conflict.prefer,
        "conflict.rules": tuple(map(str, edge.conflict.rules)),
        "deletes": edge.deletes,
        "targetChanges": edge.target_changes,
        "retention.deleted": edge.retention.deleted_s,
        "retention.versions": edge.retention.versions,
        "retention.size": edge.retention.size_bytes,
        "guards.maxDelete": edge.guards.max_delete,
        "guards.requireMarker": edge.guards.require_marker,
    }


def _node_difference(node: str, seen: Observed, new: NodePlan) -> Change | None:
    """What changes of a node apart from its edges: its fleet's name, and where it dials its peers.

    Peers that come and go with edges are not worth a line of their own.
    """
    if seen.plan is None:
        return None
    fields = []
    if seen.plan.fleet != new.fleet:
        fields.append(FieldChange("fleet", seen.plan.fleet, new.fleet))
    for peer in sorted({*seen.plan.peers, *new.peers}):
        old_address, new_address = seen.plan.peers.get(peer), new.peers.get(peer)
        if old_address != new_address:
            fields.append(
                FieldChange(
                    f"peers.{peer}",
                    msgspec.to_builtins(old_address),
                    msgspec.to_builtins(new_address),
                )
            )
    edges_differ = seen.plan.edges != new.edges
    shown = [field for field in fields if not edges_differ or (field.old and field.new)]
    if not shown and edges_differ:
        return None
    return Change("update", node, "node", (node,), tuple(shown))
