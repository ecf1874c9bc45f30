"""Problems: what is wrong with a document, where it stands, and what would be right.

Checks collect problems and go on; they never raise for bad input. Only the command line turns them
into text and exit codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in a file. Lines and columns count from 1, as editors do."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, said once."""

    code: str  # stable kebab-case name of the rule, e.g. "unknown-key", "duplicate-edge"
    message: str  # one sentence: what is wrong
    place: Place | None = None
    value: str = ""  # the offending value, as it was written
    hint: str = ""  # what would be accepted, with the nearest spelling
    severity: Severity = "error"

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{where}{self.severity}: {self.message}{hint} [{self.code}]"
