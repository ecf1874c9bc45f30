"""Reading an index, from its writer's thread or from any other.

Decides how questions become statements; `codec` makes rows of the answers. Nothing here writes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import apsw

from node_runtime.disk.codec import COLUMNS, TOMBSTONE, Codec, Value
from node_runtime.disk.errors import DiskError, explain
from node_runtime.replica.entry import Row
from node_runtime.replica.path import key

LOOKUP_ROWS = 128  # paths asked for in one statement


@contextmanager
def reported(file: Path) -> Iterator[None]:
    """Database failures that an operator can mend, as sentences."""
    try:
        yield
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise DiskError(
            f"the index {file} is damaged ({error}); move it and its -wal file away, and the next run builds"
            " it anew from the files"
        ) from error
    except (apsw.FullError, apsw.IOError) as error:
        raise DiskError(
            f"the index {file} can't be written ({error}); free space or check that disk"
        ) from error
    except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError) as error:
        raise DiskError(
            f"the index {file} can't be opened ({error}); check its directory's permissions"
        ) from error
    except OSError as error:
        raise DiskError(f"the index {file} can't be used: {explain(error)}") from error


class Reading:
    """What both the index and its readers can answer."""

    _file: Path
    _db: apsw.Connection
    _codec: Codec

    def get(self, paths: Iterable[bytes]) -> dict[bytes, Row]:
        """The rows of those paths that have one."""
        found: dict[bytes, Row] = {}
        remaining = iter(paths)
        while keys := [key(path) for path in islice(remaining, LOOKUP_ROWS)]:
            width = 1 if len(keys) == 1 else LOOKUP_ROWS  # two statement texts, both kept prepared
            keys += keys[-1:] * (width - len(keys))
            sql = f"SELECT {COLUMNS} FROM entries WHERE key IN ({','.join('?' * width)})"  # noqa: S608
            for row in self._rows(sql, keys):
                found[row.entry.path] = row
        return found

    def changes(self, after_seq: int, limit: int) -> list[Row]:
        """The next `limit` rows at most whose seq is greater, in order of seq."""
        sql = f"SELECT {COLUMNS} FROM entries WHERE seq > ? ORDER BY seq LIMIT ?"  # noqa: S608
        return self._rows(sql, (after_seq, limit))

    def named(self, part: bytes, after: bytes, limit: int) -> list[Row]:
        """The next `limit` live rows at most behind the path `after` whose path holds `part`, which has no
        slash; in order of `replica.path.key`. Looks at the whole index, in SQLite."""
        sql = (
            f"SELECT {COLUMNS} FROM entries WHERE key > ? AND flags < {TOMBSTONE} AND instr(key, ?)"  # noqa: S608
            " ORDER BY key LIMIT ?"
        )
        return self._rows(sql, (key(after), part, limit))

    def count(self) -> tuple[int, int, int]:
        """Live files, live directories, and the bytes in the files."""
        [(files, directories, size)] = self._all(
            "SELECT coalesce(sum(flags = 0), 0), coalesce(sum(flags = 1), 0),"
            " coalesce(sum(size) FILTER (WHERE flags = 0), 0) FROM entries",
            (),
        )
        return files, directories, size

    def _rows(self, sql: str, bindings: Sequence[Value]) -> list[Row]:
        return self._codec.rows(self._all(sql, bindings))

    def _all(self, sql: str, bindings: Sequence[Value]) -> list[tuple[Any, ...]]:
        with reported(self._file):
            return self._db.execute(sql, tuple(bindings)).fetchall()


class IndexReader(Reading):
    """A read-only view of an index on a connection of its own; any thread may call it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        with reported(file):
            self._db = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
            tune(self._db)
        self._codec = Codec(self._db)

    @property
    def max_seq(self) -> int:
        """The seq of the last change that was put."""
        [(value,)] = self._all("SELECT value FROM meta WHERE name = 'max_seq'", ())
        return int(value or 0)

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._db.close()

    def _all(self, sql: str, bindings: Sequence[Value]) -> list[tuple[Any, ...]]:
        with self._lock:
            return super()._all(sql, bindings)


def tune(db: apsw.Connection) -> None:
    db.set_busy_timeout(10_000)
    db.execute("PRAGMA cache_size=-32768; PRAGMA mmap_size=268435456; PRAGMA temp_store=MEMORY")
