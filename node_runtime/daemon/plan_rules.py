"""What a plan must be before this node runs it, whoever signed it.

It decides from the document alone (`home` and `state` are arguments), so the same plan is taken or
refused on every start. The orchestrator's planner checks far more and says it better; this is the last
door, and it stands on the machine whose files are at stake. Read on in `plans`, which asks.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Iterator
from itertools import pairwise

from schemas.plans import ConflictPlan, ConflictRule, NodePlan, PeerAddress, ReplicationPlan
from schemas.text import parse_limit


def plan_refused_because(plan: NodePlan, node: str, home: str, state: str) -> str | None:
    """Why `node` can't run this plan, or None where it can."""
    if plan.node != node:
        return f"the plan is for node {plan.node}, this is {node}"
    ids = [edge.edge for edge in plan.edges]
    if ids != sorted(set(ids)):
        return "its edges aren't sorted, or one stands in it twice"
    for name, address in plan.peers.items():
        if not _is_address(address):
            return f"the address of {name} can't be dialled: {address.host!r} port {address.port}"
    for edge in plan.edges:
        reason = _edge_refused_because(edge, plan)
        if reason is not None:
            return f"edge {edge.edge}: {reason}"
    return _replicas_refused_because(plan, home, state)


def local_path(path: str, home: str) -> str:
    """A replica's path with its "~/" replaced; replicas that are one directory have one such path."""
    return posixpath.join(home, path[2:]) if path.startswith("~/") else path


def _edge_refused_because(edge: ReplicationPlan, plan: NodePlan) -> str | None:
    ends = (edge.source.node, edge.target.node)
    if plan.node not in ends:
        return f"it joins {ends[0]} and {ends[1]}; neither is this node"
    if edge.source == edge.target:
        return "both its ends are the same replica"
    if edge.dials not in ends:
        return f"it is dialled by {edge.dials}, which is neither of its ends"
    peer = ends[1] if ends[0] == plan.node else ends[0]
    if edge.dials == plan.node != peer and peer not in plan.peers:
        return f"this node dials {peer} and the plan doesn't say where"
    policies: tuple[ConflictPlan | ConflictRule, ...] = (edge.conflict, *edge.conflict.rules)
    for conflict in policies:
        if conflict.policy == "prefer" and conflict.prefer not in ends:
            return f"conflicts prefer {conflict.prefer}, which is neither of its ends"
    kept = edge.retention
    if not math.isfinite(kept.deleted_s) or min(kept.deleted_s, kept.versions, kept.size_bytes or 0) < 0:
        return "its retention holds a number below zero, or none at all"
    if edge.guards.max_delete is not None:
        try:
            parse_limit(edge.guards.max_delete)
        except ValueError as error:
            return f"its maxDelete is {edge.guards.max_delete!r}: {error}"
    return _timing_refused_because(edge)


def _timing_refused_because(edge: ReplicationPlan) -> str | None:
    sync = edge.sync
    for name, value in (("debounce", sync.debounce_s), ("rescan", sync.rescan_s), ("jitter", sync.jitter_s)):
        if not math.isfinite(value) or value < 0:
            return f"its {name} of {value} s isn't a duration"
    if (sync.mode == "scheduled") != (sync.schedule is not None):
        return f"its mode is {sync.mode} and its schedule is {sync.schedule or 'missing'}"
    if sync.schedule is not None:
        from node_runtime.daemon.schedule import schedule_refused_because

        return schedule_refused_because(sync.schedule, sync.time_zone)
    return None


def _replicas_refused_because(plan: NodePlan, home: str, state: str) -> str | None:
    spelled: dict[str, str] = {}  # by where it is on this machine: as the plan writes it
    for path in _paths_here(plan):
        reason = _path_refused_because(path)
        if reason is not None:
            return f"the replica path {path!r} {reason}"
        place = local_path(path, home)
        if spelled.setdefault(place, path) != path:
            return f"{spelled[place]} and {path} are one directory under two names"
        if _overlap(place, state):
            return f"the replica {path} overlaps this node's state directory {state}"
    ordered = sorted(spelled, key=lambda place: place.split("/"))
    for outer, inner in pairwise(ordered):
        if _overlap(outer, inner):
            return f"the replica {spelled[inner]} lies inside the replica {spelled[outer]}"
    return None


def _paths_here(plan: NodePlan) -> Iterator[str]:
    for edge in plan.edges:
        for end in (edge.source, edge.target):
            if end.node == plan.node:
                yield end.path


def _path_refused_because(path: str) -> str | None:
    if "\0" in path:
        return "holds a NUL byte"
    if not path.startswith(("/", "~/")):
        return 'must be absolute or start with "~/"'
    if ".." in path.split("/"):
        return 'holds ".."'
    rest = path[1:] if path.startswith("~/") else path
    if rest == "/":
        return "is a whole file system or home directory"
    if posixpath.normpath(rest) != rest or rest.startswith("//"):
        return f"isn't written plainly, as {posixpath.normpath('/' + rest.strip('/'))}"
    return None


def _overlap(one: str, other: str) -> bool:
    """Whether one directory is, or lies inside, the other."""
    shorter, longer = sorted((one.rstrip("/") + "/", other.rstrip("/") + "/"), key=len)
    return longer.startswith(shorter)


def _is_address(address: PeerAddress) -> bool:
    return bool(address.host) and 0 < address.port < 65536 and address.host.isprintable()
