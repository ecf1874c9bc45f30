"""Tiny named entries and trees, written as literals: what a test is about stands in one line.

file("d/x", "text", {A: 3}, at=10)      a file that replica A edited, its mtime 10 s
chmod(entry, 0o600, A, 4)               the same after a metadata edit
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from node_runtime.replica.entry import Entry, Kind
from node_runtime.replica.version import Vector, join

A, B, C = 1, 2, 3  # replica ids
NAMES = {A: "ann", B: "bob", C: "cyd"}


def vector(counters: Mapping[int, int]) -> Vector:
    """A version vector from {replica id: counter}."""
    return tuple(sorted(counters.items()))


def content_of(text: str) -> bytes:
    """Stands for BLAKE3: 32 bytes that only equal text shares."""
    return hashlib.sha256(text.encode()).digest()


def file(
    path: str, text: str, edits: Mapping[int, int], at: int = 0, by: int = 0, mode: int = 0o644
) -> Entry:
    """A file with content `text`, modified `at` seconds after 1970, last edited `by` (else the last id)."""
    return _entry(path, Kind.FILE, content_of(text), len(text), edits, at, by, mode)


def link(path: str, target: str, edits: Mapping[int, int], at: int = 0, by: int = 0) -> Entry:
    """A symbolic link."""
    return _entry(path, Kind.SYMLINK, target.encode(), 0, edits, at, by, 0)


def directory(path: str, edits: Mapping[int, int], by: int = 0, mode: int = 0o755) -> Entry:
    """A directory."""
    return _entry(path, Kind.DIRECTORY, b"", 0, edits, 0, by, mode)


def gone(path: str, edits: Mapping[int, int], at: int = 0, by: int = 0, kind: Kind = Kind.FILE) -> Entry:
    """A tombstone; with no edits, the answer of a one-way source that never heard of the path."""
    live = _entry(path, kind, b"", 0, edits, at, by, 0)
    return msgspec.structs.replace(live, deleted=True)


def chmod(entry: Entry, mode: int, who: int, counter: int) -> Entry:
    """`entry` after a metadata edit by `who`."""
    metadata = join(entry.metadata_version, ((who, counter),))
    return msgspec.structs.replace(entry, mode=mode, metadata_version=metadata)


def touch(entry: Entry, at: int, who: int, counter: int) -> Entry:
    """`entry` with the same content and another modification time."""
    metadata = join(entry.metadata_version, ((who, counter),))
    return msgspec.structs.replace(entry, mtime_ns=at * 10**9, metadata_version=metadata)


def _entry(
    path: str, kind: Kind, content: bytes, size: int, edits: Mapping[int, int], at: int, by: int, mode: int
) -> Entry:
    edited = vector(edits)
    origin = NAMES[by or max(edits, default=A)]
    return Entry(path.encode(), kind, False, size, at * 10**9, mode, content, edited, edited, origin)
