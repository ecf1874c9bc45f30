"""Scans: what changed in a tree since the index was last brought up to it.

Decides what becomes a row. The sorted walk and the sorted index are merged like two decks of cards; equal
stamps cost nothing more, and only what differs is read. Nothing here asks a peer or knows of one.

Deletions are the dangerous find, so they wait to the end of the pass and are dropped altogether if anything
couldn't be read, if the pass was stopped, or if the root is empty while the index isn't (`emptiness`).
Each is looked up once more before it is recorded.

Read `walk` for what is seen, `detect` for what a difference means.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice

from node_runtime.disk import syscalls
from node_runtime.disk.codec import TOMBSTONE, StampTuple
from node_runtime.disk.detect import Seen, deletion, detect
from node_runtime.disk.emptiness import mind_stranger, note_local_find, why_no_deletes
from node_runtime.disk.errors import explain
from node_runtime.disk.hashing import hash_still
from node_runtime.disk.index import Index
from node_runtime.disk.root import GONE, REPLACED, Root, mtime_of, open_regular, stamp_of
from node_runtime.disk.walk import Found, Remarks, walk
from node_runtime.replica.entry import Kind, Row
from node_runtime.replica.filters import Filters
from node_runtime.replica.path import RESERVED, from_key, key, parent

BATCH_ROWS = 1_000
BATCH_BYTES = 64 * 1024 * 1024  # hashed; a batch is handed on then too, so that large files don't hold it up
STILL_WRITING = "still being written"  # the reason of a problem that another scan may not find
STOP_EVERY = 256  # paths between two looks at `stop`
_FILTERS_META = "scanned_filters"
_PAST_ALL: StampTuple = (b"\xff" * 65_537, 0, 0, 0, 0, 0, 0)  # a key behind every path's


@dataclass(slots=True)
class ScanResult:
    """What a pass did and what stood in its way."""

    changed: int = 0  # rows that were put, tombstones included
    hashed_bytes: int = 0
    problems: list[tuple[bytes, str]] = field(default_factory=list)
    complete: bool = True  # false where `stop` ended it
    deletes_suppressed: str = ""  # why deletions that were found were not recorded


def scan(
    root: Root,
    index: Index,
    filters: Filters,
    *,
    local_id: int,
    node: str,
    now_ns: Callable[[], int],
    under: bytes = b"",
    on_batch: Callable[[list[Row]], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    rest_ns: int = 0,
) -> ScanResult:
    """Bring the index up to the tree (or to `under` and what is below it).

    A file that was changed less than `rest_ns` ago is left for another pass, as still being written.
    """
    passing = _Pass(root, index, filters, local_id, node, now_ns, on_batch, stop, rest_ns)
    if under:
        passing.path(under)
        return passing.finish()
    mind_stranger(root, index)
    passing.merge(walk(root, b"", passing.excludes_directory, passing.remarks), index.stamps(b""))
    result = passing.finish()
    if result.complete:
        index.set_meta(_FILTERS_META, passing.filters_digest)
    return result


def scan_paths(
    root: Root,
    index: Index,
    filters: Filters,
    paths: Iterable[bytes],
    *,
    local_id: int,
    node: str,
    now_ns: Callable[[], int],
    on_batch: Callable[[list[Row]], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    rest_ns: int = 0,
) -> ScanResult:
    """Bring the index up to exactly these paths: a directory with all below it, a missing path as deleted."""
    passing = _Pass(root, index, filters, local_id, node, now_ns, on_batch, stop, rest_ns)
    covered: bytes | None = None  # the key prefix of the last path; sorted, so its descendants follow it
    for path in sorted({path for path in paths if path and path.partition(b"/")[0] != RESERVED}, key=key):
        if covered is not None and key(path).startswith(covered):
            continue
        covered = key(path) + b"\0"
        passing.path(path)
    return passing.finish()


class _Pass:
    """One scan under way."""

    def __init__(
        self,
        root: Root,
        index: Index,
        filters: Filters,
        local_id: int,
        node: str,
        now_ns: Callable[[], int],
        on_batch: Callable[[list[Row]], None] | None,
        stop: Callable[[], bool],
        rest_ns: int,
    ) -> None:
        root.check()
        self._rest_ns = rest_ns
        self._root = root
        self._index = index
        self._filters = None if filters.is_empty else filters
        self._local_id = local_id
        self._node = node
        self._now_ns = now_ns
        self._on_batch = on_batch
        self._stop = stop
        self.filters_digest = sha256(repr(filters.rules).encode("utf-8", "surrogateescape")).digest()
        # Rows that were scanned under these very rules needn't be held against them again.
        self._rows_judged = index.meta(_FILTERS_META) == self.filters_digest
        self._was_empty = index.max_seq == 0
        self.remarks = Remarks()
        self.excludes_directory = self._excludes_directory if self._filters else None
        self._result = ScanResult(problems=self.remarks.problems)
        self._batch: list[Row] = []
        self._batch_bytes = 0
        self._restamped: list[Row] = []
        self._vanished: list[bytes] = []  # paths, in order of key
        self._forgotten: list[bytes] = []
        self._ancestors: set[bytes] = set()
        self._found_here = False  # an edit that was made in this tree

    def path(self, path: bytes) -> None:
        """Scan one path and all below it."""
        if not self._scan_ancestors(path):
            return
        try:
            status = self._root.lstat(path)
        except OSError as error:
            if error.errno not in GONE:
                self.remarks.unreadable(path, error)
                return
            disk: Iterator[Found] = iter(())
        else:
            disk = self._subtree(path, status)
        self.merge(disk, self._index.stamps(path, itself=True))

    def merge(self, disk: Iterable[Found], known: Iterator[StampTuple]) -> None:
        """Hold what is on disk against the rows of the same range, both in order of key."""
        judged = self._filters is None or self._rows_judged
        row = next(known, _PAST_ALL)
        countdown = STOP_EVERY
        for found in disk:
            sort_key, status, _ = found
            countdown -= 1
            if not countdown:
                countdown = STOP_EVERY
                if self._stop():
                    self._result.complete = False
                    return
            while row[0] < sort_key:
                self._missing(row)
                row = next(known, _PAST_ALL)
            recorded = None
            if row[0] == sort_key:
                recorded, row = row, next(known, _PAST_ALL)
                if judged and recorded[2:] == (
                    status.st_size,
                    status.st_mtime_ns,
                    status.st_ctime_ns,
                    status.st_ino,
                    status.st_mode,
                ):
                    continue
            self._differs(found, recorded)
        while row is not _PAST_ALL:
            self._missing(row)
            row = next(known, _PAST_ALL)

    def finish(self) -> ScanResult:
        """Write what is left, and the deletions if nothing speaks against them."""
        self._flush()
        self._index.forget(self._forgotten)
        if self._found_here:
            note_local_find(self._index)
        result = self._result
        if self._vanished and result.complete:
            result.deletes_suppressed = self.remarks.unread or why_no_deletes(
                self._root, self._index, len(self._vanished)
            )
            if not result.deletes_suppressed:
                self._record_deletions()
        return result

    def _differs(self, found: Found, recorded: StampTuple | None) -> None:
        """A path without a row, or whose stamp (or row's right to be) isn't settled by the quick look."""
        sort_key, status, directory_fd = found
        path = from_key(sort_key)
        is_directory = stat.S_ISDIR(status.st_mode)
        if self._filters and self._filters.excludes(path, is_directory):
            if recorded:
                self._forgotten.append(path)
            return
        stamp = stamp_of(status)
        if recorded and recorded[2:] == (stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.inode, stamp.mode):
            return
        old = self._index.get([path]).get(path) if recorded else None
        try:
            seen = None if self._is_restless(status) else self._see(path, status, directory_fd)
        except FileNotFoundError:
            if recorded:
                self._vanished.append(path)
            return
        except OSError as error:
            if error.errno not in REPLACED:
                self.remarks.problems.append((path, f"can't be read: {explain(error)}"))
                return
            seen = None
        if seen is None:
            self.remarks.problems.append((path, STILL_WRITING))
            return
        self._add(seen, old)

    def _is_restless(self, status: os.stat_result) -> bool:
        age_ns = self._now_ns() - status.st_mtime_ns if self._rest_ns else -1
        return stat.S_ISREG(status.st_mode) and 0 <= age_ns < self._rest_ns

    def _see(self, path: bytes, status: os.stat_result, directory_fd: int) -> Seen | None:
        """A path with its content, or None where that changes as it is read."""
        if stat.S_ISDIR(status.st_mode):
            return Seen(path, Kind.DIRECTORY, 0, 0, stat.S_IMODE(status.st_mode), b"", stamp_of(status))
        if stat.S_ISLNK(status.st_mode):
            target = self._root.readlink(path)
            return Seen(path, Kind.SYMLINK, 0, mtime_of(status), 0, target, stamp_of(status))
        content = self._known_content(path, status)
        if content is None:
            name = path.rpartition(b"/")[2]
            fd = open_regular(directory_fd, name) if directory_fd >= 0 else self._root.open_read(path)
            try:
                read = hash_still(fd)
            finally:
                os.close(fd)
            if read is None:
                return None
            content, status = read
            self._result.hashed_bytes += status.st_size
            self._batch_bytes += status.st_size
        mode = stat.S_IMODE(status.st_mode)
        return Seen(path, Kind.FILE, status.st_size, mtime_of(status), mode, content, stamp_of(status))

    def _known_content(self, path: bytes, status: os.stat_result) -> bytes | None:
        """The hash on record of the same file under another name: renamed, or linked.

        Inode numbers are given again, and archives give equal times, so the inode must also have been
        born before the row was made: then no other file can have had that number since.
        """
        if self._was_empty or not status.st_size:
            return None
        row = self._index.by_inode(stamp_of(status).inode)
        if row is None or row.stamp is None or row.entry.path == path:
            return None
        if (row.stamp.size, row.stamp.mtime_ns) != (status.st_size, mtime_of(status)):
            return None
        with self._root.parent(path) as (directory_fd, name):
            born_ns = syscalls.birth_ns(directory_fd, name)
        return row.entry.content if born_ns is not None and born_ns <= row.stamp.ctime_ns else None

    def _add(self, seen: Seen, old: Row | None) -> None:
        found = detect(old, seen, self._local_id, self._node, self._now_ns())
        if found.is_change:
            self._found_here = True
            self._batch.append(found.row)
        else:
            self._restamped.append(found.row)
        if len(self._batch) + len(self._restamped) >= BATCH_ROWS or self._batch_bytes >= BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        self._batch_bytes = 0
        if self._restamped:
            self._index.restamp(self._restamped)
            self._restamped = []
        if self._batch:
            self._put(self._batch)
            self._batch = []

    def _put(self, rows: list[Row]) -> None:
        self._index.put(rows)
        self._result.changed += len(rows)
        if self._on_batch:
            self._on_batch(rows)

    def _missing(self, row: StampTuple) -> None:
        """A row without its path: deleted, or excluded by now, or out of sight under a mount."""
        path, flags = from_key(row[0]), row[1]
        if self._filters and self._filters.excludes(path, flags & 3 == Kind.DIRECTORY):
            self._forgotten.append(path)
        elif flags < TOMBSTONE and not self._under_mount(row[0]):
            self._vanished.append(path)

    def _under_mount(self, sort_key: bytes) -> bool:
        return any(sort_key == mount or sort_key.startswith(mount + b"\0") for mount in self.remarks.mounts)

    def _record_deletions(self) -> None:
        gone = iter(self._really_gone())
        while paths := list(islice(gone, BATCH_ROWS)):
            if self._stop():
                self._result.complete = False
                return
            rows = self._index.get(paths)
            now_ns = self._now_ns()
            self._put(
                [deletion(rows[path], self._local_id, self._node, now_ns) for path in paths if path in rows]
            )

    def _really_gone(self) -> Iterator[bytes]:
        """Vanished paths that a second look doesn't find. Nothing below a missing directory is looked up."""
        above: bytes | None = None
        for path in self._vanished:
            if above is not None and path.startswith(above):
                yield path
                continue
            try:
                mode = self._root.lstat(path).st_mode
            except OSError as error:
                if error.errno in GONE:
                    above = path + b"/"
                    yield path
                else:
                    self.remarks.unreadable(path, error)
                continue
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
                yield path

    def _excludes_directory(self, path: bytes) -> bool:
        assert self._filters is not None
        return self._filters.excludes(path, True)

    def _subtree(self, path: bytes, status: os.stat_result) -> Iterator[Found]:
        """A path and everything below it, as far as it is of the replica."""
        if stat.S_ISDIR(status.st_mode):
            if self._excludes(path):
                return
            if status.st_dev != self._root.device:
                self.remarks.mounts.append(key(path))
                return
            yield key(path), status, -1
            yield from walk(self._root, path, self.excludes_directory, self.remarks)
        elif stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
            yield key(path), status, -1

    def _excludes(self, directory: bytes) -> bool:
        return self._filters is not None and self._filters.excludes(directory, True)

    def _scan_ancestors(self, path: bytes) -> bool:
        """Record the directories above a path that have no row yet; false where one isn't of the replica."""
        above = []
        while path := parent(path):
            above.append(path)
        for directory in reversed(above):
            if directory in self._ancestors:
                continue
            try:
                status = self._root.lstat(directory)
            except OSError as error:
                if error.errno in GONE:
                    return True  # then the path is gone too
                self.remarks.unreadable(directory, error)
                return False
            if not stat.S_ISDIR(status.st_mode):
                return True
            if self._excludes(directory):
                return True
            row = self._index.get([directory]).get(directory)
            if row is None or row.entry.deleted or row.entry.kind is not Kind.DIRECTORY:
                self._differs((key(directory), status, -1), _PAST_ALL if row else None)
            self._ancestors.add(directory)
        return True
