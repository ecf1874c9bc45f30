"""Kept versions: what was overwritten or deleted in a replica, under `.syncgraph/versions`.

Decides where the old content of a path goes and how it is found again. The name is the path with "~", the
UTC time, to the millisecond, at which it was put aside, and "-deleted" where nothing took its place:
`docs/plan.txt~20261122T101500.123`. It is reached through the root's own descriptor like any path, so a
link can't lead it elsewhere. How long it stays, `retention` says; `restore` brings it back.
"""

from __future__ import annotations

import calendar
import os
import re
import stat
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from node_runtime.disk import syscalls
from node_runtime.disk.root import GONE, Root, mtime_of
from node_runtime.replica.path import MAX_NAME_BYTES, RESERVED, key, parent
from schemas.kept import Why

_TOP = RESERVED + b"/versions"
_SUFFIX = re.compile(rb"(?P<stem>.+)~(?P<when>\d{8}T\d{6}\.\d{3})(?P<deleted>-deleted)?", re.DOTALL)
_STEM_BYTES = MAX_NAME_BYTES - len(b"~20261122T101500.123-deleted")
_CUT = re.compile(rb".*-[0-9a-f]{8}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Kept:
    """One kept version."""

    name: bytes  # in its directory of the store
    when_ms: int  # when it was put aside; Unix time
    why: Why
    size: int  # bytes
    disk_bytes: int  # what it takes on the disk; less than its size where it has holes
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class History:
    """What is kept of one path."""

    path: bytes  # its last name may be cut: see `is_cut`
    versions: tuple[Kept, ...]  # the newest first, never empty

    @property
    def is_cut(self) -> bool:
        """Whether the path's last name was too long to be kept whole."""
        name = self.path.rpartition(b"/")[2]
        return len(name) == _STEM_BYTES and _CUT.fullmatch(name) is not None


class Versions:
    """The kept versions of one root. `clock_ns` tells the time of day."""

    def __init__(self, root: Root, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._root = root
        self._clock_ns = clock_ns

    @contextmanager
    def slot(self, path: bytes, why: Why = "replaced") -> Iterator[tuple[int, bytes]]:
        """A free place for what is at `path` now: a directory's descriptor and a name in it."""
        fd = self._made(stored(parent(path)))
        try:
            stem = stem_of(path.rpartition(b"/")[2])
            ending = b"-deleted" if why == "deleted" else b""
            now_ms = self._clock_ns() // 1_000_000
            while _exists(fd, name := stem + b"~" + _when(now_ms) + ending):
                now_ms += 1
            yield fd, name
        finally:
            os.close(fd)

    def keep(self, path: bytes) -> None:
        """Move what is at `path` into the kept versions."""
        with self._root.parent(path) as (directory_fd, name), self.slot(path) as (slot_fd, slot_name):
            try:
                syscalls.rename_new(directory_fd, name, slot_fd, slot_name)
            except OSError as error:
                if not syscalls.lacks_rename_flags(error):
                    raise
                os.rename(name, slot_name, src_dir_fd=directory_fd, dst_dir_fd=slot_fd)

    def _made(self, path: bytes) -> int:
        try:
            return self._root.open_directory(path)
        except FileNotFoundError:
            self._root.make_directories(path, 0o700)
            return self._root.open_directory(path)


def stored(directory: bytes) -> bytes:
    """Where the versions of what is in a directory are."""
    return _TOP + b"/" + directory if directory else _TOP


def history(root: Root, path: bytes) -> History | None:
    """What is kept of one path."""
    stem = stem_of(path.rpartition(b"/")[2])
    found = look(root, parent(path), stem)[0]
    return History(path, found[0].versions) if found else None


def histories(root: Root, below: bytes = b"", after: bytes = b"") -> Iterator[History]:
    """What is kept of each path below a directory, in the index's order; only of paths behind `after`.

    Holds no descriptor from one to the next, and no more in memory than the directories on its way.
    """
    waiting: list[bytes | History] = [below]
    while waiting:
        found = waiting.pop()
        if isinstance(found, History):
            if not after or key(found.path) > key(after):
                yield found
        elif not after or key(found) >= key(after) or after.startswith(found + b"/") or found in (b"", below):
            own, directories = look(root, found)
            everything = [(each.path, each) for each in own] + [(each, each) for each in directories]
            # A path that was a file first and a directory later: the file's own versions come first.
            everything.sort(key=lambda pair: (pair[0], isinstance(pair[1], bytes)), reverse=True)
            waiting += [each for _, each in everything]


def look(root: Root, directory: bytes, stem: bytes | None = None) -> tuple[list[History], list[bytes]]:
    """What is kept of the paths in a directory (of one name alone), and the directories in it that hold more.

    What isn't a version is left out; so is what a link leads to.
    """
    try:
        fd = root.open_directory(stored(directory))
    except OSError as error:
        if error.errno in GONE:
            return [], []
        raise
    versions: dict[bytes, list[Kept]] = defaultdict(list)
    directories = []
    prefix = directory + b"/" if directory else b""
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                if entry.is_dir(follow_symlinks=False):
                    directories.append(prefix + name)
                    continue
                match = _SUFFIX.fullmatch(name)
                if match and stem in (None, match["stem"]):
                    kept = _kept(name, match, entry.stat(follow_symlinks=False))
                    if kept is not None:
                        versions[match["stem"]].append(kept)
    finally:
        os.close(fd)
    return [
        History(prefix + each, tuple(sorted(found, key=lambda kept: kept.when_ms, reverse=True)))
        for each, found in versions.items()
    ], directories


def stem_of(name: bytes) -> bytes:
    """The part of a version's name before "~": the name itself where it leaves room for the time."""
    if len(name) <= _STEM_BYTES:
        return name
    return name[: _STEM_BYTES - 9] + b"-" + sha256(name).hexdigest()[:8].encode()


def _kept(name: bytes, match: re.Match[bytes], status: os.stat_result) -> Kept | None:
    try:
        moment = time.strptime(match["when"][:15].decode(), "%Y%m%dT%H%M%S")
    except ValueError:  # digits that are no time: somebody else's file
        return None
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
        return None
    return Kept(
        name,
        calendar.timegm(moment) * 1000 + int(match["when"][16:]),
        "deleted" if match["deleted"] else "replaced",
        status.st_size,
        min(status.st_size, status.st_blocks * 512),
        mtime_of(status),
    )


def _when(now_ms: int) -> bytes:
    moment = datetime.fromtimestamp(max(now_ms, 0) // 1000, UTC)
    return f"{moment:%Y%m%dT%H%M%S}.{now_ms % 1000:03d}".encode()


def _exists(fd: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
