"""Plain data with places to typed documents.

Decides whose document it is, checks it against its schema, and gives each violation its place. Must not know
how files are found. What is right in itself but wrong in its fleet is found later, in `orchestrator.model`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from orchestrator.load.places import Places
from orchestrator.load.reader import RawDocument
from orchestrator.load.scalars import as_text, surprise
from schemas.errors import Problem
from schemas.plans import API_VERSION
from schemas.text import nearest
from schemas.topology import Inventory, Topology
from schemas.validate import Violation, show, violations

KINDS: dict[str, Literal["topology", "inventory"]] = {"Topology": "topology", "Inventory": "inventory"}
API_GROUP = API_VERSION.partition("/")[0]


@dataclass(frozen=True, slots=True)
class LoadedTopology:
    """A Topology and where its parts stand."""

    file: str
    document: Topology
    places: Places


@dataclass(frozen=True, slots=True)
class LoadedInventory:
    """An Inventory and where its parts stand."""

    file: str
    document: Inventory
    places: Places


def is_ours(value: Any) -> bool:
    """Whether a document of a directory is meant for this program."""
    if not isinstance(value, dict):
        return False
    version = value.get("apiVersion")
    if version is None:
        return value.get("kind") in KINDS
    return isinstance(version, str) and version.casefold().startswith(API_GROUP)


def type_document(
    file: str, raw: RawDocument
) -> tuple[LoadedTopology | LoadedInventory | None, list[Problem]]:
    """The typed document, or None and what is wrong with it."""
    problems = list(raw.problems)
    kind, heading = _kind(raw)
    if kind is None:
        return None, problems + heading
    found = _violations(raw, kind)
    problems += heading
    # a part that aliases repeat is at fault once, where it is written
    once = {
        (each.place, each.code, each.value): each for each in (_problem(one, raw.places) for one in found)
    }
    problems += once.values()
    if problems:
        return None, problems
    try:
        if kind == "topology":
            return LoadedTopology(file, msgspec.convert(raw.value, Topology), raw.places), []
        return LoadedInventory(file, msgspec.convert(raw.value, Inventory), raw.places), []
    except msgspec.ValidationError as error:  # the schema and the types disagree, which the tests rule out
        return None, [Problem("wrong-type", f"the document can't be read: {error}", raw.places.at())]


def _kind(raw: RawDocument) -> tuple[Literal["topology", "inventory"] | None, list[Problem]]:
    """Which schema a document is checked against, and what is wrong with the two lines that say so."""
    value, places = raw.value, raw.places
    accepted = f"write apiVersion: {API_VERSION} and kind: {' or '.join(KINDS)}"
    if not isinstance(value, dict):
        return None, [
            Problem("wrong-type", f"the document is {show(value)}", places.at(), show(value), accepted)
        ]
    problems: list[Problem] = []
    version, kind = value.get("apiVersion"), value.get("kind")
    if version is None:
        problems.append(Problem("missing-key", 'the document has no "apiVersion"', places.at(), "", accepted))
    elif version != API_VERSION:
        place = places.at(("apiVersion",))
        known = isinstance(version, str) and version.startswith(API_GROUP + "/")
        message = f"apiVersion is {show(version)}" + (", which this version doesn't know" if known else "")
        problems.append(Problem("unknown-version", message, place, show(version), accepted))
    if kind is None:
        problems.append(Problem("missing-key", 'the document has no "kind"', places.at(), "", accepted))
    elif not isinstance(kind, str) or kind not in KINDS:
        close = nearest(kind, KINDS) if isinstance(kind, str) else ""
        hint = f'did you mean "{close}"? ' if close else ""
        place = places.at(("kind",))
        problems.append(
            Problem(
                "unknown-kind",
                f"kind is {show(kind)}",
                place,
                show(kind),
                hint + f"accepted: {', '.join(KINDS)}",
            )
        )
    else:
        return KINDS[kind], problems
    return None, problems


def _violations(raw: RawDocument, kind: Literal["topology", "inventory"]) -> list[Violation]:
    """What the schema refuses, once unquoted numbers stand as texts where texts belong."""
    found = violations(raw.value, kind)
    untyped = [each for each in found if each.code == "wrong-type" and "string" in each.wanted]
    retyped = [_take_as_text(raw, each) for each in untyped]
    if any(retyped):
        found = violations(raw.value, kind)
    # the two lines above every document are judged by `_kind`
    return [
        each
        for each in found
        if each.pointer[:1] not in (("apiVersion",), ("kind",)) and not _of_heading(each)
    ]


def _of_heading(violation: Violation) -> bool:
    return (
        violation.code == "missing-key"
        and not violation.pointer
        and violation.value in ("apiVersion", "kind")
    )


def _take_as_text(raw: RawDocument, violation: Violation) -> bool:
    written = raw.places.written(violation.pointer)
    text = as_text(written) if written is not None else None
    if text is None or not violation.pointer:
        return False
    parent = raw.value
    for step in violation.pointer[:-1]:
        parent = parent[step]
    parent[violation.pointer[-1]] = text
    return True


def _problem(violation: Violation, places: Places) -> Problem:
    place = places.of_key(violation.pointer) if violation.on_key else places.at(violation.pointer)
    hint = violation.hint
    if violation.code == "wrong-type" and violation.value == "empty":
        hint += ", or leave the key out"
    hint = "; ".join(filter(None, (hint, *_quoting(violation, places))))
    return Problem(violation.code, violation.message, place, violation.value, hint)


def _quoting(violation: Violation, places: Places) -> Iterator[str]:
    """What YAML's own reading of an unquoted scalar has to do with a violation."""
    if violation.on_key:
        return
    written = places.written(violation.pointer)
    if violation.code == "wrong-type" and written and "string" in violation.wanted:
        yield f'quote it if it is meant as a text: "{written}"'
    elif (
        violation.code == "wrong-type"
        and "integer" in violation.wanted
        and _is_quoted_number(violation, written)
    ):
        yield "leave the quotes out"
    elif written and (reason := surprise(written)):
        yield reason


def _is_quoted_number(violation: Violation, written: str | None) -> bool:
    return written is None and violation.value.strip('"').isdecimal()
