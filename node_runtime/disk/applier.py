"""Decisions carried out on disk, one path at a time.

Each operation takes what the caller believes is at its target and looks again; where that no longer holds it
changes nothing and says `MOVED`, and the caller scans the path and decides anew. What an operating system
refuses is a value, `FAILED` with a reason that says what to do, never an exception. `publish` holds the order
of system calls that makes this safe. The caller puts the returned row into the index.

A row comes back with `learned_from` 0: only the caller knows whom it learned the entry from.
"""

from __future__ import annotations

import enum
import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, ParamSpec, TypeAlias

from msgspec.structs import replace

from node_runtime.disk.errors import ContentMismatch, DiskError, explain
from node_runtime.disk.hashing import hash_still
from node_runtime.disk.index import Index
from node_runtime.disk.publish import (
    Moved,
    Place,
    Publisher,
    dress,
    rename_new,
    same_but_ctime,
    set_mode,
    set_mtime,
)
from node_runtime.disk.root import Root, mtime_of, open_regular, stamp_of
from node_runtime.disk.staging import Loose, Staged, Staging
from node_runtime.disk.versions import Versions
from node_runtime.replica.entry import Entry, Kind, Row, Stamp
from node_runtime.replica.path import show

Arrived: TypeAlias = Staged | Loose  # content that was fetched

NOT_EMPTY = "not empty"  # the reason of a directory that still holds something


class Outcome(enum.Enum):
    """How an operation ended."""

    DONE = "done"
    MOVED = "moved"  # the target isn't what the caller believed; nothing was changed
    FAILED = "failed"  # the disk refused; the reason says what to do


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of one operation."""

    outcome: Outcome
    row: Row | None = None  # after DONE: the row to put (None for a moved tree)
    reason: str = ""  # after MOVED and FAILED


_Arguments = ParamSpec("_Arguments")
_Method = Callable[Concatenate["Applier", _Arguments], Applied]


def _as_outcome(method: _Method[_Arguments]) -> _Method[_Arguments]:
    """Failures as values."""

    @wraps(method)
    def attempt(self: Applier, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Applied:
        try:
            return method(self, *args, **kwargs)
        except (Moved, FileNotFoundError) as error:
            self._publisher.leave()  # it may be the directory that has gone
            reason = str(error) if isinstance(error, Moved) else "it is no longer there"
            return Applied(Outcome.MOVED, reason=reason)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # both are what rmdir may say
                return Applied(Outcome.FAILED, reason=NOT_EMPTY)
            return Applied(Outcome.FAILED, reason=explain(error))
        except (DiskError, ContentMismatch) as error:
            return Applied(Outcome.FAILED, reason=str(error))

    return attempt


class Applier:
    """Changes one replica's tree. Used by one thread."""

    def __init__(
        self, root: Root, index: Index, staging: Staging, versions: Versions, *, keep_versions: bool = True
    ) -> None:
        self._root = root
        self._index = index
        self._staging = staging
        self._publisher = Publisher(root, staging, versions, keep_versions=keep_versions)
        self.batch = self._publisher.batch

    @_as_outcome
    def place_file(self, entry: Entry, arrived: Arrived, expected: Row | None) -> Applied:
        """Publish verified content. Unless DONE, what is staged stays so, for another try or `discard`."""
        if arrived.content != entry.content:
            raise DiskError("the content isn't the entry's")
        with self._publisher.place_next(entry.path) as target:
            if isinstance(arrived, Loose) and (expected is None or expected.entry.deleted):
                stamp = self._publisher.create(arrived, entry, target)
                if stamp is not None:
                    return _done(entry, stamp)
            target.expect(expected)
            staged = self._staging.stage(arrived) if isinstance(arrived, Loose) else arrived
            try:
                made = dress(staged.name, entry, self._staging.fd)
                self._publisher.install(Place(self._staging.fd, staged.name, b""), target, expected)
                self._staging.release(staged)
            finally:
                if staged is not arrived:
                    self._staging.discard(staged)
            return _done(entry, target.stamp_after(made))

    @_as_outcome
    def copy_file(self, entry: Entry, from_path: bytes, expected: Row | None) -> Applied:
        """Publish content that another local file holds; FAILED where it no longer does: fetch it."""
        # Where the content has only just been placed, the row is missing or still of what was there before.
        source = self._index.get([from_path]).get(from_path)
        of_content = source is not None and source.entry.same_content(entry)
        if source is not None and of_content and self._root.stamp(from_path) != source.stamp:
            raise DiskError("the local copy has changed; fetch it")  # spares reading it to find that out
        try:
            fd = self._root.open_read(from_path)
        except FileNotFoundError:
            raise DiskError("the local copy has gone; fetch it") from None
        try:
            staged = self._staging.copy(fd, entry.content, entry.size)
        except ContentMismatch:
            raise DiskError("the local copy has changed; fetch it") from None
        finally:
            os.close(fd)
        applied: Applied = self.place_file(entry, staged, expected)
        if applied.outcome is not Outcome.DONE:
            self._staging.discard(staged)
        return applied

    @_as_outcome
    def move(self, entry: Entry, from_row: Row, expected: Row | None) -> Applied:
        """Rename a local file or symlink that holds the entry's content already.

        The row of its old path is the caller's to end.
        """
        if not from_row.entry.same_content(entry) or entry.kind is Kind.DIRECTORY:
            raise Moved("the file to be renamed doesn't hold the content")
        with (
            self._publisher.place(from_row.entry.path, make_parents=False) as source,
            self._publisher.place(entry.path) as target,
        ):
            source.expect(from_row)
            target.expect(expected)
            self._publisher.install(source, target, expected)
            assert from_row.stamp is not None
            return _done(entry, _redress(target, entry, target.stamp_after(from_row.stamp)))

    @_as_outcome
    def move_tree(self, from_path: bytes, to_path: bytes) -> Applied:
        """Rename a directory with all it holds to a free name. The rows are the caller's to move."""
        with (
            self._publisher.place(from_path, make_parents=False) as source,
            self._publisher.place(to_path) as target,
        ):
            status = source.status()
            if status is None or not stat.S_ISDIR(status.st_mode):
                raise Moved("the directory is no longer there")
            rename_new(source, target)
            return Applied(Outcome.DONE)

    @_as_outcome
    def make_directory(self, entry: Entry, expected: Row | None) -> Applied:
        """Make a directory. One that is there already is taken over, whatever it holds."""
        with self._publisher.place(entry.path) as target:
            status = target.status()
            if status is not None and stat.S_ISDIR(status.st_mode):
                if expected is not None and not expected.entry.deleted:
                    target.expect(expected)
                set_mode(target, entry.mode)
                return _done(entry, _stamp_at(target))
            target.expect(expected)
            with self._temporary(b"directory") as source:
                os.mkdir(source.name, 0o700, dir_fd=source.fd)
                # Left by a crash with fewer rights, it would look as if a user had closed it. The owner's
                # are what a rename may take.
                set_mode(source, entry.mode | 0o700)
                self._publisher.install(source, target, expected)
            if entry.mode & 0o700 != 0o700:
                set_mode(target, entry.mode)
            return _done(entry, _stamp_at(target))

    @_as_outcome
    def make_symlink(self, entry: Entry, expected: Row | None) -> Applied:
        """Make a symlink, or replace what stands there by one."""
        with self._publisher.place(entry.path) as target:
            target.expect(expected)
            with self._temporary(b"symlink") as source:
                os.symlink(entry.content, source.name, dir_fd=source.fd)
                set_mtime(source, entry.mtime_ns)
                made = _stamp_at(source)
                self._publisher.install(source, target, expected)
            return _done(entry, target.stamp_after(made))

    @_as_outcome
    def set_metadata(self, entry: Entry, expected: Row) -> Applied:
        """Give a path whose content is right the entry's mode and time."""
        with self._publisher.place(entry.path, make_parents=False) as target:
            target.expect(expected)
            assert expected.stamp is not None
            return _done(entry, _redress(target, entry, expected.stamp))

    @_as_outcome
    def remove(self, tombstone: Entry, expected: Row) -> Applied:
        """Delete: a file or symlink into the kept versions, a directory only if it is empty (NOT_EMPTY)."""
        with self._publisher.place(tombstone.path, make_parents=False) as target:
            target.expect(expected)
            if expected.stamp is None:
                raise Moved("it is no longer there")
            if stat.S_ISDIR(expected.stamp.mode):
                os.rmdir(target.name, dir_fd=target.fd)
            else:
                self._publisher.take_away(target, expected.stamp)
            return Applied(Outcome.DONE, Row(tombstone, None))

    @_as_outcome
    def keep_aside(self, row: Row, copy_path: bytes) -> Applied:
        """Rename a file or symlink to its conflict copy's name.

        The row has the old entry's vectors and origin: the caller makes it an edit of its own. If an equal
        copy stands there already, this file goes to the kept versions instead.
        """
        with (
            self._publisher.place(row.entry.path, make_parents=False) as source,
            self._publisher.place(copy_path) as target,
        ):
            source.expect(row)
            if row.stamp is None or row.entry.kind is Kind.DIRECTORY:
                raise Moved("there is nothing to keep aside")
            entry = replace(row.entry, path=copy_path)
            status = target.status()
            if status is None:
                rename_new(source, target)
                return _done(entry, target.stamp_after(row.stamp))
            if not _holds(target, row.entry):
                raise DiskError(f"{show(copy_path)} is needed for a conflict copy; rename that file")
            self._publisher.take_away(source, row.stamp, "replaced")
            return _done(replace(entry, mtime_ns=mtime_of(status), mode=_mode(status)), stamp_of(status))

    def _temporary(self, prefix: bytes) -> _Temporary:
        return _Temporary(self._staging, prefix)


class _Temporary:
    """A name in the staging directory for a link or directory; removed if it wasn't moved away."""

    def __init__(self, staging: Staging, prefix: bytes) -> None:
        self._place = Place(staging.fd, staging.temporary(prefix), b"")

    def __enter__(self) -> Place:
        return self._place

    def __exit__(self, *_: object) -> None:
        status = self._place.status()
        if status is None:
            return
        if stat.S_ISDIR(status.st_mode):
            os.rmdir(self._place.name, dir_fd=self._place.fd)
        else:
            os.unlink(self._place.name, dir_fd=self._place.fd)


def _done(entry: Entry, stamp: Stamp) -> Applied:
    return Applied(Outcome.DONE, Row(entry, stamp))


def _mode(status: os.stat_result) -> int:
    return 0 if stat.S_ISLNK(status.st_mode) else stat.S_IMODE(status.st_mode)


def _stamp_at(place: Place) -> Stamp:
    status = place.status()
    if status is None:
        raise Moved("it is no longer there")
    return stamp_of(status)


def _redress(place: Place, entry: Entry, before: Stamp) -> Stamp:
    """Set the metadata of a published path, unless it was edited meanwhile; the stamp to record."""
    status = place.status()
    if status is None or not same_but_ctime(stamp_of(status), before):
        return before  # the next scan sees the difference
    if entry.kind is not Kind.SYMLINK and stat.S_IMODE(status.st_mode) != entry.mode:
        set_mode(place, entry.mode)
    if entry.kind is not Kind.DIRECTORY and mtime_of(status) != entry.mtime_ns:
        set_mtime(place, entry.mtime_ns)
    after = _stamp_at(place)
    return after if (after.inode, after.size) == (before.inode, before.size) else before


def _holds(place: Place, entry: Entry) -> bool:
    """Whether what is at a place has the entry's kind and content."""
    status = place.status()
    if status is None:
        return False
    if entry.kind is Kind.SYMLINK:
        return stat.S_ISLNK(status.st_mode) and os.readlink(place.name, dir_fd=place.fd) == entry.content
    if not stat.S_ISREG(status.st_mode) or status.st_size != entry.size:
        return False
    fd = open_regular(place.fd, place.name)
    try:
        read = hash_still(fd)
    finally:
        os.close(fd)
    return read is not None and read[0] == entry.content
