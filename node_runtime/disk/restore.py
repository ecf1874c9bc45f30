"""Kept versions brought back, one path at a time: to where they were, or into another directory.

`choose` decides which version, `Restorer` carries it out. A version is copied, never moved: what is kept
stays kept, and the same restore can be made again. What stands in the way at its old place goes to the
kept versions first, in the same step in which the restored content takes its name; in another directory
nothing is ever replaced. Links are made anew as links, and none is followed.

Read next: `publish`, which has the order of system calls.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from node_runtime.disk.errors import DiskError, explain
from node_runtime.disk.hashing import hash_still
from node_runtime.disk.publish import Moved, Place, Publisher, set_mtime
from node_runtime.disk.root import Root, open_regular
from node_runtime.disk.staging import Staging, clone_or_copy
from node_runtime.disk.versions import History, Kept, Versions, stored
from node_runtime.replica.entry import Stamp
from node_runtime.replica.path import parent
from schemas.kept import Action

TEMPORARY = b".syncgraph-restore"  # beside a path in another directory, until it is whole


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one path."""

    action: Action
    reason: str = ""  # only when failed


class Unknown(Exception):
    """No kept version is known to be what the path held at that time."""


def choose(history: History, at_ms: int | None) -> Kept:
    """The version to bring back: the newest, or what the path held at a time. Raises `Unknown`.

    What was put aside first since that time is what the path held then, unless it was only written
    later: then the content of that time was overwritten on this node itself, which keeps nothing.
    """
    if at_ms is None:
        return history.versions[0]
    since = [kept for kept in history.versions if kept.when_ms >= at_ms]
    if not since or since[-1].mtime_ns > at_ms * 1_000_000 + 999_999:
        raise Unknown
    return since[-1]


class Restorer:
    """Brings versions of one root back. Used by one thread, the one that changes that root."""

    def __init__(self, root: Root, into: Root | None = None, *, dry_run: bool = False) -> None:
        """`into` is another directory; without it everything goes where it was."""
        self._root = root
        self._into = into or root
        self._in_place = into is None
        self._dry_run = dry_run
        self._staging = Staging(self._into)
        self._publisher = Publisher(self._into, self._staging, Versions(self._into), keep_versions=True)

    def restore(self, history: History, kept: Kept, target: bytes) -> Outcome:
        """Bring one version back as `target`, a path below the directory that it goes to."""
        if history.is_cut:
            return Outcome(
                "failed", "its name is too long to be kept whole; name its whole path to restore it"
            )
        try:
            fd = self._root.open_directory(stored(parent(history.path)))
            try:
                return self._restore(Place(fd, kept.name, history.path), target)
            finally:
                os.close(fd)
        except Moved as error:
            return Outcome("failed", f"{error}; run it again")
        except DiskError as error:
            return Outcome("failed", str(error))
        except OSError as error:
            return Outcome("failed", explain(error))

    def close(self) -> None:
        """Let go of everything."""
        self._staging.close()

    def _restore(self, version: Place, target: bytes) -> Outcome:
        before = self._into.stamp(target)
        if before is not None:
            if not (stat.S_ISREG(before.mode) or stat.S_ISLNK(before.mode)):
                what = "a directory" if stat.S_ISDIR(before.mode) else "no ordinary file"
                return Outcome("failed", f"{what} stands there now; restore into another directory with --to")
            if self._holds(target, before, version):
                return Outcome("unchanged")
            if not self._in_place:
                return Outcome("failed", "something else is there; nothing is replaced in another directory")
        if self._dry_run:
            self._check_way(target)
        else:
            self._put(version, target, before)
        return Outcome("restored")

    def _check_way(self, target: bytes) -> None:
        """Raise what making the target's directory would, where something else stands in its way."""
        above = target
        while above := parent(above):
            stamp = self._into.stamp(above)
            if stamp is not None:
                os.close(self._into.open_directory(above, os.O_PATH))
                return

    def _put(self, version: Place, target: bytes, before: Stamp | None) -> None:
        with self._publisher.place(target) as place, self._temporary(place) as made:
            status = version.status()
            if status is None:
                raise Moved("the version is gone")
            if stat.S_ISLNK(status.st_mode):
                os.symlink(os.readlink(version.name, dir_fd=version.fd), made.name, dir_fd=made.fd)
                set_mtime(made, status.st_mtime_ns)
            else:
                _copy(version, made)
            self._publisher.exchange(made, place, before)

    def _holds(self, target: bytes, look: Stamp, version: Place) -> bool:
        """Whether the target has the version's content already."""
        status = version.status()
        if status is None or stat.S_IFMT(look.mode) != stat.S_IFMT(status.st_mode):
            return False
        if stat.S_ISLNK(look.mode):
            return self._into.readlink(target) == os.readlink(version.name, dir_fd=version.fd)
        if look.size != status.st_size:
            return False
        with self._into.parent(target) as (directory_fd, name):
            there = _hash(directory_fd, name)
        return there is not None and there == _hash(version.fd, version.name)

    @contextmanager
    def _temporary(self, place: Place) -> Iterator[Place]:
        """A name on the target's file system: in our own directory, or beside it where we have none."""
        name = self._staging.temporary(TEMPORARY)
        made = Place(self._staging.fd if self._in_place else place.fd, name, b"")
        try:
            yield made
        finally:
            with suppress(FileNotFoundError):  # it has been moved to its place
                os.unlink(made.name, dir_fd=made.fd)


def _copy(version: Place, made: Place) -> None:
    source_fd = open_regular(version.fd, version.name)
    try:
        status = os.fstat(source_fd)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        made_fd = os.open(made.name, flags, 0o600, dir_fd=made.fd)
        try:
            clone_or_copy(source_fd, made_fd, status.st_size)
            after = os.fstat(source_fd)
            if (after.st_size, after.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
                raise Moved("a program that has it open since before still writes to the kept version")
            os.fchmod(made_fd, _owned(made_fd, status))
            os.utime(made_fd, ns=(status.st_mtime_ns, status.st_mtime_ns))
        finally:
            os.close(made_fd)
    finally:
        os.close(source_fd)


def _owned(made_fd: int, status: os.stat_result) -> int:
    """Give a copy its version's owner; the mode that it may have. Nobody's set-user-ID becomes ours."""
    try:
        os.fchown(made_fd, status.st_uid, status.st_gid)
    except PermissionError:
        return stat.S_IMODE(status.st_mode) & ~(stat.S_ISUID | stat.S_ISGID)
    return stat.S_IMODE(status.st_mode)


def _hash(directory_fd: int, name: bytes) -> bytes | None:
    fd = open_regular(directory_fd, name)
    try:
        read = hash_still(fd)
    finally:
        os.close(fd)
    return read[0] if read is not None else None
