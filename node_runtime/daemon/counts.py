"""What an end of an edge has done: counted as it happens, told to the peer, shown to people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from node_runtime.exchange.messages import Planned, PlannedAction, Tally
from node_runtime.replica.entry import Entry, Kind
from node_runtime.replica.reconcile import Action, Decision

MAX_PLANNED = 10_000  # changes that a dry run lists ...
MAX_PLANNED_BYTES = 4 * 1024 * 1024  # ... and what their paths take up: the tally is one message

PLANNED: dict[Action, PlannedAction] = {
    Action.CREATE: "create",
    Action.UPDATE: "update",
    Action.METADATA: "metadata",
    Action.DELETE: "delete",
}


@dataclass(slots=True)
class Counts:
    """What this end has done for one edge; grows for the life of the session."""

    files: int = 0
    directories: int = 0
    content_bytes: int = 0
    bytes_on_wire: int = 0
    renamed: int = 0
    deleted: int = 0
    metadata: int = 0
    conflicts: dict[bytes, bytes | None] = field(default_factory=dict)
    held_against: dict[bytes, Entry] = field(default_factory=dict)  # what the peer has, by path that is held
    failed: dict[bytes, str] = field(default_factory=dict)
    planned: dict[bytes, Planned] = field(default_factory=dict)  # by path; filled by a dry run only
    planned_bytes: int = 0
    planned_more: int = 0

    def note(self, decision: Decision) -> None:
        """A decision has been carried out."""
        entry = decision.entry
        if decision.action is Action.DELETE:
            self.deleted += 1
        elif decision.action is Action.METADATA:
            self.metadata += 1
        elif entry.kind is Kind.DIRECTORY:
            self.directories += 1
        else:
            self.files += 1
            self.content_bytes += entry.size

    def hold(self, peer: Entry) -> None:
        """A conflict waits for a person."""
        self.conflicts[peer.path] = None
        self.held_against[peer.path] = peer

    def settled(self, path: bytes) -> None:
        """If a conflict was held at this path, it isn't any more."""
        if self.held_against.pop(path, None) is not None:
            del self.conflicts[path]

    def plan(self, decision: Decision) -> None:
        """A dry run would carry out this decision."""
        action = "conflict" if decision.keep_aside is not None else PLANNED[decision.action]
        self._plan(Planned(action, decision.entry.path))

    def plan_rename(self, former: bytes, path: bytes) -> None:
        """A dry run would rename this, with all that is in it."""
        self._plan(Planned("rename", path, former))

    def _plan(self, change: Planned) -> None:
        size = len(change.path) + len(change.former)
        known = change.path in self.planned
        full = len(self.planned) >= MAX_PLANNED or self.planned_bytes + size > MAX_PLANNED_BYTES
        if full and not known:
            self.planned_more += 1
            return
        self.planned[change.path] = change
        self.planned_bytes += 0 if known else size

    def tally(self, files_held: int, problems: Mapping[bytes, str]) -> Tally:
        """As a message says it. `problems` are the paths that a scan couldn't read: they failed too."""
        return Tally(
            self.files,
            self.directories,
            self.content_bytes,
            self.bytes_on_wire,
            self.renamed,
            self.deleted,
            self.metadata,
            tuple(self.conflicts.items()),
            tuple({**problems, **self.failed}.items()),
            files_held,
            tuple(self.planned.values()),
            self.planned_more,
        )

    def add(self, later: Counts) -> None:
        """Another session ran after this; what failed or is held in that one is what fails or is held now."""
        self.files += later.files
        self.directories += later.directories
        self.content_bytes += later.content_bytes
        self.bytes_on_wire += later.bytes_on_wire
        self.renamed += later.renamed
        self.deleted += later.deleted
        self.metadata += later.metadata
        kept = {path: copy for path, copy in self.conflicts.items() if copy is not None}
        self.conflicts = {**kept, **later.conflicts}
        self.held_against = dict(later.held_against)
        self.failed = dict(later.failed)

    @property
    def held(self) -> list[bytes]:
        """Paths whose conflict waits for a person."""
        return [path for path, copy in list(self.conflicts.items()) if copy is None]
