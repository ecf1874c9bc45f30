"""Ending a conflict: which node is told to, and what.

It decides that from what the nodes reported; `conflicts` has what that means. The node looks once more, and
refuses where anything has changed since. Its edit replicates, so one node is enough.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from orchestrator.apply.access import Hosts
from orchestrator.apply.conflicts import Known, Side
from orchestrator.apply.host import Unreachable
from orchestrator.errors import OperatorError
from schemas.conflicts import Conflict, Keep, ResolveConflict, Resolved
from schemas.control import Refused
from schemas.plans import Document, NodePlan, ReplicaRef

COPY_KEEPS: dict[str, Keep] = {"winner": "winner", "copy": "copy", "both": "both"}


class Ended(Document, frozen=True):
    """One conflict that has been ended."""

    path: str
    copy: str  # the conflict copy's path; "" if it was held
    kept: str  # "winner", "copy", "both" or a node
    node: str  # where the edit was made
    moved_to: str  # the copy's new path; "" unless both are kept


Order = tuple[str, ResolveConflict]  # the node that is told, and what


def decide(
    known: Sequence[Known], path: str, keep: str, node: str | None, plans: Mapping[str, NodePlan]
) -> list[Order]:
    """Whom to tell what, so that the conflicts at `path`, or that of one copy, end. Raises OperatorError."""
    meant = _meant(known, path, node)
    if any(each.conflict.held for each in meant):
        return [_held(each, keep) for each in meant if each.conflict.held]
    if keep not in COPY_KEEPS:
        raise OperatorError(f'"{keep}" can\'t be kept: {path} has a conflict copy; keep winner, copy or both')
    if keep == "copy" and len(meant) > 1:
        copies = ", ".join(each.conflict.sides[-1].path for each in meant)
        raise OperatorError(f"{path} has {len(meant)} conflict copies; name the one to keep: {copies}")
    orders = []
    for each in meant:
        at, report = min(
            (report for report in each.reports if node in (None, report[0])),
            key=lambda report: (_is_mirror(report[0], report[1], plans), report[0]),
        )
        orders.append((at, ResolveConflict(report, COPY_KEEPS[keep])))
    return orders


async def tell(hosts: Hosts, orders: Sequence[Order], kept: str) -> tuple[Ended, ...]:
    """Have the conflicts ended, one after the other. Raises OperatorError at the first that can't be."""
    ended = []
    for node, request in orders:
        try:
            async with hosts.use(node) as host:
                reply = await host.request(request)
        except Unreachable as error:
            raise OperatorError(f"{node} can't be reached: {error.reason}") from None
        if isinstance(reply, Refused):
            raise OperatorError(f"{node}: {reply.reason}")
        if not isinstance(reply, Resolved):
            raise OperatorError(f"{node} answers another question than the one that was asked")
        conflict = request.conflict
        copy = "" if conflict.peer else conflict.other.path
        ended.append(Ended(conflict.path, copy, kept, node, reply.moved_to))
    return tuple(ended)


def _meant(known: Sequence[Known], path: str, node: str | None) -> list[Known]:
    """The conflicts at a path, or that of one copy, in one set of replicas."""
    found = [
        each
        for each in known
        if path == each.conflict.path or path in {side.path for side in each.conflict.sides}
    ]
    if not found:
        raise OperatorError(f"there is no conflict at {path}; `syncgraph conflicts` lists those that are")
    if node is not None:
        at_node = [each for each in found if node in {name for name, _ in each.reports}]
        if not at_node:
            seen = sorted({name for each in found for name, _ in each.reports})
            raise OperatorError(f"{node} sees no conflict at {path}; {', '.join(seen)} does")
        found = at_node
    if len({each.group for each in found}) > 1:
        places = ", ".join(sorted({each.conflict.replicas[0] for each in found}))
        raise OperatorError(f"{path} is in conflict in trees that aren't joined ({places}); say --node NODE")
    return found


def _held(known: Known, keep: str) -> Order:
    """Have one content replace the others: that of the replica `keep`, or the only one that the node `keep`
    holds, or else the only one that it edited."""
    sides = known.conflict.sides
    at_place = {place: (side, place) for side in sides for place in side.replicas}
    holding = [(place.partition(":")[0], held) for place, held in at_place.items()]
    edited = [(side.origin, (side, side.replicas[0])) for side in sides]
    meant = _unique(edited) | _unique(holding) | at_place
    if keep not in meant:
        raise OperatorError(
            f"the conflict at {known.conflict.path} is held: name the node whose content stays,"
            f" {' or '.join(sorted(_unique(edited) | _unique(holding)) or at_place)}"
        )
    kept, place = meant[keep]
    node, _, replica = place.partition(":")
    told = [each for _, report in known.reports for each in (report.here, report.other) if each is not None]
    own = next((report for name, report in known.reports if (name, report.replica) == (node, replica)), None)
    if own is None:  # an end that takes nothing reports nothing: its content is known from its peer
        mine = next(each for each in told if each.content == kept.content)
        own = Conflict(replica, known.conflict.path, mine, mine, known.reports[0][0])
    return node, ResolveConflict(own, "here", tuple(sorted({each.version for each in told})))


def _unique(pairs: Sequence[tuple[str, tuple[Side, str]]]) -> dict[str, tuple[Side, str]]:
    """Those names that stand for one thing."""
    times = Counter(name for name, _ in pairs)
    return {name: meant for name, meant in pairs if times[name] == 1}


def _is_mirror(node: str, conflict: Conflict, plans: Mapping[str, NodePlan]) -> bool:
    """Whether an edit in this replica would be undone."""
    here = ReplicaRef(node, conflict.replica)
    edges = plans[node].edges if node in plans else ()
    return any(
        edge.direction == "one-way" and edge.target == here and edge.target_changes == "revert"
        for edge in edges
    )
