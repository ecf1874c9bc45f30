"""What an end of an edge has done: counted as it happens, told to the peer, shown to people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from node_runtime.exchange.messages import Tally
from node_runtime.replica.entry import Kind
from node_runtime.replica.reconcile import Action, Decision


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
    failed: dict[bytes, str] = field(default_factory=dict)

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
        self.failed = dict(later.failed)

    @property
    def held(self) -> list[bytes]:
        """Paths whose conflict waits for a person."""
        return [path for path, copy in list(self.conflicts.items()) if copy is None]
