"""Ending a conflict as a person wants it.

It is an ordinary edit of this replica, made in its worker thread: it replicates like any other, and what it
takes away goes to the kept versions. The disk is looked at first, and only what the person was shown is
decided: where either content has changed since, nothing is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from node_runtime.daemon.conflicts import Found, conflicts_of, content_of
from node_runtime.daemon.edge import Edge
from node_runtime.daemon.replica import Replica
from node_runtime.daemon.tending import Tending
from node_runtime.disk.applier import NOT_EMPTY, Applied, Outcome
from node_runtime.errors import NodeError
from node_runtime.replica.conflict import ordinary_name
from node_runtime.replica.entry import Entry, Row
from node_runtime.replica.path import show, unsafe_because
from node_runtime.replica.version import EMPTY, Vector, bump, is_valid, join
from schemas.conflicts import Conflict, Content, Keep, ResolveConflict, Resolved


async def resolve(
    request: ResolveConflict, tendings: Mapping[str, Tending], edges: Sequence[Edge]
) -> Resolved:
    """End a conflict on this node. Raises NodeError, with nothing done, where that can't be."""
    asked = request.conflict
    tending = tendings.get(asked.replica)
    if tending is None or not tending.is_open:
        raise NodeError(f"{asked.replica} is no replica of this node, or can't be opened; see its status")
    replica = tending.replica
    held = asked.peer != ""
    if held != (request.keep == "here"):
        raise NodeError(
            "a held conflict ends by naming the node whose content stays; one with a copy doesn't"
        )
    if not all(is_valid(version) for version in request.over):
        raise NodeError("the versions that are to give way aren't versions")
    listed = await conflicts_of(asked.replica, tending, edges)
    path, copy = _paths(asked, listed)
    moved_to = await replica.work(_Resolution(replica, request, path, copy).carry_out)
    replica.notify()
    if held:
        for edge in edges:
            if edge.tending is tending:
                edge.settled(path)
    return Resolved(moved_to)


def _paths(asked: Conflict, listed: Sequence[Found]) -> tuple[bytes, bytes | None]:
    """The paths that are meant, of the file and of its copy, whatever they hold by now."""
    for found in listed:
        there = found.conflict
        alike = bool(asked.peer) if there.peer else there.other.path == asked.other.path
        if there.path == asked.path and alike:
            return found.path, found.copy
    path = asked.path.encode()
    if asked.peer and show(path) == asked.path and unsafe_because(path) is None:
        return path, None  # only its peer holds back: entries don't flow this way
    raise NodeError(f"there is no such conflict at {asked.path} any more; list them again")


class _Resolution:
    """One conflict being ended, in the replica's worker thread."""

    def __init__(self, replica: Replica, request: ResolveConflict, path: bytes, copy: bytes | None) -> None:
        """`copy` is None where the conflict is held."""
        self._replica = replica
        self._asked = request.conflict
        self._over = request.over
        self._path = path
        self._copy = copy
        self._now_s = int(time.time())
        self._by_keep: dict[Keep, Callable[[], str]] = {
            "winner": self._keep_winner,
            "copy": self._keep_copy,
            "both": self._keep_both,
            "here": self._keep_here,
        }
        self._carry_out = self._by_keep[request.keep]

    def carry_out(self) -> str:
        """Look at the disk, then do it. Returns the copy's new name, if it gets one."""
        self._replica.root.check()
        paths = [self._path] if self._copy is None else [self._path, self._copy]
        problems = dict(self._replica.scan_now(paths).problems)
        for path in paths:
            if path in problems:
                raise NodeError(f"{show(path)} can't be read: {problems[path]}")
        self._rows = self._replica.index.get(paths)
        self._expect(self._path, self._asked.here)
        if self._copy is not None:
            self._expect(self._copy, self._asked.other)
        moved_to = self._carry_out()
        self._replica.settle()
        return moved_to

    def _expect(self, path: bytes, listed: Content | None) -> None:
        row = self._rows.get(path)
        now = row.entry if row is not None and not row.entry.deleted else None
        if (now and content_of(now).content) != (listed and listed.content):
            raise NodeError(f"{show(path)} has changed since it was listed; list the conflicts again")

    def _keep_winner(self) -> str:
        if self._asked.here is None:
            raise NodeError(
                f"{show(self._path)} was deleted since, and the copy is all that is left: keep the copy,"
                " or delete it yourself"
            )
        assert self._copy is not None
        copy = self._rows[self._copy]
        tombstone = self._gone(copy.entry)
        self._done(self._replica.applier.remove(tombstone, copy), self._copy)
        self._replica.index.put([Row(tombstone, None)])
        return ""

    def _keep_copy(self) -> str:
        self._move_copy(self._path)
        return ""

    def _keep_both(self) -> str:
        assert self._copy is not None
        name = ordinary_name(self._copy)
        there = self._replica.index.get([name]).get(name)
        if there is not None and not there.entry.deleted:
            raise NodeError(f"{show(name)} is there already; rename it, or rename the copy yourself")
        self._move_copy(name)
        return show(name)

    def _move_copy(self, target: bytes) -> None:
        """Rename the copy. What stands at the target goes to the kept versions."""
        assert self._copy is not None
        copy = self._rows[self._copy]
        there = self._replica.index.get([target]).get(target)
        version = self._next(there)
        entry = replace(
            copy.entry, path=target, version=version, metadata_version=version, origin=self._replica.node
        )
        row = self._done(self._replica.applier.move(entry, copy, there), target)
        self._replica.index.put([row, Row(self._gone(copy.entry), None)])

    def _keep_here(self) -> str:
        """Our content knows of the others from now on, so it replaces them: into the kept versions there."""
        row = self._rows[self._path]
        version = row.entry.version
        for other in self._over:
            version = join(version, other)
        version = bump(version, self._replica.local_id, self._now_s)
        entry = replace(
            row.entry, version=version, metadata_version=join(row.entry.metadata_version, version)
        )
        self._replica.index.put([Row(entry, row.stamp)])
        return ""

    def _next(self, row: Row | None) -> Vector:
        before = row.entry.metadata_version if row is not None else EMPTY
        return bump(before, self._replica.local_id, self._now_s)

    def _gone(self, entry: Entry) -> Entry:
        version = bump(entry.metadata_version, self._replica.local_id, self._now_s)
        return Entry(
            entry.path, entry.kind, True, 0, time.time_ns(), 0, b"", version, version, self._replica.node
        )

    def _done(self, applied: Applied, path: bytes) -> Row:
        if applied.outcome is Outcome.MOVED:
            raise NodeError(f"{show(path)} is being changed just now ({applied.reason}); try again")
        if applied.row is None:
            reason = applied.reason
            if reason == NOT_EMPTY:
                reason = "it is a directory that isn't empty; move what is in it first"
            raise NodeError(f"{show(path)} can't be changed: {reason}")
        return applied.row
