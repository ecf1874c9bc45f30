"""Loaded documents without the loader: typed from plain values, with a place for every part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from schemas.errors import Place
from schemas.topology import Inventory, Topology


@dataclass(frozen=True)
class PointerPlaces:
    """Places that spell the pointer out as the file, so that a test can read which part was meant."""

    name: str

    def at(self, pointer: tuple[str | int, ...], /) -> Place:
        return Place(f"{self.name}#{'.'.join(map(str, pointer))}", 1, 1)


@dataclass(frozen=True)
class Document:
    document: Any
    places: PointerPlaces


@dataclass(frozen=True)
class Documents:
    topologies: Sequence[Document]
    inventories: Sequence[Document]


def topology(name: str = "t", **spec: Any) -> Document:
    """A topology from the keys of its spec, as they are written in YAML."""
    written = {"apiVersion": "syncgraph/v1", "kind": "Topology", "metadata": {"name": name}, "spec": spec}
    return Document(msgspec.convert(written, Topology), PointerPlaces(name))


def inventory(*nodes: dict[str, Any] | str, name: str = "inv", **defaults: Any) -> Document:
    """An inventory; a bare name is a node whose address is the name."""
    written = {
        "apiVersion": "syncgraph/v1",
        "kind": "Inventory",
        "metadata": {"name": name},
        "spec": {
            "defaults": defaults,
            "nodes": [
                {"name": node, "address": "$(name).example.net"} if isinstance(node, str) else node
                for node in nodes
            ],
        },
    }
    return Document(msgspec.convert(written, Inventory), PointerPlaces(name))


def loaded(*documents: Document) -> Documents:
    """What a loader would give for these documents."""
    return Documents(
        [each for each in documents if isinstance(each.document, Topology)],
        [each for each in documents if isinstance(each.document, Inventory)],
    )
