"""Files and directories to typed documents: the one way in for what people write.

Decides which documents are read, and collects every problem of every one of them; it never raises for bad
input. Whether the documents make sense together is for `orchestrator.model`. Reading order: `files` (paths to
text), `reader` (text to data with places), `documents` (data to types).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.load.documents import LoadedInventory, LoadedTopology, is_ours, type_document
from orchestrator.load.files import Unreadable, identity, nearest_file, read_text, yaml_files
from orchestrator.load.places import Places
from orchestrator.load.reader import RawDocument, read_yaml
from schemas.errors import Place, Problem

__all__ = ["Loaded", "LoadedInventory", "LoadedTopology", "Places", "load"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """All documents that could be read, and all that is wrong with the others."""

    topologies: tuple[LoadedTopology, ...]
    inventories: tuple[LoadedInventory, ...]
    problems: tuple[Problem, ...]  # sorted by place


@dataclass(frozen=True, slots=True)
class _Reference:
    """An inventory file that a topology names."""

    file: str  # the topology's
    path: str  # as written
    place: Place


@dataclass(slots=True)
class _Reading:
    """What has been read so far."""

    topologies: list[LoadedTopology] = field(default_factory=list)
    inventories: list[LoadedInventory] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    references: list[_Reference] = field(default_factory=list)
    inventories_in: dict[tuple[int, int] | str, int] = field(
        default_factory=dict
    )  # file: documents, broken too


def load(paths: Sequence[str | Path]) -> Loaded:
    """Read files, directories, and the inventories that their topologies name. Each file is read once."""
    reading = _Reading()
    for path in paths:
        if os.path.isdir(path):
            _read_directory(reading, Path(path))
        else:
            _read_file(reading, os.path.normpath(path), named=True)
    _follow_references(reading)
    return Loaded(
        tuple(reading.topologies),
        tuple(reading.inventories),
        tuple(sorted(reading.problems, key=_by_place)),
    )


def _by_place(problem: Problem) -> tuple[Place, str]:
    return (problem.place or Place("", 0, 0), problem.message)


def _read_directory(reading: _Reading, directory: Path) -> None:
    before = (len(reading.inventories_in), len(reading.problems))
    found = False
    try:
        for file in yaml_files(directory):
            found |= _read_file(reading, file, named=False)
    except Unreadable as unreadable:
        reading.problems.append(unreadable.problem)
        return
    if not found and before == (len(reading.inventories_in), len(reading.problems)):
        hint = "name a directory that holds some, or write one with `syncgraph init DIR`"
        message = f"no topology or inventory stands in {directory}"
        reading.problems.append(Problem("nothing-found", message, value=str(directory), hint=hint))


def _read_file(reading: _Reading, file: str, *, named: bool, only_inventories: bool = False) -> bool:
    """Read one file unless it was read before. Whether it holds a document of ours."""
    key = identity(file)
    if key in reading.inventories_in:
        return True
    try:
        text = read_text(file, named=named)
    except Unreadable as unreadable:
        reading.problems.append(unreadable.problem)
        return True
    if text is None:
        return False
    documents, problems = read_yaml(text, file)
    documents = [document for document in documents if not document.empty]
    if not documents and not problems and named:
        hint = "write a Topology or an Inventory; `syncgraph init DIR` shows how"
        problems = [Problem("empty-document", "the file holds no document", Place(file, 1, 1), "", hint)]
    ours = [document for document in documents if named or is_ours(document.value)]
    if not ours and not problems:
        return False
    reading.inventories_in[key] = 0
    for raw in ours:
        typed, wrong = type_document(file, raw)
        problems += wrong
        if not only_inventories:
            reading.references += _references(file, raw)
        if isinstance(raw.value, dict) and raw.value.get("kind") == "Inventory":
            reading.inventories_in[key] += 1
        if isinstance(typed, LoadedInventory):
            reading.inventories.append(typed)
        elif typed is not None and not only_inventories:
            reading.topologies.append(typed)
    reading.problems += problems
    if problems:
        reading.inventories_in[key] += 1  # it may hold one: what is broken in it has been said already
    return True


def _references(file: str, raw: RawDocument) -> Iterator[_Reference]:
    """What a topology names as its inventories; of a broken one too, so that all is said at once."""
    spec = (
        raw.value.get("spec") if isinstance(raw.value, dict) and raw.value.get("kind") == "Topology" else None
    )
    named = spec.get("inventory") if isinstance(spec, dict) else None
    for index, path in enumerate(named if isinstance(named, list) else ()):
        if isinstance(path, str) and path.strip() and path.isprintable():
            yield _Reference(file, path, raw.places.at(("spec", "inventory", index)))


def _follow_references(reading: _Reading) -> None:
    """Read what the topologies' `spec.inventory` names. A reference brings in inventories only."""
    for reference in reading.references:
        folder = os.path.dirname(reference.file)
        path = os.path.normpath(os.path.join(folder, os.path.expanduser(reference.path)))
        if not os.path.isfile(path):
            close = nearest_file(path)
            hint = f'did you mean "{close}"? ' if close else ""
            hint += "paths are relative to the topology's file"
            message = f'there is no inventory file "{reference.path}"'
            reading.problems.append(Problem("no-such-file", message, reference.place, reference.path, hint))
            continue
        _read_file(reading, path, named=True, only_inventories=True)
        if reading.inventories_in.get(identity(path)) == 0:
            message = f'"{reference.path}" holds no Inventory'
            hint = "name a file with a document of kind: Inventory"
            reading.problems.append(Problem("no-inventory", message, reference.place, reference.path, hint))
