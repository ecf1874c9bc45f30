"""The durable record of one replica: an SQLite file with a row for every path, live or deleted.

Decides how rows lie in the database, which order changes have, and what survives a power failure. Knows
nothing of files; `scanner` and `applier` fill it. Read `codec` for the shape of a row, `recover` for what
`settle` is for.

One `Index` at a time writes a file (a lock beside it holds that) and belongs to one thread. Other threads
read through `reader()`, whose methods any thread may call.

The order of changes never runs backwards. Peers remember the sequence number up to which they have
our entries, and synchronous=NORMAL may lose the last transactions when the machine (not the program) goes
down; so after every boot the numbers jump ahead of whatever could have been given out before.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import apsw

from node_runtime.disk.codec import COLUMNS, LIVE_FILE, TOMBSTONE, Codec, StampTuple, Value
from node_runtime.disk.contents import SCHEMA as CONTENTS_SCHEMA
from node_runtime.disk.contents import Contents
from node_runtime.disk.errors import DiskError
from node_runtime.disk.reading import IndexReader, Reading, reported, tune
from node_runtime.replica.entry import Row
from node_runtime.replica.path import key

SCHEMA_VERSION = 1
REBOOT_GAP = 1 << 32  # more changes than any index makes between two checkpoints
SYNC_EVERY_S = 1.0  # a flush costs some milliseconds
PAGE_ROWS = 4096  # rows read at once; no statement stays open between pages, so writes may happen in between

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries(
  id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, seq INTEGER NOT NULL, flags INTEGER NOT NULL,
  size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, mode INTEGER NOT NULL, content BLOB NOT NULL,
  version BLOB NOT NULL, metadata_version BLOB, origin INTEGER NOT NULL, learned_from INTEGER NOT NULL,
  stamp_size INTEGER, stamp_mtime_ns INTEGER, stamp_ctime_ns INTEGER, inode INTEGER, stamp_mode INTEGER,
  arrived_seq INTEGER);
CREATE INDEX IF NOT EXISTS entries_by_seq ON entries(seq);
CREATE INDEX IF NOT EXISTS entries_by_inode ON entries(inode) WHERE flags = 0;
CREATE TABLE IF NOT EXISTS origins(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS cursors(edge TEXT PRIMARY KEY, peer_index BLOB NOT NULL, seq INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS retries(edge TEXT, path BLOB, PRIMARY KEY(edge, path)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""

# arrived_seq: since which change the content is one that a peer sent; it outlives a merge or a metadata edit
# that leaves the content alone, because that content may still not have reached the disk.
_PUT = """
INSERT INTO entries(key, flags, size, mtime_ns, mode, content, version, metadata_version, origin,
  learned_from, stamp_size, stamp_mtime_ns, stamp_ctime_ns, inode, stamp_mode, seq, arrived_seq)
VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT(key) DO UPDATE SET
  arrived_seq = coalesce(excluded.arrived_seq,
    CASE WHEN excluded.content = content AND excluded.flags = flags THEN arrived_seq END),
  flags = excluded.flags, size = excluded.size, mtime_ns = excluded.mtime_ns, mode = excluded.mode,
  content = excluded.content, version = excluded.version, metadata_version = excluded.metadata_version,
  origin = excluded.origin, learned_from = excluded.learned_from, stamp_size = excluded.stamp_size,
  stamp_mtime_ns = excluded.stamp_mtime_ns, stamp_ctime_ns = excluded.stamp_ctime_ns,
  inode = excluded.inode, stamp_mode = excluded.stamp_mode, seq = excluded.seq
"""


def _bounds(under: bytes) -> tuple[bytes, bytes]:
    """The keys that every descendant of `under` lies strictly between."""
    return (key(under) + b"\0", key(under) + b"\1") if under else (b"", b"\xff" * 256)


class Index(Reading):
    """The one writer of an index file."""

    def __init__(self, file: Path, db: apsw.Connection, lock_fd: int) -> None:
        """Used by `open` alone."""
        self._file = file
        self._db = db
        self._lock_fd = lock_fd
        self._codec = Codec(db)
        self._contents = Contents(db)
        self.index_id = self.meta("index_id") or b""
        self.max_seq = 0
        self._rebooted = False
        self._boot_id = ""
        self._synced_s = 0.0  # monotonic; when the log was last flushed

    @classmethod
    def open(cls, file: Path, local_id: int, boot_id: str) -> Index:
        """Open or create the index of the replica `local_id`; `boot_id` names this boot of the machine."""
        with reported(file):
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock_fd = os.open(f"{file}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DiskError(
                    f"another syncgraph works on this replica now (its index {file} is locked);"
                    " wait for it or stop it"
                ) from None
            with reported(file):
                db = apsw.Connection(str(file))
                tune(db)
                db.execute(
                    "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=4000"
                )
                _check_schema(file, db)
                index = cls(file, db, lock_fd)
                index._start(local_id, boot_id)
        except BaseException:
            os.close(lock_fd)
            raise
        return index

    def _start(self, local_id: int, boot_id: str) -> None:
        if not self.index_id:
            self.index_id = os.urandom(16)
            with self._db:
                self.set_meta("index_id", self.index_id)
                self.set_meta("local_id", str(local_id).encode())
                self.set_meta("boot_id", boot_id.encode())
                self._set_number("max_seq", 0)
                self._set_number("settled_seq", 0)
        if self.meta("local_id") != str(local_id).encode():
            raise DiskError(f"the index {self._file} belongs to another replica; give this one its own file")
        self._boot_id = boot_id
        self._rebooted = self.meta("boot_id") != boot_id.encode()
        self.max_seq = self._number("max_seq")
        if self.meta("seq_boot_id") != boot_id.encode():
            self.max_seq += REBOOT_GAP if self.max_seq else 0
            with self._db:
                self.set_meta("seq_boot_id", boot_id.encode())
                self._set_number("max_seq", self.max_seq)

    def reader(self) -> IndexReader:
        """A reader for other threads. It sees whole transactions only."""
        return IndexReader(self._file)

    def walk(self, under: bytes = b"") -> Iterator[Row]:
        """Every row below `under` (all for b""), tombstones too, in order of `replica.path.key`.

        Rows put while it runs are seen if they lie ahead of the page being read.
        """
        for page in self._pages(COLUMNS, under):
            yield from self._codec.rows(page)

    def stamps(self, under: bytes, *, itself: bool = False) -> Iterator[StampTuple]:
        """As `walk` (with `under` first if `itself`), but bare tuples to compare quickly."""
        columns = (
            "key, flags, coalesce(stamp_size, size), coalesce(stamp_mtime_ns, mtime_ns), stamp_ctime_ns,"
            " inode, stamp_mode"
        )
        if itself:
            yield from self._all(f"SELECT {columns} FROM entries WHERE key = ?", (key(under),))  # noqa: S608
        for page in self._pages(columns, under):
            yield from page

    def put(self, rows: Sequence[Row]) -> None:
        """Write rows in one transaction, each as the newest change. Their own seq is ignored."""
        if not rows:
            return
        values = [self._codec.values(row, seq) for seq, row in enumerate(rows, self.max_seq + 1)]
        with reported(self._file), self._db:
            self._db.executemany(_PUT, values)
            self._set_number("max_seq", self.max_seq + len(rows))
        self.max_seq += len(rows)
        self._contents.note(rows)
        if any(row.learned_from for row in rows):
            self._sync_received()

    def restamp(self, rows: Sequence[Row]) -> None:
        """Note how unchanged entries look on disk now. Not a change: no peer hears of it."""
        with reported(self._file), self._db:
            self._db.executemany(
                "UPDATE entries SET stamp_size = ?, stamp_mtime_ns = ?, stamp_ctime_ns = ?, inode = ?,"
                " stamp_mode = ? WHERE key = ?",
                [(*self._codec.stamp_values(row), key(row.entry.path)) for row in rows],
            )

    def forget(self, paths: Iterable[bytes]) -> None:
        """Remove rows altogether, as if the paths had never been known."""
        with reported(self._file), self._db:
            self._db.executemany("DELETE FROM entries WHERE key = ?", [(key(path),) for path in paths])

    def holding(self, contents: Sequence[bytes]) -> dict[bytes, list[bytes]]:
        """For each content that live files hold, a few of their paths."""
        with reported(self._file):
            return self._contents.holding(contents)

    def by_inode(self, inode: int) -> Row | None:
        """A live file that was last seen with this inode number."""
        sql = f"SELECT {COLUMNS} FROM entries WHERE flags = {LIVE_FILE} AND inode = ? LIMIT 1"  # noqa: S608
        rows = self._rows(sql, (inode,))
        return rows[0] if rows else None

    def has_children(self, path: bytes) -> bool:
        """Whether any live row lies below `path`."""
        sql = f"SELECT 1 FROM entries WHERE key > ? AND key < ? AND flags < {TOMBSTONE} LIMIT 1"  # noqa: S608
        return bool(self._all(sql, _bounds(path)))

    def cursor(self, edge: str, peer_index: bytes) -> int:
        """The peer's seq up to which its entries are dealt with; 0 where unknown or its index is new."""
        rows = self._all("SELECT seq FROM cursors WHERE edge = ? AND peer_index = ?", (edge, peer_index))
        return rows[0][0] if rows else 0

    def set_cursor(self, edge: str, peer_index: bytes, seq: int) -> None:
        """Remember that the peer's entries up to `seq` are dealt with."""
        self._run("INSERT OR REPLACE INTO cursors VALUES(?, ?, ?)", (edge, peer_index, seq))

    def reset_cursors(self) -> None:
        """Have every peer send all its entries again."""
        self._run("DELETE FROM cursors", ())

    def retries(self, edge: str) -> list[bytes]:
        """Paths that failed on this edge and must be asked for again."""
        return [path for (path,) in self._all("SELECT path FROM retries WHERE edge = ?", (edge,))]

    def add_retries(self, edge: str, paths: Iterable[bytes]) -> None:
        """Have these paths asked for again too."""
        with reported(self._file), self._db:
            self._db.executemany(
                "INSERT OR IGNORE INTO retries VALUES(?, ?)", [(edge, path) for path in paths]
            )

    def set_retries(self, edge: str, paths: Iterable[bytes]) -> None:
        """Replace the paths to be asked for again."""
        with reported(self._file), self._db:
            self._db.execute("DELETE FROM retries WHERE edge = ?", (edge,))
            self.add_retries(edge, paths)

    def meta(self, name: str) -> bytes | None:
        """A value kept under a name."""
        rows = self._all("SELECT value FROM meta WHERE name = ?", (name,))
        return bytes(rows[0][0]) if rows else None

    def set_meta(self, name: str, value: bytes) -> None:
        """Keep a value under a name."""
        self._run("INSERT OR REPLACE INTO meta VALUES(?, ?)", (name, value))

    def settle(self) -> None:
        """The caller has flushed the root's file system: what is recorded survives a power failure."""
        with reported(self._file):
            with self._db:
                self._set_number("settled_seq", self.max_seq)
                self.set_meta("boot_id", self._boot_id.encode())
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        self._rebooted = False

    def unsettled_rows(self) -> Iterator[Row]:
        """After a reboot: live paths that came from a peer and may never have reached the disk."""
        if not self._rebooted:
            return
        sql = (
            f"SELECT {COLUMNS} FROM entries WHERE seq > ?1 AND arrived_seq > ?1 AND flags < {TOMBSTONE}"  # noqa: S608
            " ORDER BY key"
        )
        yield from self._rows(sql, (self._number("settled_seq"),))

    def close(self) -> None:
        """Write everything back and let go of the file."""
        self._db.close()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _sync_received(self) -> None:
        """Flush the log now and then while peers' content arrives.

        After a power failure a received file without its row would be taken for a user's edit. Without this
        the log might stay unwritten for minutes; with it, a second.
        """
        now_s = time.monotonic()
        if now_s - self._synced_s >= SYNC_EVERY_S:
            self._synced_s = now_s
            with reported(self._file):
                fd = os.open(f"{self._file}-wal", os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fdatasync(fd)
                finally:
                    os.close(fd)

    def _pages(self, columns: str, under: bytes) -> Iterator[list[tuple[Any, ...]]]:
        after, before = _bounds(under)
        sql = f"SELECT {columns} FROM entries WHERE key > ? AND key < ? ORDER BY key LIMIT {PAGE_ROWS}"  # noqa: S608
        while page := self._all(sql, (after, before)):
            yield page
            if len(page) < PAGE_ROWS:
                return
            after = page[-1][0]

    def _number(self, name: str) -> int:
        return int(self.meta(name) or b"0")

    def _set_number(self, name: str, value: int) -> None:
        self.set_meta(name, str(value).encode())

    def _run(self, sql: str, bindings: Sequence[Value]) -> None:
        with reported(self._file):
            self._db.execute(sql, tuple(bindings))


def _check_schema(file: Path, db: apsw.Connection) -> None:
    found = db.pragma("user_version")
    if found > SCHEMA_VERSION:
        raise DiskError(
            f"the index {file} was written by a newer syncgraph (schema {found}, this one knows"
            f" {SCHEMA_VERSION}); install that version here, or move the index away to have it built anew"
        )
    with db:
        db.execute(_SCHEMA + CONTENTS_SCHEMA)
        db.pragma("user_version", SCHEMA_VERSION)
