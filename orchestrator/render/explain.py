"""Why an edge is set as it is: every field with its value, and the layer and line that have the last word.

Decides which edges and fields a person means by "branch-01~hq-a.sync", and how the answer reads. What
the values are was settled in `orchestrator.model.layers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from orchestrator.errors import OperatorError
from orchestrator.model.layers import FIELDS, Setting
from orchestrator.model.topology import Edge
from orchestrator.render.values import DURATIONS, SIZES, duration, size
from schemas.plans import ConflictRule, FilterRule
from schemas.text import nearest

MANY = 5  # ids shown where a text could mean several edges

_GROUPS = tuple(dict.fromkeys(name.split(".")[0] for name in FIELDS if "." in name))
_NAMES = (*FIELDS, "conflict.rules", "filters", *_GROUPS)


@dataclass(frozen=True, slots=True)
class Explained:
    """One edge, with those of its settings that were asked for."""

    edge: Edge
    settings: tuple[Setting, ...]


def explain(asked: str, edges: Sequence[Edge]) -> tuple[Explained, ...]:
    """What `asked`, an edge and perhaps a field, stands for; an `OperatorError` where that is nothing.

    An edge is named by its id, a glob over ids, or the end of an id that no other edge has.
    """
    found, field = _parse(asked, edges)
    return tuple(
        Explained(edge, tuple(each for each in edge.settings.settings if _is_asked(each.field, field)))
        for edge in found
    )


def _parse(asked: str, edges: Sequence[Edge]) -> tuple[list[Edge], str]:
    """The edges and the field, "" for all. Paths in ids may hold dots, so whole ids are tried first."""
    found = _matching(asked, edges)
    if found:
        return found, ""
    for name in sorted(_NAMES, key=len, reverse=True):
        if asked.endswith(f".{name}"):
            found = _matching(asked.removesuffix(f".{name}"), edges)
            if found:
                return found, name
    at = asked.find(".")
    while at > 0:
        if _matching(asked[:at], edges):
            field = asked[at + 1 :]
            near = nearest(field, _NAMES)
            hint = f'did you mean "{near}"?' if near else f"fields are {', '.join(_NAMES[:-2])}"
            raise OperatorError(f'an edge has no field "{field}"; {hint}')
        at = asked.find(".", at + 1)
    return find_edges(asked, edges), ""


def find_edges(asked: str, edges: Sequence[Edge]) -> list[Edge]:
    """The edges that a person means: an id, a glob over ids, or the end of an id that no other edge has."""
    found = _matching(asked, edges)
    if found:
        return found
    if not edges:
        raise OperatorError("there are no edges: the topologies declare none")
    ids = [edge.id for edge in edges]
    near = nearest(asked, ids) or nearest(asked, [each.split("/", 2)[-1] for each in ids])
    hint = f'did you mean "{near}"?' if near else f'ids look like "{ids[0]}"'
    raise OperatorError(f'no edge is called "{asked}"; {hint}')


def _matching(text: str, edges: Sequence[Edge]) -> list[Edge]:
    exact = [edge for edge in edges if edge.id == text]
    if exact:
        return exact
    if any(mark in text for mark in "*?["):
        return [edge for edge in edges if fnmatchcase(edge.id, text)]
    found = [edge for edge in edges if edge.id.endswith(f"/{text}")]
    if len(found) > 1:
        listed = ", ".join(edge.id for edge in found[:MANY])
        more = f" and {len(found) - MANY:,} more" if len(found) > MANY else ""
        raise OperatorError(f'"{text}" could be {listed}{more}; write the whole id, or "*/{text}" for all')
    return found


def _is_asked(field: str, asked: str) -> bool:
    return not asked or field == asked or field.startswith(f"{asked}.")


def explained_json(explained: Explained) -> dict[str, Any]:
    """The explanation as programs read it."""
    edge = explained.edge
    return {
        "edge": edge.id,
        "source": str(edge.source),
        "target": str(edge.target),
        "direction": edge.direction,
        "fields": [_setting_json(setting) for setting in explained.settings],
    }


def _setting_json(setting: Setting) -> dict[str, Any]:
    place = setting.place
    return {
        "field": setting.field,
        "value": _written(setting) if setting.field in DURATIONS else _plain(setting.value),
        "layer": setting.layer.name,
        "file": place.file if place else None,
        "line": place.line if place else None,
        "column": place.column if place else None,
        "unusedBecause": setting.unused_because or None,
    }


def explained_text(explained: Explained) -> list[tuple[str, str, str, str]]:
    """Rows of field, value, layer and place, for a table. An unused setting says why beside its value."""
    rows = []
    for setting in explained.settings:
        value = _written(setting)
        if setting.unused_because:
            value += f" (not used: {setting.unused_because})"
        rows.append((setting.field, value, setting.layer.name, str(setting.place or "")))
    return rows


def _plain(value: object) -> object:
    if isinstance(value, ConflictRule):
        return value  # a document: its keys are those that are written
    return {value.action: value.pattern} if isinstance(value, FilterRule) else value


def _written(setting: Setting) -> str:
    """A value as it could stand in a document."""
    value = setting.value
    if setting.field in SIZES and isinstance(value, int | None):
        return size(value)
    if value is None:
        return "none"
    if setting.field in DURATIONS and isinstance(value, float):
        return duration(value)
    if isinstance(value, FilterRule):
        return f"{value.action} {value.pattern}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
