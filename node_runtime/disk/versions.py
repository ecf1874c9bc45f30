"""Kept versions: what was overwritten or deleted in a replica, under `.syncgraph/versions`.

Decides where the old content of a path goes and how long it stays. The name is the path with "~" and the
UTC time, to the millisecond, at which it was put aside: `docs/plan.txt~20261122T101500.123`. It is reached
through the root's own descriptor like any path, so a link can't lead it elsewhere.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256

from node_runtime.disk import syscalls
from node_runtime.disk.root import Root
from node_runtime.replica.path import MAX_NAME_BYTES, RESERVED, parent

MAX_AGE_S = 30 * 86_400
MAX_VERSIONS = 5
_TOP = RESERVED + b"/versions"
_SUFFIX = re.compile(rb"^(?P<stem>.+)~(?P<when>\d{8}T\d{6}\.\d{3})$", re.DOTALL)
_SUFFIX_BYTES = len(b"~20261122T101500.123")


class Versions:
    """The kept versions of one root. `clock_ns` tells the time of day."""

    def __init__(self, root: Root, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._root = root
        self._clock_ns = clock_ns

    @contextmanager
    def slot(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """A free place for what is at `path` now: a directory's descriptor and a name in it."""
        directory = parent(path)
        fd = self._directory(_TOP + b"/" + directory if directory else _TOP)
        try:
            stem = _stem(path.rpartition(b"/")[2])
            now_ms = self._clock_ns() // 1_000_000
            while _exists(fd, name := stem + b"~" + _when(now_ms)):
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

    def prune(self, now_s: float, max_age_s: float = MAX_AGE_S, max_versions: int = MAX_VERSIONS) -> int:
        """Remove versions that are too old or too many for their path; how many."""
        removed = 0
        if self._root.stamp(_TOP) is None:
            return removed
        oldest = _when(int((now_s - max_age_s) * 1000))
        top = self._directory(_TOP)
        try:
            for _, directories, files, fd in os.fwalk(".", topdown=False, follow_symlinks=False, dir_fd=top):
                names = [os.fsencode(name) for name in directories + files]
                removed += _prune_directory(fd, names, oldest, max_versions)
                for name in directories:
                    with suppress(OSError):  # not empty: it still holds versions
                        os.rmdir(name, dir_fd=fd)
        finally:
            os.close(top)
        return removed

    def _directory(self, path: bytes) -> int:
        try:
            return self._root.open_directory(path)
        except FileNotFoundError:
            self._root.make_directories(path, 0o700)
            return self._root.open_directory(path)


def _prune_directory(fd: int, names: list[bytes], oldest: bytes, max_versions: int) -> int:
    versions: dict[bytes, list[tuple[bytes, bytes]]] = defaultdict(list)
    for name in names:
        match = _SUFFIX.match(name)
        if match and not stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
            versions[match["stem"]].append((match["when"], name))
    removed = 0
    for kept in versions.values():
        kept.sort(reverse=True)
        for place, (when, name) in enumerate(kept):
            if place >= max_versions or when < oldest:
                os.unlink(name, dir_fd=fd)
                removed += 1
    return removed


def _stem(name: bytes) -> bytes:
    """The part of a version's name before "~": the name itself where it leaves room for the time."""
    room = MAX_NAME_BYTES - _SUFFIX_BYTES
    if len(name) <= room:
        return name
    return name[: room - 9] + b"-" + sha256(name).hexdigest()[:8].encode()


def _when(now_ms: int) -> bytes:
    moment = datetime.fromtimestamp(max(now_ms, 0) // 1000, UTC)
    return f"{moment:%Y%m%dT%H%M%S}.{now_ms % 1000:03d}".encode()


def _exists(fd: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
