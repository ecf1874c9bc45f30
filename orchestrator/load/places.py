"""Where the values of a document stand in its file.

A tree of the same shape as the document, so that a place costs one small object a value, and shared parts
(YAML aliases) share their places too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.errors import Place


class Spot:
    """One value's place, the place of the key before it, and the spots of what it holds."""

    __slots__ = ("children", "column", "key_column", "key_line", "line", "written")

    def __init__(self, line: int, column: int) -> None:
        self.line = line  # all lines and columns count from 1
        self.column = column
        self.key_line = line  # the value's own, in a list and at the top
        self.key_column = column
        self.written: str | None = None  # the text of an unquoted scalar
        self.children: dict[str | int, Spot] = {}

    def under_key(self, line: int, column: int) -> Spot:
        """The same value behind a key that stands at the given place."""
        spot = Spot(self.line, self.column)
        spot.key_line = line
        spot.key_column = column
        spot.written = self.written
        spot.children = self.children
        return spot


@dataclass(frozen=True, slots=True)
class Places:
    """The places of one document."""

    file: str
    top: Spot

    def at(self, pointer: Sequence[str | int] = ()) -> Place:
        """Where the value at `pointer` stands, or the nearest ancestor that the document has."""
        spot, _ = self._find(pointer)
        return Place(self.file, spot.line, spot.column)

    def of_key(self, pointer: Sequence[str | int]) -> Place:
        """Where the key of the value at `pointer` stands."""
        spot, found = self._find(pointer)
        return Place(self.file, spot.key_line, spot.key_column) if found else self.at(pointer)

    def written(self, pointer: Sequence[str | int]) -> str | None:
        """The text of the unquoted scalar at `pointer`; None for anything else."""
        spot, found = self._find(pointer)
        return spot.written if found else None

    def _find(self, pointer: Sequence[str | int]) -> tuple[Spot, bool]:
        spot = self.top
        for step in pointer:
            child = spot.children.get(step)
            if child is None:
                return spot, False
            spot = child
        return spot, True
