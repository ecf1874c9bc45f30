"""Rows of the index as database values and back.

Compact, because there may be millions: kind and deleted share a number, a vector is a msgpack blob, the
metadata vector is stored only where it differs, an origin's name is stored once, and a stamp's size and time
only where they differ from the entry's. Quick, because every session reads many: equal vector blobs
are decoded once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import apsw
import msgspec

from node_runtime.replica.entry import Entry, Kind, Row, Stamp
from node_runtime.replica.path import key
from node_runtime.replica.version import Vector

LIVE_FILE = 0  # flags of a live file: kind FILE, not deleted
TOMBSTONE = 4  # added to the kind of a deleted entry

# The order that `Codec.rows` takes.
COLUMNS = (
    "key, flags, size, mtime_ns, mode, content, version, metadata_version, origin, learned_from, seq,"
    " stamp_size, stamp_mtime_ns, stamp_ctime_ns, inode, stamp_mode"
)
StampTuple = tuple[bytes, int, int, int, int, int, int]
Value = int | bytes | str | None

_KINDS = {flags: (Kind(flags & 3), flags >= TOMBSTONE) for flags in (0, 1, 2, 4, 5, 6)}
_CACHED_VECTORS = 65_536  # of about 200 bytes; dropped all at once when full

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Vector).decode


class Codec:
    """Translates for one connection. Origins are numbered in the database, each once."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._origin_ids: dict[str, int] = {}
        self._origin_names: dict[int, str] = {}
        self._vectors: dict[bytes, Vector] = {}
        self._blobs: dict[Vector, bytes] = {}

    def rows(self, page: Iterable[Sequence[Any]]) -> list[Row]:
        """The rows of tuples in the order of `COLUMNS`. Written for speed: everything looked up once."""
        kinds, vectors, names = _KINDS, self._vectors, self._origin_names
        result = []
        for (
            sort_key, flags, size, mtime_ns, mode, content, version_blob, metadata_blob, origin, learned_from,
            seq, stamp_size, stamp_mtime_ns, ctime_ns, inode, stamp_mode,
        ) in page:  # fmt: skip
            kind, deleted = kinds[flags]
            version = vectors.get(version_blob) or self._vector(version_blob)
            entry = Entry(
                sort_key.replace(b"\0", b"/"), kind, deleted, size, mtime_ns, mode, content, version,
                version if metadata_blob is None else self._vector(metadata_blob),
                names.get(origin) or self._origin_name(origin),
            )  # fmt: skip
            stamp = None
            if inode is not None:
                stamp = Stamp(
                    size if stamp_size is None else stamp_size,
                    mtime_ns if stamp_mtime_ns is None else stamp_mtime_ns,
                    ctime_ns,
                    inode,
                    stamp_mode,
                )
            result.append(Row(entry, stamp, learned_from, seq))
        return result

    def values(self, row: Row, seq: int) -> tuple[Value, ...]:
        """A row as the bindings of the index's statement that puts it."""
        entry = row.entry
        metadata = entry.metadata_version
        return (
            key(entry.path),
            entry.kind + TOMBSTONE if entry.deleted else int(entry.kind),
            entry.size,
            entry.mtime_ns,
            entry.mode,
            entry.content,
            self._blob(entry.version),
            None if metadata == entry.version else self._blob(metadata),
            self._origin_ids.get(entry.origin) or self._origin_id(entry.origin),
            row.learned_from,
            *self.stamp_values(row),
            seq,
            seq if row.learned_from else None,
        )

    @staticmethod
    def stamp_values(row: Row) -> tuple[int | None, ...]:
        """How a row's path looks on disk; size and mtime are None where the entry says the same."""
        entry, stamp = row.entry, row.stamp
        if stamp is None:
            return (None, None, None, None, None)
        return (
            None if stamp.size == entry.size else stamp.size,
            None if stamp.mtime_ns == entry.mtime_ns else stamp.mtime_ns,
            stamp.ctime_ns,
            stamp.inode,
            stamp.mode,
        )

    def _blob(self, vector: Vector) -> bytes:
        blob = self._blobs.get(vector)
        if blob is None:
            if len(self._blobs) >= _CACHED_VECTORS:
                self._blobs.clear()
            blob = self._blobs[vector] = _encode(vector)
        return blob

    def _vector(self, blob: bytes) -> Vector:
        vector = self._vectors.get(blob)
        if vector is None:
            if len(self._vectors) >= _CACHED_VECTORS:
                self._vectors.clear()
            vector = self._vectors[blob] = _decode(blob)
        return vector

    def _origin_id(self, name: str) -> int:
        self._db.execute("INSERT OR IGNORE INTO origins(name) VALUES(?)", (name,))
        number: Any = self._db.execute("SELECT id FROM origins WHERE name = ?", (name,)).get
        self._origin_ids[name] = number
        return int(number)

    def _origin_name(self, number: int) -> str:
        name: Any = self._db.execute("SELECT name FROM origins WHERE id = ?", (number,)).get
        self._origin_names[number] = name
        return str(name)
