"""What is asked about kept versions, and what is answered: over the control conversation, or on pipes.

A request names a path on the node by itself; whoever answers finds the replica that it lies in. An answer
is bounded: a listing is cut and says how much it left out, a restore stops after a while and says where to
go on. Paths are shown as text; bytes that aren't UTF-8 as \\xNN.
"""

from __future__ import annotations

from typing import Literal

from schemas.plans import Document

Why = Literal["deleted", "replaced"]  # by a peer's decision, or by a restore

Action = Literal["restored", "unchanged", "failed"]

MAX_LISTED = 10_000  # versions in one answer


class ListVersions(Document, frozen=True, tag="versions", tag_field="op"):
    """What is kept of this file, or of everything below this directory?"""

    path: str  # absolute, or relative to the runtime's home with a leading "~/"
    limit: int = 1000


class Restore(Document, frozen=True, tag="restore", tag_field="op"):
    """Bring back a file, or what is below a directory."""

    path: str  # absolute, or relative to the runtime's home with a leading "~/"
    at: float | None = (
        None  # Unix time, seconds; None: the newest version, of a directory what is missing now
    )
    to: str = ""  # another directory on the node; "": where it was
    dry_run: bool = False
    after: bytes = b""  # the place where an earlier answer stopped


class KeptVersion(Document, frozen=True):
    """One version of one path."""

    path: str  # below the replica's root
    kept_at: float  # when it was put aside; Unix time, seconds
    size: int  # bytes
    modified_at: float  # Unix time, seconds
    why: Why


class KeptVersions(Document, frozen=True, tag="versions", tag_field="reply"):
    """The answer to `versions`: by path, the newest first."""

    root: str  # of the replica
    versions: tuple[KeptVersion, ...]
    more: int  # left out
    bytes: int  # of all, listed or not


class RestoredPath(Document, frozen=True):
    """What became of one path."""

    path: str  # below the replica's root
    action: Action
    kept_at: float | None = None  # which version; Unix time, seconds. None where none is known
    size: int = 0  # bytes
    reason: str = ""  # only when failed


class Restored(Document, frozen=True, tag="restored", tag_field="reply"):
    """The answer to `restore`: what was done, and where to go on."""

    root: str  # of the replica
    paths: tuple[RestoredPath, ...]
    unknown: int  # paths of which no version is known from that time; they are as they were
    next: bytes | None  # goes into `after` of the next request; None: that was all
