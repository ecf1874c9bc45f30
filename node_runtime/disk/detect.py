"""What an observation of one path means for its row: an edit, a metadata edit, nothing, a deletion. Pure.

Content decides `version`; mode and mtime only `metadata_version`. Metadata counts as edited only where it
differs both from how the path looked last and from its entry: a file system that couldn't hold what a peer
asked for (a coarse clock, no permission bits) must not talk back.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from node_runtime.replica.entry import Entry, Kind, Row, Stamp
from node_runtime.replica.version import EMPTY, bump

RACY_NS = 20_000_000  # two ticks of the coarsest kernel clock (HZ=100)


class Seen(NamedTuple):
    """One path as it is on disk."""

    path: bytes
    kind: Kind
    size: int
    mtime_ns: int
    mode: int
    content: bytes
    stamp: Stamp


class Detected(NamedTuple):
    """A row to write, and whether it is news or only the look of an unchanged entry."""

    row: Row
    is_change: bool


def detect(old: Row | None, seen: Seen, local_id: int, node: str, now_ns: int) -> Detected:
    """The row of a path that is there and whose stamp isn't the one on record."""
    now_s = now_ns // 1_000_000_000
    stamp = _distrust_fresh(seen.stamp, now_ns)
    if old is None or old.entry.deleted or old.entry.kind != seen.kind or old.entry.content != seen.content:
        version = bump(old.entry.version if old else EMPTY, local_id, now_s)
        metadata_version = bump(old.entry.metadata_version if old else EMPTY, local_id, now_s)
        entry = Entry(
            seen.path,
            seen.kind,
            False,
            seen.size,
            seen.mtime_ns,
            seen.mode,
            seen.content,
            version,
            metadata_version,
            node,
        )
        return Detected(Row(entry, stamp), True)
    entry = old.entry
    mtime_edited = seen.mtime_ns != entry.mtime_ns and (
        old.stamp is None or seen.mtime_ns != old.stamp.mtime_ns
    )
    mode_edited = seen.mode != entry.mode and (old.stamp is None or seen.mode != old.stamp.mode & 0o7777)
    if not mtime_edited and not mode_edited:
        return Detected(replace(old, stamp=stamp), False)
    edited = replace(
        entry,
        mtime_ns=seen.mtime_ns if mtime_edited else entry.mtime_ns,
        mode=seen.mode if mode_edited else entry.mode,
        metadata_version=bump(entry.metadata_version, local_id, now_s),
    )
    return Detected(Row(edited, stamp), True)


def deletion(old: Row, local_id: int, node: str, now_ns: int) -> Row:
    """The tombstone of a path that is gone."""
    now_s = now_ns // 1_000_000_000
    entry = old.entry
    tombstone = Entry(
        entry.path,
        entry.kind,
        True,
        0,
        now_ns,
        0,
        b"",
        bump(entry.version, local_id, now_s),
        bump(entry.metadata_version, local_id, now_s),
        node,
    )
    return Row(tombstone, None)


def _distrust_fresh(stamp: Stamp, now_ns: int) -> Stamp:
    """A stamp that can't be mistaken for a later look of the path.

    A write within the same tick of the kernel's clock leaves size and times as they were, so a path that
    changed just now is recorded with a ctime it can't have and is read once more at the next look.
    Git calls it "racily clean".
    """
    if stamp.ctime_ns and 0 <= now_ns - stamp.ctime_ns < RACY_NS:
        return replace(stamp, ctime_ns=0)
    return stamp
