"""A plan for people, in the form that readers of Terraform know.

Decides wording, order and what is cut short; never what changes. Changes stand by graph, with a symbol each
and their fields beneath; many alike are shown by their first ones and a count, so that 5,000 new spokes
fit on a screen. Text from documents and nodes can't steer the reader's terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from orchestrator.plan.change import SYMBOLS, Action, Change, FieldChange, Plan
from orchestrator.render.values import DURATIONS, SIZES, duration, size
from schemas.text import printable

SHOWN_ALIKE = 8  # of more changes that differ only in their nodes, so many are listed

_COLOURS: dict[Action, str] = {"create": "32", "update": "33", "delete": "31", "enrol": "32", "renew": "33"}
_ENDS = ("source", "target", "direction")
_NODE_VERBS: dict[Action, str] = {
    "enrol": "enrol {}",
    "renew": "renew the certificate of {}",
    "update": "update {}",
    "create": "create {}",
    "delete": "remove {}",
}


def plan_text(plan: Plan, colour: bool = False) -> str:
    """The whole plan, ending with its summary line."""
    paint = _Paint(colour)
    lines = [*_body(plan, paint), *_out_of_reach(plan, paint), *_summary(plan, paint)]
    return "\n".join(lines)


class _Paint:
    """ANSI colours, or none."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour

    def __call__(self, text: str, *codes: str) -> str:
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if self._colour and codes else text


def _body(plan: Plan, paint: _Paint) -> Iterator[str]:
    if not plan.changes:
        return
    actions = {change.action for change in plan.changes}
    legend: list[tuple[Action, str]] = [("create", "add"), ("update", "change"), ("delete", "remove")]
    used = [(action, word) for action, word in legend if any(SYMBOLS[a] == SYMBOLS[action] for a in actions)]
    yield "   ".join(f"{paint(SYMBOLS[action], _COLOURS[action])} {word}" for action, word in used)
    edges = [change for change in plan.changes if change.of == "edge"]
    for graph, changes in groupby(edges, key=lambda change: "/".join(change.subject.split("/", 2)[:2])):
        yield ""
        yield paint(graph, "1")
        yield from _group(changes, paint)
    nodes = sorted(
        (change for change in plan.changes if change.of == "node"),
        key=lambda change: (list(_COLOURS).index(change.action), change.subject),
    )
    if nodes:
        yield ""
        yield paint("nodes", "1")
        yield from _group(nodes, paint)


def _group(changes: Iterable[Change], paint: _Paint) -> Iterator[str]:
    """The changes under one heading; those that differ only in their ends stand together."""
    alike: dict[tuple[str, str], list[Change]] = {}
    for change in changes:
        alike.setdefault((change.action, str(_own_fields(change))), []).append(change)
    for same in alike.values():
        shown = same if len(same) <= SHOWN_ALIKE + 1 else same[:SHOWN_ALIKE]
        for change in shown:
            yield f"  {paint(change.symbol, _COLOURS[change.action])} {_headline(change)}"
            fields = _own_fields(change)
            column = max((len(field.field) for field in fields), default=0)
            for field in fields:
                yield f"      {paint(printable(field.field.ljust(column)), '2')}  {_values(field, paint)}"
        if len(shown) < len(same):
            rest = len(same) - len(shown)
            yield f"  {paint(same[0].symbol, _COLOURS[same[0].action])} … and {rest:,} more like these"


def _own_fields(change: Change) -> tuple[FieldChange, ...]:
    """The fields that deserve a line: an edge's ends stand in its headline, one that goes needs none."""
    if change.of == "edge" and change.action == "delete":
        return ()
    if change.of == "edge" and change.action == "create":
        return tuple(field for field in change.fields if field.field not in _ENDS)
    return change.fields


def _headline(change: Change) -> str:
    if change.of == "node":
        return printable(_NODE_VERBS[change.action].format(change.subject))
    said = {field.field: field.new if field.old is None else field.old for field in change.fields}
    tail = change.subject.split("/", 2)[-1]
    if change.action == "update" or not all(end in said for end in _ENDS):
        text = tail
        ends = set(tail.split("~"))
    else:
        arrow = "⇄" if said["direction"] == "two-way" else "→"
        text = f"{said['source']} {arrow} {said['target']}"
        ends = {said["source"].partition(":")[0], said["target"].partition(":")[0]}
    nodes = {node.partition(":")[0] for node in ends}
    if set(change.nodes) != nodes:
        text += f"  (on {', '.join(change.nodes)} only)"
    return printable(text)


def _values(field: FieldChange, paint: _Paint) -> str:
    if field.old is None:
        return _value(field.field, field.new)
    if field.new is None:
        return f"{_value(field.field, field.old)} {paint('→', '33')} {paint('none', '2')}"
    return f"{_value(field.field, field.old)} {paint('→', '33')} {_value(field.field, field.new)}"


def _value(field: str, value: Any) -> str:
    if field in DURATIONS:
        return duration(value)
    if field in SIZES:
        return size(value)
    if isinstance(value, dict):  # a peer's address
        return printable(f"{value['host']}:{value['port']}")
    if isinstance(value, list | tuple):
        return printable(f"[{', '.join(map(str, value))}]")
    if isinstance(value, bool):
        return "true" if value else "false"
    return printable(str(value))


def _out_of_reach(plan: Plan, paint: _Paint) -> Iterator[str]:
    if not plan.unreachable:
        return
    yield ""
    yield paint("not reached", "1", "31")
    for node in plan.unreachable[: SHOWN_ALIKE * 2]:
        yield f"  {paint('!', '31')} {printable(node.node)}: {printable(node.reason)}"
    rest = len(plan.unreachable) - SHOWN_ALIKE * 2
    if rest > 0:
        yield f"  {paint('!', '31')} … and {rest:,} more"


def _summary(plan: Plan, paint: _Paint) -> Iterator[str]:
    summary = plan.summary
    if plan.changes:
        yield ""
    if plan.empty and not plan.unreachable:
        where = _nodes(len(plan.steps))
        yield f"{paint('No changes.', '1', '32')} What runs is what is declared, on {where}."
        return
    if plan.empty and not plan.steps:
        yield f"{paint('Nothing can be said:', '1', '31')} none of {_nodes(summary.unreachable)} answered."
        return
    if plan.empty:
        reached = f"what runs on the {_nodes(len(plan.steps))} that answered is what is declared"
        yield f"{paint('No changes', '1')}: {reached}; {_nodes(summary.unreachable)} could not be asked."
        return
    counts = f"{summary.add:,} to add, {summary.change:,} to change, {summary.remove:,} to remove"
    yield f"{paint('Plan:', '1')} {counts}, on {_nodes(summary.nodes)}{_trust(plan)}."
    if summary.unreachable:
        yield f"{_nodes(summary.unreachable)} could not be asked: nothing is planned there; the others go on."


def _trust(plan: Plan) -> str:
    summary = plan.summary
    said = [
        f"{count:,} to {verb}"
        for count, verb in ((summary.enrol, "enrol"), (summary.renew, "renew"))
        if count
    ]
    return f" ({', '.join(said)})" if said else ""


def _nodes(count: int) -> str:
    return f"{count:,} node{'' if count == 1 else 's'}"
