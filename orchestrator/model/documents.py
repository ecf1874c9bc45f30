"""What the planner asks of loaded documents: typed contents, and the place of every part.

The loader's values satisfy these protocols; the planner must not know how a document was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.errors import Place
from schemas.topology import Inventory, Topology

Pointer = tuple[str | int, ...]  # keys and list positions from the top of a document, as written


class Places(Protocol):
    """Where the parts of one document stand."""

    def at(self, pointer: Pointer, /) -> Place:
        """The place of a key or list member, or of its nearest known ancestor."""
        ...


class LoadedTopology(Protocol):
    """A topology with its places."""

    @property
    def document(self) -> Topology: ...
    @property
    def places(self) -> Places: ...


class LoadedInventory(Protocol):
    """An inventory with its places."""

    @property
    def document(self) -> Inventory: ...
    @property
    def places(self) -> Places: ...


class Loaded(Protocol):
    """Everything that one command was given."""

    @property
    def topologies(self) -> Sequence[LoadedTopology]: ...
    @property
    def inventories(self) -> Sequence[LoadedInventory]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Where:
    """A part of a document, whose place is looked up only when somebody asks.

    Two are equal where they mean the same part of the same document; places needn't be hashable.
    """

    places: Places
    pointer: Pointer

    @property
    def place(self) -> Place:
        """File, line and column."""
        return self.places.at(self.pointer)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Where) and self.places is other.places and self.pointer == other.pointer

    def __hash__(self) -> int:
        return hash((id(self.places), self.pointer))

    def at(self, *keys: str | int) -> Where:
        """A part of this part."""
        return Where(self.places, (*self.pointer, *keys))
