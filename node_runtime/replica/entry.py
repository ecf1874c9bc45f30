"""Entries: what an index knows of one path, and what peers tell each other of it.

An `Entry` holds only what means the same on every node, so it crosses the wire as it is. What is true
on one machine alone (inode, ctime) is a `Stamp`, which never leaves it. A `Row` is an entry in its
place in an index.

Two vectors order the edits of a path: `version` counts edits of content and existence,
`metadata_version` counts those and metadata edits too. So `metadata_version` always contains
`version`, and a chmod can neither outvote an edit nor bring a deleted file back.
"""

from __future__ import annotations

import enum

import msgspec

from node_runtime.replica.version import Vector

MAX_FILE_BYTES = 2**62
HASH_BYTES = 32
CHUNK_DIGEST_BYTES = 8  # only finds chunks that are likely the same: HASH_BYTES decide in the end


class Kind(enum.IntEnum):
    """What a path is. Sockets, pipes and devices are reported by the scan, never replicated."""

    FILE = 0
    DIRECTORY = 1
    SYMLINK = 2


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One path of a replica, live or deleted."""

    path: bytes  # relative to the root, "/" between names, never empty, raw filesystem bytes
    kind: Kind
    deleted: bool  # a tombstone: kind stays, size, mode and content are zero or empty
    size: int  # bytes; files only, else 0
    mtime_ns: int  # of the content; directories carry 0, tombstones the time the deletion was found
    mode: int  # permission bits, 0o7777; 0 for symlinks
    content: bytes  # files: BLAKE3 of the bytes (32); symlinks: the link's target; else empty
    version: Vector
    metadata_version: Vector
    origin: str  # name of the node that last edited content or existence

    def same_content(self, other: Entry) -> bool:
        """Whether both hold the same bytes under the same kind, or are both gone."""
        if self.deleted or other.deleted:
            return self.deleted and other.deleted
        return self.kind == other.kind and self.content == other.content

    def same_metadata(self, other: Entry) -> bool:
        """Whether nothing but content could differ."""
        return self.mode == other.mode and self.mtime_ns == other.mtime_ns


class Stamp(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How a path looked on this machine's disk when it was last read. Equal stamps: unchanged."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    mode: int  # st_mode whole, type bits included


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An entry in one replica's index."""

    entry: Entry
    stamp: Stamp | None  # None for tombstones
    learned_from: int = 0  # replica id of the peer that has just this, as it said; 0 for our edits and merges
    seq: int = 0  # place in the order of changes of this index; given by the index
