"""Which live files hold a content: the index's lookup from hash to paths.

Hashes are scattered, so an ordinary database index would touch a page for each row that is put (measured: it
halved the rate of a first scan). Here new rows are remembered in memory, and written into the lookup table
sorted and many at a time, which touches each page once. Rows of the table are hints: whoever reads
them checks the entry itself, so nothing has to be taken out when a file changes, and what has gone stale is
dropped when the index is opened.

Source of the shape: P. O'Neil et al., "The log-structured merge-tree", Acta Informatica 33, 1996.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import apsw

from node_runtime.replica.entry import Kind, Row
from node_runtime.replica.path import from_key, key

SCHEMA = """
CREATE TABLE IF NOT EXISTS contents(prefix BLOB, id INTEGER, PRIMARY KEY(prefix, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS contents_until(seq INTEGER NOT NULL);
"""
RECENT_ROWS = 20_000  # remembered in memory before they are written; about 5 MB
HOLDERS = 4  # paths named for each content
PREFIX_BYTES = 8  # of a hash, in the table; the entry itself has it whole
ASKED_AT_ONCE = 128  # contents looked up in one statement
_STALE_SLACK = 10_000  # hints beyond twice the number of files before the table is built anew
_HINTED = (  # stops at the first hint of each, however many files hold the content
    f"WITH wanted(prefix) AS (VALUES {', '.join(['(?)'] * ASKED_AT_ONCE)})"  # noqa: S608 - only question marks
    " SELECT prefix FROM wanted WHERE EXISTS (SELECT 1 FROM contents c WHERE c.prefix = wanted.prefix)"
)


class Contents:
    """The lookup of one index; used by its writer alone."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._recent: dict[bytes, list[bytes]] = {}
        self._complete = False  # whether `_recent` holds every row since the table was last written
        self._drop_stale()

    def note(self, rows: Iterable[Row]) -> None:
        """Rows have just been put."""
        if not self._complete:
            return
        recent = self._recent
        for row in rows:
            entry = row.entry
            if entry.kind is Kind.FILE and not entry.deleted:
                recent.setdefault(entry.content, []).append(entry.path)
        if len(recent) > RECENT_ROWS:
            self._complete = False
            recent.clear()

    def holding(self, contents: Sequence[bytes]) -> dict[bytes, list[bytes]]:
        """For each content that live files hold, a few of their paths."""
        if not self._complete:
            self._catch_up()
        found: dict[bytes, list[bytes]] = {}
        hinted = self._hinted(contents)
        for content in contents:
            keys: list[bytes] = []
            if content[:PREFIX_BYTES] in hinted:
                keys = [
                    sort_key
                    for (sort_key,) in self._db.execute(
                        "SELECT e.key FROM contents c JOIN entries e ON e.id = c.id"
                        " WHERE c.prefix = substr(?1, 1, 8) AND e.flags = 0 AND e.content = ?1 LIMIT ?2",
                        (content, HOLDERS),
                    )
                ]
            for path in self._recent.get(content, ())[-HOLDERS:]:
                still = self._db.execute(
                    "SELECT 1 FROM entries WHERE key = ? AND flags = 0 AND content = ?", (key(path), content)
                ).fetchall()
                if still and key(path) not in keys:
                    keys.append(key(path))
            if keys:
                found[content] = [from_key(sort_key) for sort_key in keys[:HOLDERS]]
        return found

    def _hinted(self, contents: Sequence[bytes]) -> set[bytes]:
        """Which of their prefixes the table has at all, many in one statement: most content is new here."""
        hinted: set[bytes] = set()
        for first in range(0, len(contents), ASKED_AT_ONCE):
            prefixes = [content[:PREFIX_BYTES] for content in contents[first : first + ASKED_AT_ONCE]]
            prefixes += prefixes[-1:] * (ASKED_AT_ONCE - len(prefixes))  # one statement text, kept prepared
            hinted.update(prefix for (prefix,) in self._db.execute(_HINTED, prefixes))
        return hinted

    def _catch_up(self) -> None:
        with self._db:
            self._db.execute(
                "INSERT OR IGNORE INTO contents SELECT substr(content, 1, 8), id FROM entries"
                " WHERE seq > (SELECT coalesce(max(seq), 0) FROM contents_until) AND flags = 0 ORDER BY 1, 2"
            )
            self._db.execute("DELETE FROM contents_until")
            self._db.execute("INSERT INTO contents_until SELECT coalesce(max(seq), 0) FROM entries")
        self._complete = True

    def _drop_stale(self) -> None:
        hints: Any = self._db.execute("SELECT count(*) FROM contents").get
        entries: Any = self._db.execute("SELECT count(*) FROM entries").get
        if hints > 2 * entries + _STALE_SLACK:
            with self._db:
                self._db.execute("DELETE FROM contents; DELETE FROM contents_until")
