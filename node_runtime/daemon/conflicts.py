"""The conflicts of a node, as a person is told of them.

What is listed comes from the index: a conflict copy is known by its name, so a restart forgets none. Those
that are held come from the edges, which meet them again in every session. How one is ended: `resolving`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from node_runtime.daemon.edge import Edge
from node_runtime.daemon.tending import Tending
from node_runtime.disk.reading import Reading
from node_runtime.errors import NodeError
from node_runtime.replica.conflict import MARK, is_conflict_copy, is_copy_of, is_cut, original_of
from node_runtime.replica.entry import Entry, Kind, Row
from node_runtime.replica.filters import BadFilter, Filters
from node_runtime.replica.path import parent, show
from node_runtime.replica.version import Order, compare
from schemas.conflicts import MAX_LISTED, Conflict, Conflicts, Content, ListConflicts
from schemas.plans import FilterRule

PAGE_ROWS = 1_000
BEGINNING_BYTES = 50  # of a long name: enough to find few others
_KINDS = {Kind.FILE: "file", Kind.DIRECTORY: "directory", Kind.SYMLINK: "symlink"}


@dataclass(frozen=True, slots=True)
class Found:
    """One conflict, with its paths as bytes."""

    conflict: Conflict
    path: bytes
    copy: bytes | None  # None: held


async def list_conflicts(
    request: ListConflicts, tendings: Mapping[str, Tending], edges: Sequence[Edge]
) -> Conflicts:
    """What a person asked to see. Raises NodeError."""
    try:
        wanted = Filters(FilterRule("exclude", pattern) for pattern in request.patterns)
    except BadFilter as error:
        raise NodeError(str(error)) from None
    listed: list[Conflict] = []
    more = 0
    for path, tending in sorted(tendings.items()):
        if not tending.is_open or (request.replicas and path not in request.replicas):
            continue
        for found in await conflicts_of(path, tending, edges):
            if not wanted.is_empty and not wanted.excludes(found.path, is_directory=False):
                continue
            if len(listed) < MAX_LISTED:
                listed.append(found.conflict)
            else:
                more += 1
    ids = {path: tending.replica.local_id for path, tending in tendings.items()}
    return Conflicts(tuple(listed), more, ids)


async def conflicts_of(path: str, tending: Tending, edges: Sequence[Edge]) -> list[Found]:
    """Every conflict that a replica sees."""
    replica = tending.replica
    against = [
        (edge, peer)
        for edge in edges
        if edge.tending is tending
        for peer in edge.seen().held_against.values()
    ]

    def look() -> list[Found]:
        return [*_copies(path, replica.reader), *_held(path, replica.reader, against)]

    return await replica.read(look)


def _copies(replica: str, index: Reading) -> Iterator[Found]:
    after = b""
    while page := index.named(MARK, after, PAGE_ROWS):
        after = page[-1].entry.path
        copies = [row.entry for row in page if _is_copy(row.entry)]
        rows = index.get(original_of(copy.path) for copy in copies)
        for copy in copies:
            path = original_of(copy.path)
            row = rows.get(path)
            if (row is None or row.entry.deleted) and is_cut(copy.path):
                row = _sibling(copy.path, index) or row
                path = row.entry.path if row is not None else path
            here = content_of(row.entry) if row is not None and not row.entry.deleted else None
            yield Found(Conflict(replica, show(path), here, content_of(copy)), path, copy.path)


def _is_copy(entry: Entry) -> bool:
    return entry.kind is not Kind.DIRECTORY and is_conflict_copy(entry.path)


def _sibling(copy: bytes, index: Reading) -> Row | None:
    """What stands under the path of which a copy has only the beginning in its name. Such names are rare."""
    directory = parent(copy)
    after = directory + b"/" if directory else b""
    beginning = original_of(copy).rpartition(b"/")[2][:BEGINNING_BYTES]
    while page := index.named(beginning, after, PAGE_ROWS):
        for row in page:
            if is_copy_of(copy, row.entry.path):
                return row
        after = page[-1].entry.path
    return None


def _held(replica: str, index: Reading, against: Sequence[tuple[Edge, Entry]]) -> Iterator[Found]:
    rows = index.get(peer.path for _, peer in against)
    for edge, peer in against:
        row = rows.get(peer.path)
        if row is None or row.entry.deleted or row.entry.same_content(peer):
            continue
        if compare(row.entry.version, peer.version) not in (Order.CONCURRENT, Order.EQUAL):
            continue
        conflict = Conflict(
            replica, show(peer.path), content_of(row.entry), content_of(peer), edge.peer, edge.plan.edge
        )
        yield Found(conflict, peer.path, None)


def content_of(entry: Entry) -> Content:
    """An entry as people are told of it."""
    return Content(
        show(entry.path),
        _KINDS[entry.kind],  # type: ignore[arg-type]  # the table has the same three
        entry.size,
        entry.mtime_ns / 1e9,
        entry.origin,
        entry.content.hex(),
        entry.version,
    )
