"""Moves: which deletes and creates of one pass are really renames.

`plan_moves` pairs local live entries that are about to be deleted with peer entries about to be created where
nothing is, by content. A directory goes whole, by one rename, if nothing in it stays behind and all of
it has its counterpart in the new place; what is left goes file by file. A move is only ever a cheaper
way to the same result: one that is skipped, or fails because a file still stands where its parent is to be,
leaves its entries to be created and deleted one by one. It knows neither disk nor index; the local
children come through a callable.

The order of the plan is the order to carry it out: a move that makes the directory another one goes into
comes first. The work is about linear in the number of entries: the first few candidates
are tried and a budget bounds all comparing, so that a hostile or odd tree costs time, never sense.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from node_runtime.replica.entry import Entry, Kind
from node_runtime.replica.path import key, parent

MAX_WITNESSES = 16  # entries below a new directory that are asked where they were before
MAX_LOOKED_AT = 256  # entries below a new directory that are looked at to find witnesses
MAX_CANDIDATES = 8  # former places tried for each witness
COMPARISONS_PER_ENTRY = 8  # budget of directory comparing, over the whole plan


@dataclass(frozen=True, slots=True)
class Move:
    """One rename: the whole directory, or one file."""

    source: bytes
    target: bytes
    directory: bool


@dataclass(frozen=True, slots=True)
class MovePlan:
    """Renames, to be carried out in this order."""

    moves: tuple[Move, ...]


def plan_moves(
    deleted: Mapping[bytes, Entry],
    created: Mapping[bytes, Entry],
    children: Callable[[bytes], Iterable[Entry]],
) -> MovePlan:
    """Pair `deleted` (local live entries) with `created` (peer entries).

    `children` gives all local live entries below a directory, at any depth.
    """
    if not deleted or not created:
        return MovePlan(())
    pairing = _Pairing(deleted, created, children)
    return MovePlan((*pairing.directories(), *pairing.files()))


def copy_order(entries: Iterable[Entry], sources: Mapping[bytes, bytes | None]) -> list[Entry]:
    """Entries in an order in which none overwrites what another is still to be copied from.

    `sources` has the local path that holds an entry's content, by the entry's path. Rotated logs need this:
    each file takes the content of the one before it. Where copies go round in a circle, one loses its source.
    """
    waiting = {entry.path: entry for entry in sorted(entries, key=lambda entry: entry.path)}
    readers = Counter(source for path in waiting if (source := sources.get(path)) is not None)
    free = deque(path for path in waiting if not readers[path])
    ordered = []
    while waiting:
        path = free.popleft() if free else next(iter(waiting))
        entry = waiting.pop(path, None)
        if entry is None:
            continue
        ordered.append(entry)
        source = sources.get(path)
        if source in waiting:
            readers[source] -= 1
            if not readers[source]:
                free.append(source)
    return ordered


class _Pairing:
    """The state of one call: what is paired already, and where content is to be found."""

    def __init__(
        self,
        deleted: Mapping[bytes, Entry],
        created: Mapping[bytes, Entry],
        children: Callable[[bytes], Iterable[Entry]],
    ) -> None:
        self._deleted = deleted
        self._created = created
        self._children = children
        self._sources: set[bytes] = set()  # deleted paths that a planned move takes along
        self._targets: set[bytes] = set()  # created paths that a planned move brings
        self._has_place_in: dict[bytes, bool] = {b"": True}
        self._by_content: dict[bytes, deque[bytes]] = {}
        self._by_name: dict[tuple[bytes, bytes], deque[bytes]] = {}
        for path in sorted(deleted, key=key):
            entry = deleted[path]
            if _is_witness(entry):
                self._by_content.setdefault(entry.content, deque()).append(path)
                self._by_name.setdefault((entry.content, _name(path)), deque()).append(path)
        self._order = sorted(created, key=key)
        self._keys = [key(path) for path in self._order]
        self._budget = COMPARISONS_PER_ENTRY * (len(deleted) + len(created))

    def directories(self) -> Iterator[Move]:
        """Whole directories, topmost first."""
        for path in self._order:
            if path in self._targets or self._created[path].kind is not Kind.DIRECTORY:
                continue
            if not self._has_place(path):
                continue
            for source in self._former_places(path):
                counterparts = self._compare(source, path)
                if counterparts is not None:
                    self._sources.update(counterparts)
                    self._targets.update(counterparts.values())
                    yield Move(source, path, directory=True)
                    break

    def files(self) -> Iterator[Move]:
        """Files one by one: first those that keep their name, then any with the same content."""
        moves = []
        wanting = [path for path in self._order if path not in self._targets]
        for by_name in (True, False):
            left = []
            for path in wanting:
                entry = self._created[path]
                if entry.kind is not Kind.FILE or not entry.size or not self._has_place(path):
                    continue
                if by_name:
                    queue = self._by_name.get((entry.content, _name(path)))
                else:
                    queue = self._by_content.get(entry.content)
                source = next(self._unpaired(queue, entry), None)
                if source is None:
                    left.append(path)
                    continue
                self._sources.add(source)
                self._targets.add(path)
                moves.append(Move(source, path, directory=False))
            wanting = left
        yield from sorted(moves, key=lambda move: key(move.target))

    def _former_places(self, directory: bytes) -> Iterator[bytes]:
        """Deleted directories that `directory` may have been: entries below it witness where they were."""
        witnesses = 0
        tried = set()
        for entry in self._below(directory):
            if not _is_witness(entry):
                continue
            rest = entry.path[len(directory) :]
            queue = self._by_name.get((entry.content, _name(entry.path)))
            for path in self._unpaired(queue, entry):
                source = path.removesuffix(rest)
                if len(source) == len(path) or source in tried or source in self._sources:
                    continue
                tried.add(source)
                former = self._deleted.get(source)
                if former is not None and former.kind is Kind.DIRECTORY:
                    yield source
            witnesses += queue is not None
            if witnesses >= MAX_WITNESSES or self._budget <= 0:
                return

    def _below(self, directory: bytes) -> Iterator[Entry]:
        prefix = key(directory) + b"\0"
        start = bisect_left(self._keys, prefix)
        for place in range(start, min(start + MAX_LOOKED_AT, len(self._keys))):
            if not self._keys[place].startswith(prefix):
                return
            yield self._created[self._order[place]]

    def _unpaired(self, queue: deque[bytes] | None, like: Entry) -> Iterator[bytes]:
        """The first few paths of a queue that no move takes yet; those taken leave the queue for good."""
        while queue and queue[0] in self._sources:
            queue.popleft()
        for path in tuple(islice(queue or (), MAX_CANDIDATES)):
            if path not in self._sources and self._deleted[path].same_content(like):
                yield path

    def _compare(self, source: bytes, target: bytes) -> dict[bytes, bytes] | None:
        """Every path of `source` with its new path, or None if the directory can't go whole."""
        counterparts = {source: target}
        for child in self._children(source):
            self._budget -= 1
            path = target + child.path[len(source) :]
            counterpart = self._created.get(path)
            if (
                self._budget <= 0
                or child.path not in self._deleted
                or child.path in self._sources
                or counterpart is None
                or path in self._targets
                or not counterpart.same_content(child)
            ):
                return None
            counterparts[child.path] = path
        return counterparts

    def _has_place(self, target: bytes) -> bool:
        """Whether no directory above `target` is about to be deleted; a rename into itself can't be done."""
        unknown = []
        above = parent(target)
        while above not in self._has_place_in:
            unknown.append(above)
            above = parent(above)
        verdict = self._has_place_in[above]
        for directory in reversed(unknown):
            verdict = verdict and directory not in self._deleted
            self._has_place_in[directory] = verdict
        return verdict


def _is_witness(entry: Entry) -> bool:
    """Whether equal content means anything: all empty files and all directories have the same."""
    return entry.kind is Kind.SYMLINK or (entry.kind is Kind.FILE and entry.size > 0)


def _name(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]
