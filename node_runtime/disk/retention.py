"""Which kept versions go, and when.

`judge` is the rule, for one path; `prune` carries it out over a whole store, a directory at a time, so that
the caller can do other work in between. It needs no memory for a store's paths: the second walk, which only
a size limit makes necessary, knows from the first one up to which hour the oldest versions have to go.

Read next: `versions` (names), `restore`.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from node_runtime.disk.root import GONE, Root
from node_runtime.disk.versions import History, Kept, look, stem_of, stored
from node_runtime.replica.path import parent
from schemas.plans import RetentionPlan

GRACE_S = 3600.0  # nothing goes sooner: an operation or a restore may be using it, a person may want it back
_HOUR_MS = 3_600_000

GoneSince = Callable[[bytes], float | None]  # when a path was found to be deleted, if that is known


def _unknown(path: bytes) -> float | None:
    return None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a path's versions. What is in neither list stays in any case."""

    expired: list[Kept]  # go
    spare: list[Kept]  # may go for want of room; the oldest first


def judge(
    versions: Sequence[Kept],
    *,
    live: bool,
    retention: RetentionPlan,
    now_s: float,
    gone_s: float | None = None,
) -> Verdict:
    """The rule. `versions` are the newest first; `live` says that the path has content now.

    A live path keeps its newest `versions`. A deleted path keeps the content that it had, and the `versions`
    before, until `deleted` has passed since: and that content not even the size limit takes. The first
    hour nothing is taken at all.
    """
    old = [kept for kept in versions if now_s - kept.when_ms / 1000 >= GRACE_S]
    young = len(versions) - len(old)
    if live:
        limit = retention.versions
        return Verdict(old[max(limit - young, 0) :], old[: max(limit - young, 0)][::-1])
    since_s = max(versions[0].when_ms / 1000, gone_s or 0.0)
    if now_s - since_s >= retention.deleted_s:
        return Verdict(old, [])
    limit = max(retention.versions + 1 - young, 0)
    last = 0 if young else 1  # the content that the path had when it was deleted
    return Verdict(old[max(limit, last) :], old[last : max(limit, last)][::-1])


@dataclass(slots=True)
class Pruned:
    """What came of it."""

    removed: int = 0
    kept_bytes: int = 0
    over_bytes: int = 0  # above the limit all the same, since the rest has to stay


@dataclass(slots=True)
class _Room:
    """What the first walk found out about what may go for want of room."""

    spare_bytes: Counter[int] = field(default_factory=Counter)  # by the hour in which it was put aside
    last_hour: int = -1  # up to this one what is spare goes
    wanted_bytes: int = 0  # of that last hour

    def make(self, excess_bytes: int) -> None:
        """Decide how far back the oldest go."""
        for hour in sorted(self.spare_bytes):
            if excess_bytes <= 0:
                return
            self.last_hour, self.wanted_bytes = hour, excess_bytes
            excess_bytes -= self.spare_bytes[hour]


def prune(
    root: Root,
    retention: RetentionPlan,
    now_s: float,
    pruned: Pruned,
    gone_since: GoneSince = _unknown,
) -> Iterator[None]:
    """Remove what may go, adding up in `pruned`; yields after each directory."""
    room = _Room()
    for directory, own in _directories(root):
        for history in own:
            verdict = _verdict(root, history, retention, now_s, gone_since)
            _remove(root, directory, verdict.expired, pruned)
            gone = set(verdict.expired)
            pruned.kept_bytes += sum(kept.disk_bytes for kept in history.versions if kept not in gone)
            for kept in verdict.spare:
                room.spare_bytes[kept.when_ms // _HOUR_MS] += kept.disk_bytes
        _tidy(root, directory)
        yield
    if retention.size_bytes is None or pruned.kept_bytes <= retention.size_bytes:
        return
    room.make(pruned.kept_bytes - retention.size_bytes)
    for directory, own in _directories(root):
        for history in own:
            spare = _verdict(root, history, retention, now_s, gone_since).spare
            going = [kept for kept in spare if _is_wanted(kept, room)]
            _remove(root, directory, going, pruned)
            pruned.kept_bytes -= sum(kept.disk_bytes for kept in going)
        _tidy(root, directory)
        yield
    pruned.over_bytes = max(pruned.kept_bytes - retention.size_bytes, 0)


def _is_wanted(kept: Kept, room: _Room) -> bool:
    """Whether the room of a spare version is needed."""
    hour = kept.when_ms // _HOUR_MS
    if hour == room.last_hour and room.wanted_bytes > 0:
        room.wanted_bytes -= kept.disk_bytes
        return True
    return hour < room.last_hour


def _directories(root: Root) -> Iterator[tuple[bytes, list[History]]]:
    waiting = [b""]
    while waiting:
        directory = waiting.pop()
        own, below = look(root, directory)
        waiting += below
        yield directory, own


def _verdict(
    root: Root, history: History, retention: RetentionPlan, now_s: float, gone_since: GoneSince
) -> Verdict:
    live = _is_live(root, history)
    gone_s = None if live else gone_since(history.path)
    return judge(history.versions, live=live, retention=retention, now_s=now_s, gone_s=gone_s)


def _is_live(root: Root, history: History) -> bool:
    """Whether a file or link stands at the path; a directory has taken a file's place."""
    try:
        if history.is_cut:
            return _has_cut_name(root, history.path)
        return not stat.S_ISDIR(root.lstat(history.path).st_mode)
    except OSError as error:
        if error.errno in GONE:
            return False
        raise


def _has_cut_name(root: Root, path: bytes) -> bool:
    fd = root.open_directory(parent(path))
    try:
        return any(stem_of(os.fsencode(name)) == path.rpartition(b"/")[2] for name in os.listdir(fd))
    finally:
        os.close(fd)


def _remove(root: Root, directory: bytes, versions: Sequence[Kept], pruned: Pruned) -> None:
    if not versions:
        return
    fd = root.open_directory(stored(directory))
    try:
        for kept in versions:
            with suppress(FileNotFoundError):  # removed by hand
                os.unlink(kept.name, dir_fd=fd)
                pruned.removed += 1
    finally:
        os.close(fd)


def _tidy(root: Root, directory: bytes) -> None:
    """Take an empty directory away, and those above it that it leaves empty."""
    with suppress(OSError):  # not empty: it still holds versions
        while directory:
            with root.parent(stored(directory)) as (fd, name):
                os.rmdir(name, dir_fd=fd)
            directory = parent(directory)
