"""The guard of one end of an edge: how much a peer may delete or replace here before a person is asked.

It decides which changes of a pass wait, from numbers alone; it never looks at content, disk or peer. What it
counts are the files that would be lost here because a peer decided so: deleted ones and those that get other
content. Renames, metadata and what a conflict keeps beside the winner aren't counted.

Counted is each path once within the last hour, over as many passes as that takes, so that a flood that comes
in drops is stopped too. The pass that would go beyond the limit waits as a whole, with the directories
that it would take away. From then on every such change waits with it, until a person has approved what was
held when it was shown; what came later is counted anew.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping

from node_runtime.replica.entry import Kind, Row
from node_runtime.replica.reconcile import Action, Decision
from schemas.text import Limit, parse_limit

WINDOW_S = 3600.0  # a mass deletion takes minutes; an hour of ordinary work stays far below a sensible limit


class Change(enum.Enum):
    """What a peer's decision would do to something that is here."""

    DELETE = "delete"
    REPLACE = "replace"
    DIRECTORY = "directory"  # deleted or replaced; it waits with the files but isn't counted as one


def change_of(row: Row | None, decision: Decision) -> Change | None:
    """What a decision would do to what is here now; None where nothing would be lost by it."""
    if row is None or row.entry.deleted or decision.keep_aside is not None:
        return None
    if decision.action not in (Action.DELETE, Action.UPDATE):
        return None
    if row.entry.kind is Kind.DIRECTORY:
        return Change.DIRECTORY
    return Change.DELETE if decision.action is Action.DELETE else Change.REPLACE


class Guard:
    """What one end has let through, and what it holds back. Survives the sessions of its edge."""

    def __init__(self, max_delete: str | None, name: str = "") -> None:
        """`name` tells the holds of this guard from those of others, so that an approval fits one alone.
        Without a name nobody can approve, and nothing stays held from one run to the next."""
        self.max_delete = max_delete
        self.held: dict[bytes, Change] = {}
        self._limit: Limit | None = parse_limit(max_delete) if max_delete is not None else None
        self._name = name
        self._numbers: dict[bytes, int] = {}  # of the held paths, in the order in which they came to be held
        self._last_number = 0
        self._approved_number = 0
        self._released: dict[bytes, Change] = {}  # let go by a person, and not yet seen again
        self._approved: set[bytes] = set()  # those of them that were shown: they pass uncounted
        self._passed: dict[bytes, float] = {}  # let through within the window: when, oldest first
        self._deleted: set[bytes] = set()  # those of them that are no longer among the replica's files
        self._files = 0  # that the replica held when they were counted last

    @property
    def on(self) -> bool:
        """Whether there is anything to guard."""
        return self._limit is not None and self._limit.of(1) != float("inf")

    @property
    def revision(self) -> tuple[int, int, int]:
        """Differs whenever `kept` does."""
        return self._last_number, len(self.held), len(self._released)

    @property
    def kept(self) -> dict[bytes, Change]:
        """What must be asked for again in another session: held, or let go and not yet carried out."""
        return {**self._released, **self.held}

    @property
    def hold(self) -> str:
        """Names what is held now: what an approval says back. "" where nothing is."""
        return f"{self._name}.{self._last_number}" if self.held and self._name else ""

    def withhold(
        self, changes: Mapping[bytes, Change], count_files: Callable[[], int], now_s: float
    ) -> list[bytes]:
        """Which of a pass's changes must wait; the others are taken to be made now."""
        assert self._limit is not None, "asked only where there is a limit"
        self._forget_before(now_s - WINDOW_S)
        if not self._passed:
            self._files = 0  # so that they are counted anew
        asked = {path: change for path, change in changes.items() if path not in self._approved}
        for path in changes:
            self._released.pop(path, None)
            self._approved.discard(path)
        counted = {path for path, change in asked.items() if change is not Change.DIRECTORY}
        if self.held or self._exceeds(counted, count_files):
            for path, change in asked.items():
                self._hold(path, change)
            return list(asked)
        for path in counted:
            self._passed.pop(path, None)  # to its end, so that the oldest stays first
            self._passed[path] = now_s
            if changes[path] is Change.DELETE:
                self._deleted.add(path)
            else:
                self._deleted.discard(path)
        return []

    def release(self, path: bytes) -> None:
        """Nothing is to be held at this path any more: what the peer has is here."""
        if self.held.pop(path, None) is not None:
            del self._numbers[path]
        if self._released.pop(path, None) is not None:
            self._approved.discard(path)

    def approve(self, hold: str) -> list[bytes] | None:
        """A person lets go what `hold` names. Returns all paths that must be asked for again, which are none
        where it was approved before, or None where `hold` names nothing of this guard."""
        name, _, number = hold.rpartition(".")
        if not self._name or name != self._name or not number.isdecimal() or int(number) > self._last_number:
            return None
        if int(number) <= self._approved_number:
            return []
        self._approved_number = int(number)
        asked = list(self.held)
        self._approved.update(path for path in asked if self._numbers[path] <= int(number))
        self._released.update(self.held)
        self.held.clear()
        self._numbers.clear()
        self._passed.clear()
        self._deleted.clear()
        return asked

    def resume(self, held: Mapping[bytes, Change]) -> None:
        """An earlier run of this edge under the same limit held these back."""
        if self._name and self.on:
            for path, change in held.items():
                if path not in self._released:
                    self._hold(path, change)

    def rest(self) -> None:
        """The edge is in step: an approval covers nothing that comes after."""
        self._released.clear()
        self._approved.clear()

    def tally(self) -> tuple[int, int, int]:
        """How many deletes, replacements and directories are held."""
        found = list(self.held.values())
        return found.count(Change.DELETE), found.count(Change.REPLACE), found.count(Change.DIRECTORY)

    def sentence(self) -> str:
        """What is held and why, in numbers; "" where nothing is."""
        if not self.held:
            return ""
        return f"{held_text(*self.tally())} held back by maxDelete {self.max_delete}" + (
            f" of {self._files:,} files" if self._files else ""
        )

    def _hold(self, path: bytes, change: Change) -> None:
        if path not in self.held:
            self._last_number += 1
            self._numbers[path] = self._last_number
        self.held[path] = change

    def _exceeds(self, counted: set[bytes], count_files: Callable[[], int]) -> bool:
        assert self._limit is not None, "as in `withhold`"
        new = counted.difference(self._passed)
        number = len(self._passed) + len(new)
        if not new or number <= self._limit.of(self._files):
            return False  # by what was counted last, which costs nothing
        self._files = count_files() + len(self._deleted)
        return number > self._limit.of(self._files)

    def _forget_before(self, then_s: float) -> None:
        while self._passed:
            path, passed_s = next(iter(self._passed.items()))
            if passed_s >= then_s:
                return
            del self._passed[path]
            self._deleted.discard(path)


def held_text(deletes: int, replaces: int, directories: int) -> str:
    """Numbers of held changes in words: "1,200 deletes and 3 replaced files are"."""
    parts = [
        f"{number:,} {one if number == 1 else many}"
        for number, one, many in (
            (deletes, "delete", "deletes"),
            (replaces, "replaced file", "replaced files"),
            (directories if not deletes and not replaces else 0, "directory", "directories"),
        )
        if number
    ]
    return f"{' and '.join(parts)} {'is' if deletes + replaces == 1 else 'are'}"
