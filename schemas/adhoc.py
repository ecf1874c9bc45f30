"""The documents of an ad hoc sync: what `syncgraph sync` asks of `syncgraph-node pair`, and what it hears.

`Request` goes in as one JSON document on stdin. Out come events, one JSON object a line: `Moving` now
and then, and at the end either `Summary` or `Failure`. `Opening`, `FarEnd` and `Start` pass between the
two ends before their session begins.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from schemas.plans import ConflictPlan, Document, FilterRule, ReplicationPlan
from schemas.status import ConflictReport, PathProblem


class Request(Document, frozen=True):
    """Bring two directories in step."""

    near: str  # path of the directory on this machine
    far: str  # path of the other one
    command: tuple[str, ...]  # starts the far end; empty: on this machine
    near_is_source: bool
    both: bool
    delete: bool
    watch: bool
    dry_run: bool
    durable: bool
    delta: bool  # fetch of a changed file what differs
    conflict: ConflictPlan
    filters: tuple[FilterRule, ...]
    max_delete: str | None = None  # as `schemas.text.parse_limit` reads it


class Opening(Document, frozen=True):
    """Near to far: open this directory."""

    path: str
    creates: bool  # it may be made where it is missing


class FarEnd(Document, frozen=True):
    """Far to near: who I am, or why it can't be done."""

    node: str = ""
    identity: str = ""
    path: str = ""
    version: str = ""
    error: str = ""


class Start(Document, frozen=True):
    """Near to far: the edge, as both ends run it."""

    plan: ReplicationPlan
    far_is_source: bool
    stays: bool
    dry_run: bool
    durable: bool
    delta: bool


class Moving(Document, frozen=True, tag="moving", tag_field="event"):
    """How far both ends are together."""

    state: str
    pending_files: int
    pending_bytes: int
    files: int
    bytes_on_wire: int


class PlannedChange(Document, frozen=True):
    """One change that a dry run would have made."""

    action: Literal["create", "update", "metadata", "delete", "rename", "conflict"]
    path: str
    former: str | None = msgspec.field(name="from", default=None)  # of a rename: the path before it
    end: Literal["source", "target"] = "target"  # whose tree; the source's only where changes flow both ways


class Summary(Document, frozen=True, tag="summary", tag_field="event"):
    """What both ends did."""

    files: int  # created or given new content
    directories: int  # created
    bytes: int  # size of those files
    bytes_on_wire: int  # content bytes that crossed the session
    renamed: int
    deleted: int
    conflicts: tuple[ConflictReport, ...]
    failed: tuple[PathProblem, ...]
    seconds: float
    dry_run: bool
    files_held: int  # live files at the near end
    planned: tuple[PlannedChange, ...] = ()  # in a dry run: by path, as far as there is room
    planned_more: int = 0  # changes that were left out of `planned`
    held: str = ""  # what `max_delete` held back, in a sentence


class Failure(Document, frozen=True, tag="failure", tag_field="event"):
    """It could not be done; nothing was lost."""

    message: str


Event = Moving | Summary | Failure
decode_event = msgspec.json.Decoder(Event).decode
