"""What a measurement is, apart from how it is taken and how it is printed.

A `Case` is one row of promises and the function that measures it; a `Figure` is what came out. Next:
`measure`, then any `cases_…` module.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Bound:
    """What a figure has to reach, in its own unit."""

    value: float
    at_most: bool = False  # else: at least

    def met(self, value: float) -> bool:
        return value <= self.value if self.at_most else value >= self.value

    def ratio(self, value: float) -> float:
        """How many times better than asked for; below 1 the floor is missed."""
        better, worse = (self.value, value) if self.at_most else (value, self.value)
        return better / worse if worse else float("inf")


@dataclass(frozen=True, slots=True)
class Figure:
    """One quantity, measured several times in the same way."""

    what: str
    unit: str
    runs: tuple[float, ...]
    command: str  # as a person would type it; $DIR is the directory of the work data
    floor: str = ""  # the promise in words; "" where there is none
    bound: Bound | None = None  # present exactly where there is a floor
    beside: str = ""  # the program measured in the same run for comparison; "" where there is none
    beside_runs: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def median(self) -> float:
        return statistics.median(self.runs)

    @property
    def missed(self) -> bool:
        return self.bound is not None and not self.bound.met(self.median)


@dataclass(frozen=True, slots=True)
class Plan:
    """How cases are to be run: where, and how often."""

    directory: Path  # empty, and the case's own
    memory: Path | None  # the same on a file system in memory; None where there is none with room
    runs: int


@dataclass(frozen=True, slots=True)
class Case:
    """A measurement by name."""

    name: str
    what: str
    measure: Callable[[Plan], Iterable[Figure]]


class CannotMeasure(Exception):
    """The figure could not be taken; says why. Printed in its place, never passed over."""
