"""What must not be asked of a fleet: one function for each problem code.

Every check sees the whole fleet and yields what it finds; nothing stops at the first. Findings of one rule at
one place of a document are said once, with the number of edges they stand for, so that a graph of 5,000
edges with one mistake gives one line. Each check is linear in the edges (or sorts them).

What shows already while reading (unknown nodes, empty selectors, bad paths) is reported by `nodes`,
`members` and `build`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from orchestrator.model import graph
from orchestrator.model.documents import Where
from orchestrator.model.layers import Setting
from orchestrator.model.topology import Edge, Fleet, Replica
from schemas.errors import Problem
from schemas.plans import ConflictPlan, ConflictRule
from schemas.text import nearest


@dataclass(frozen=True, slots=True)
class Finding:
    """One breach of a rule, before equal ones are put together."""

    code: str
    message: str
    where: Where | None
    hint: str
    value: str = ""


def check_fleet(fleet: Fleet) -> list[Problem]:
    """Every problem of a fleet."""
    first: dict[tuple[str, Where | None], Finding] = {}
    count: Counter[tuple[str, Where | None]] = Counter()
    for check in CHECKS:
        for finding in check(fleet):
            key = finding.code, finding.where
            first.setdefault(key, finding)
            count[key] += 1
    return [_problem(finding, count[key]) for key, finding in first.items()]


def _problem(finding: Finding, count: int) -> Problem:
    more = f" (and {count - 1:,} more like it)" if count > 1 else ""
    place = finding.where.place if finding.where else None
    return Problem(finding.code, finding.message + more, place, finding.value, finding.hint)


def self_edge(fleet: Fleet) -> Iterator[Finding]:
    """An edge from a replica to itself."""
    for edge in fleet.edges:
        if edge.source == edge.target:
            yield Finding(
                "self-edge",
                f"{edge.source} would be replicated to itself",
                edge.where,
                "leave it out of the selector, or give one end another path",
                edge.id,
            )


def duplicate_edge(fleet: Fleet) -> Iterator[Finding]:
    """The same two replicas linked twice, in whichever direction; or two edges with one id."""
    ids: dict[str, Edge] = {}
    pairs: dict[frozenset[Replica], Edge] = {}
    for edge in fleet.edges:
        earlier = pairs.setdefault(frozenset((edge.source, edge.target)), edge)
        if earlier is not edge:
            yield Finding(
                "duplicate-edge",
                f"{edge.source} and {edge.target} are linked twice: by {earlier.id} "
                f"({earlier.where.place}) and by {edge.id}",
                edge.where,
                "keep one of them; for both directions, make it one two-way edge",
                edge.id,
            )
            continue
        earlier = ids.setdefault(edge.id, edge)
        if earlier is not edge:
            yield Finding(
                "duplicate-edge",
                f'two edges have the id "{edge.id}": from {earlier.source} to {earlier.target}, '
                f"and from {edge.source} to {edge.target}",
                edge.where,
                "put them in two graphs",
                edge.id,
            )


def overlapping_replicas(fleet: Fleet) -> Iterator[Finding]:
    """A replica inside another one on the same node: two indexes would own the same files."""
    used_by: dict[Replica, Edge] = {}
    for edge in fleet.edges:
        used_by.setdefault(edge.source, edge)
        used_by.setdefault(edge.target, edge)
    on_node: dict[str, list[tuple[tuple[str, ...], Replica]]] = defaultdict(list)
    for replica in used_by:
        on_node[replica.node].append((tuple(name for name in replica.path.split("/") if name), replica))
    for found in on_node.values():
        # Sorted by names, everything inside a directory stands right behind it.
        outer_names: tuple[str, ...] = ()
        outer: Replica | None = None
        for names, replica in sorted(found, key=lambda pair: pair[0]):
            if outer and names[: len(outer_names)] == outer_names and _same_root(outer, replica):
                yield Finding(
                    "overlapping-replicas",
                    f"{replica} lies inside {outer} (of {used_by[outer].id}): "
                    "the same files would belong to two replicas",
                    used_by[replica].where,
                    "give one of them a path beside the other",
                    str(replica),
                )
            else:
                outer_names, outer = names, replica


def _same_root(one: Replica, other: Replica) -> bool:
    return one.path.startswith("~") == other.path.startswith("~")


def _forces(edge: Edge) -> bool:
    """Whether the edge makes its target equal to its source, whatever others write there."""
    return (
        edge.direction == "one-way"
        and edge.settings.deletes == "propagate"
        and edge.settings.target_changes == "revert"
    )


def two_writers(fleet: Fleet) -> Iterator[Finding]:
    """A replica that one edge keeps equal to its source while another edge writes to it as well."""
    forced: dict[Replica, Edge] = {}
    for edge in fleet.edges:
        if _forces(edge):
            forced.setdefault(edge.target, edge)
    for edge in fleet.edges:
        ends = (edge.target, edge.source) if edge.direction == "two-way" else (edge.target,)
        for replica in ends:
            first = forced.get(replica)
            if first is None or first is edge or {edge.source, edge.target} == {first.source, first.target}:
                continue  # the same pair twice is a duplicate edge, and is reported as that
            yield Finding(
                "two-writers",
                f"{replica} is made equal to {first.source} by {first.id} ({first.where.place}), "
                f"which would undo and delete what {edge.id} writes there",
                edge.where,
                "set `targetChanges: keep` or `deletes: keep` on the one-way edges into it, "
                "or give each its own path, as with $(spoke.name) at a hub",
                edge.id,
            )


def delete_loop(fleet: Fleet) -> Iterator[Finding]:
    """One-way edges in a circle that each force their target: a delete would chase its own tail."""
    by_arc = {(str(edge.source), str(edge.target)): edge for edge in fleet.edges if _forces(edge)}
    for loop in graph.loops(by_arc):
        if len(loop) == 2:
            continue  # there and back between two replicas is a duplicate edge
        route = graph.one_loop(by_arc, loop)
        edge = by_arc[route[0], route[1]]
        yield Finding(
            "delete-loop",
            f"one-way edges that revert their targets form a loop: {_shown(route)}",
            edge.where,
            "use `direction: both`, set `targetChanges: keep`, or leave one edge out",
            edge.id,
        )


def _shown(route: list[str]) -> str:
    """A loop's route; of a long one, both ends and what was left out."""
    if len(route) > 8:
        route = [*route[:4], f"… {len(route) - 6:,} more …", *route[-2:]]
    return " → ".join(route)


def no_address(fleet: Fleet) -> Iterator[Finding]:
    """An edge of which neither end can be dialled."""
    for edge in fleet.edges:
        source, target = fleet.nodes[edge.source.node], fleet.nodes[edge.target.node]
        if source.name != target.name and not (source.listens_at or target.listens_at):
            yield Finding(
                "unreachable-replica",
                f"neither {source.name} nor {target.name} has an address: no one can open {edge.id}",
                edge.where,
                f"give one of them an address ({source.where.place} or {target.where.place})",
                edge.id,
            )


def unknown_preference(fleet: Fleet) -> Iterator[Finding]:
    """A conflict policy that prefers nobody, or a node that isn't at either end; `prefer` without effect."""
    for edge in fleet.edges:
        conflict = edge.settings.conflict
        yield from _preference(edge, conflict, _setting(edge, "conflict.policy"), "conflict.prefer")
        for setting in edge.settings.settings:
            if isinstance(setting.value, ConflictRule):
                yield from _preference(edge, setting.value, setting, "")


def _preference(
    edge: Edge, conflict: ConflictPlan | ConflictRule, written: Setting, prefer_field: str
) -> Iterator[Finding]:
    """What is wrong with one policy. `prefer_field` has a place of its own; "" stands within `written`."""
    ends = sorted({edge.source.node, edge.target.node})
    place = _written_at(_setting(edge, prefer_field) if prefer_field else written, edge)
    if conflict.policy != "prefer":
        if conflict.prefer is not None:
            yield Finding(
                "setting-without-effect",
                f'"{conflict.prefer}" is preferred in no conflict: the policy beside it is {conflict.policy}',
                place,
                _NEEDED["conflict.prefer"],
                conflict.prefer,
            )
    elif conflict.prefer is None:
        yield Finding(
            "prefer-nobody",
            f"the conflict policy of {edge.id} is prefer, and no node is named",
            _written_at(written, edge),
            f"add `prefer: {ends[0]}` beside it",
        )
    elif conflict.prefer not in ends:
        near = nearest(conflict.prefer, ends)
        yield Finding(
            "prefer-elsewhere",
            f'"{conflict.prefer}" is preferred in conflicts of {edge.id}, but is at neither end of it',
            place,
            f'did you mean "{near}"?' if near else f"name {' or '.join(ends)}",
            conflict.prefer,
        )


def no_schedule(fleet: Fleet) -> Iterator[Finding]:
    """A scheduled edge without a schedule."""
    for edge in fleet.edges:
        if edge.settings.sync.mode == "scheduled" and edge.settings.sync.schedule is None:
            yield Finding(
                "no-schedule",
                f"the mode of {edge.id} is scheduled, and no schedule is given",
                _written_at(_setting(edge, "sync.mode"), edge),
                'add a cron expression, as in `schedule: "*/30 * * * *"`',
            )


def setting_without_effect(fleet: Fleet) -> Iterator[Finding]:
    """A setting that has no effect on any edge, since what it belongs to is off."""
    used = set()
    misfits: dict[tuple[str, Where], tuple[Setting, Edge]] = {}
    for settings, edge in {
        id(edge.settings): (edge.settings, edge) for edge in reversed(fleet.edges)
    }.values():
        for setting in settings.settings:
            if setting.layer.where is None:
                continue
            key = setting.field, setting.layer.where
            if not setting.unused_because:
                used.add(key)
            elif setting.misfit:
                misfits[key] = setting, edge
    for key, (setting, edge) in misfits.items():
        if key not in used:
            yield Finding(
                "setting-without-effect",
                f"{setting.field} has no effect on {edge.id}: its {setting.unused_because}",
                _written_at(setting, edge),
                _NEEDED.get(setting.field, "remove it"),
                setting.field,
            )


_NEEDED = {
    **dict.fromkeys(("sync.schedule", "sync.timeZone", "sync.jitter"), "set `mode: scheduled`, or remove it"),
    **dict.fromkeys(("sync.debounce", "sync.rescan"), "set `mode: continuous`, or remove it"),
    "conflict.prefer": "set `policy: prefer`, or remove it",
    "targetChanges": "a two-way edge has no target: settle edits with `conflict`, or make it one-way",
}


def _setting(edge: Edge, field: str) -> Setting:
    return next(setting for setting in edge.settings.settings if setting.field == field)


def _written_at(setting: Setting, edge: Edge) -> Where:
    """Where a setting was written; the edge, where it is built-in."""
    return setting.layer.where.at(*setting.key) if setting.layer.where else edge.where


CHECKS: tuple[Callable[[Fleet], Iterable[Finding]], ...] = (
    self_edge,
    duplicate_edge,
    overlapping_replicas,
    two_writers,
    delete_loop,
    no_address,
    unknown_preference,
    no_schedule,
    setting_without_effect,
)
