"""The taking end: carries out a peer's entries on the local replica. Runs in the replica's worker thread.

Every decision is made by `replica.reconcile` at the moment it is carried out, against the row that is
in the index then, so nothing that happened in between is overlooked; the applier looks at the disk once
more, and where that has moved on the path is scanned and decided anew.

An entry that needs content that isn't here is handed back to be fetched. Deletes, and entries whose
content is here under another name, are handed back to wait until the peer's whole offer is known:
together they may be a rename. Deletes come last of all, so a copy can still be made from what is about
to go.
"""

from __future__ import annotations

import enum
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from node_runtime.daemon.changing import Changing, Supply
from node_runtime.daemon.counts import Counts
from node_runtime.daemon.holding import withheld
from node_runtime.daemon.replica import ROOT, Replica
from node_runtime.disk.applier import NOT_EMPTY, Applied, Arrived, Outcome
from node_runtime.disk.detect import RACY_NS
from node_runtime.disk.staging import Staged
from node_runtime.exchange.messages import BLOCK_BYTES
from node_runtime.replica.entry import Entry, Kind, Row
from node_runtime.replica.filters import Filters
from node_runtime.replica.guard import Guard, change_of
from node_runtime.replica.moves import Move, copy_order, plan_moves
from node_runtime.replica.path import parent, unsafe_because
from node_runtime.replica.reconcile import Action, Decision, Rules, check_peer_entry, reassert, reconcile

TRIES = 3  # decisions anew after the disk moved on
FRESH_S = RACY_NS / 1e9  # how a path looks can't be trusted within a tick of its last change
MAX_DELTA_BYTES = 2**40  # so that the list of a file's chunks fits into memory
DELTA_BYTES = 256 * 1024  # of a smaller file, all is fetched: a list of its chunks would save little
PUT_ROWS = 1_000  # rows that wait for one index transaction


class Step(enum.Enum):
    """What became of one entry."""

    DONE = "done"  # carried out, needless, held or failed: nothing more to do now
    FETCH = "fetch"  # its content must be fetched
    DEFER = "defer"  # it may be part of a rename: wait for the rest of the offer


class BadEntry(Exception):
    """The peer sent an entry that no honest peer sends. The session ends."""


@dataclass(frozen=True, slots=True)
class Fetchable:
    """An entry whose content isn't here."""

    entry: Entry
    offset: int  # how many of its bytes an earlier try left here
    older: bool  # whether an older version of it is here, of which parts may be the same


@dataclass(slots=True)
class Sorted:
    """A batch of entries after a first look: how it goes on for those that aren't done."""

    fetch: list[Fetchable] = field(default_factory=list)
    deferred: list[Entry] = field(default_factory=list)
    last: list[Entry] = field(default_factory=list)  # take a directory away: what is in it must go before


class Target:
    """Carries out entries for one edge."""

    def __init__(
        self, replica: Replica, rules: Rules, filters: Filters, peer_id: int, guard: Guard, *, dry_run: bool
    ) -> None:
        self.counts = Counts()
        self.unblocked: deque[bytes] = deque()  # failed before their directory was there: ask again
        self._replica = replica
        self._index = replica.index
        self._applier = replica.applier
        self._rules = rules
        self._filters = filters
        self._peer_id = peer_id
        self._dry_run = dry_run
        self._guard = guard
        self._rows: dict[bytes, Row] = {}  # decided, not yet in the index
        self._ahead: dict[bytes, Row | None] = {}  # what the index says, as far as it was read ahead
        self._stubborn: dict[bytes, Entry] = {}  # deletions of directories that weren't empty yet
        self._unsynced = False
        self._waiting: dict[bytes, Entry] = {}  # deferred directories: made early where a child can't wait
        self._changing = Changing(replica, rules.local_id, self._rows, self.counts, dry_run=dry_run)

    def consider(self, entries: Sequence[Entry]) -> Sorted:
        """Look at entries as they come. Raises BadEntry."""
        self._replica.root.check()
        result = Sorted()
        rows = self._index.get(entry.path for entry in entries)
        unlike = [e for e in entries if e.path not in rows or not rows[e.path].entry.same_content(e)]
        wanted = [entry.content for entry in unlike if entry.kind is Kind.FILE and entry.size]
        here = self._index.holding(wanted)
        for entry in entries:
            self._check(entry)
            if self._filters.excludes(entry.path, entry.kind is Kind.DIRECTORY):
                continue
            row = self._rows.get(entry.path) or rows.get(entry.path)
            decision = self._decide(row, entry)
            step = self._first_step(decision, here)
            guarded = self._guard.on and change_of(row, decision) is not None
            if guarded or _replaces_directory(row, entry):
                step = Step.DEFER  # what is lost by it is counted once the offer is whole
            if step is Step.DONE:
                step = self._carry_out(entry, None, (row, decision))
            if step is Step.DEFER and entry.kind is Kind.DIRECTORY and not (entry.deleted or guarded):
                self._waiting[entry.path] = entry
            if step is Step.FETCH:
                result.fetch.append(self._fetchable(entry, row))
            elif step is Step.DEFER:
                (result.last if _takes_directory(row, entry) else result.deferred).append(entry)
        self.flush()
        return result

    def settle(self, deferred: Sequence[Entry]) -> list[Fetchable]:
        """The peer's offer is whole: carry out renames, copies and deletes. Returns what must be fetched."""
        self._replica.root.check()
        latest = self._stubborn | {entry.path: entry for entry in deferred}
        self._stubborn = {}
        rows = self._index.get(latest)
        deleted: dict[bytes, Entry] = {}
        created: dict[bytes, Entry] = {}
        for path, entry in latest.items():
            row = rows.get(path)
            decision = self._decide(row, entry)
            if decision.action is Action.DELETE and row is not None:
                deleted[path] = row.entry
            elif decision.action is Action.CREATE and not decision.keep_aside:
                created[path] = decision.entry
        for move in plan_moves(deleted, created, self._live_below).moves:
            self._move(move, latest)
        for path in withheld(self._guard, latest, self._index, self._decide):
            del latest[path]
        here = self._index.holding([e.content for e in latest.values() if e.kind is Kind.FILE and e.size])
        self._waiting.clear()
        fetch = []
        creations = [e for e in latest.values() if not e.deleted]
        deletions = sorted((e for e in latest.values() if e.deleted), key=lambda e: e.path, reverse=True)
        sources = {e.path: next((p for p in here.get(e.content, ()) if p != e.path), None) for e in creations}
        # What was in a directory goes before something else takes the directory's name.
        late = {path for path in sources if _replaces_directory(rows.get(path), latest[path])}
        for entry in copy_order([e for e in creations if e.path not in late], sources):
            if self._carry_out(entry, sources[entry.path]) is not Step.DONE:
                fetch.append(self._fetchable(entry, rows.get(entry.path)))
        for entry in deletions:
            self._carry_out(entry, None)
        for path in late:
            if self._carry_out(latest[path], None) is not Step.DONE:
                fetch.append(self._fetchable(latest[path], rows.get(path)))
        self.flush()
        return fetch

    def look_ahead(self, paths: Iterable[bytes]) -> None:
        """Read the rows of what `place` is about to be called for at once, until the next `flush`."""
        wanted = list(paths)
        self._ahead = {**dict.fromkeys(wanted), **self._index.get(wanted)}

    def place(self, entries: Sequence[Entry], arrived: Arrived) -> None:
        """Content has arrived: the first entry takes it, the others copy. The caller flushes."""
        supply: Supply = arrived
        for entry in entries:
            self._make_way(entry.path)
            if self._carry_out(entry, supply) is Step.FETCH:
                self.counts.failed[entry.path] = "the copy beside it changed; it is fetched again later"
            row = self._rows.get(entry.path)
            if supply is arrived and row is not None and row.entry.same_content(entry):
                supply = entry.path
                if len(entries) > 1:
                    self.flush()  # the index must not say that the old content is still there
        if isinstance(arrived, Staged):
            self._replica.staging.discard(arrived)  # still there only where no entry took it

    def unfinished(self) -> list[bytes]:
        """Paths that were handled and aren't as the peer has them: to be asked for again. From any thread."""
        failed = (path for path in list(self.counts.failed) if path != ROOT)
        return [*failed, *self.counts.held, *list(self._stubborn)]

    def take_unsynced(self) -> bool:
        """Whether anything was applied since this was asked last."""
        unsynced, self._unsynced = self._unsynced, False
        return unsynced

    def flush(self) -> None:
        """Put what was decided into the index."""
        if self._rows and not self._dry_run:
            self._index.put(list(self._rows.values()))
            self._replica.notify()
        self._rows.clear()
        self._ahead.clear()

    # One entry.

    def _fetchable(self, entry: Entry, row: Row | None) -> Fetchable:
        offset = self._replica.staging.have(entry.content) if entry.size > BLOCK_BYTES else 0
        here = row.entry.size if row is not None and row.entry.kind is Kind.FILE else 0
        return Fetchable(
            entry, offset, min(entry.size, here) >= DELTA_BYTES and entry.size <= MAX_DELTA_BYTES
        )

    def _check(self, entry: Entry) -> None:
        never_known = entry.deleted and not entry.version
        reason = unsafe_because(entry.path) if never_known else check_peer_entry(entry)
        if reason is not None:
            raise BadEntry(f"the peer sent an entry that is refused: {reason}")

    def _decide(self, row: Row | None, peer: Entry) -> Decision:
        return reconcile(row.entry if row else None, peer, self._rules, int(time.time()))

    def _first_step(self, decision: Decision, here: dict[bytes, list[bytes]]) -> Step:
        """What may happen before the peer's offer is whole. A new directory waits, with all in it that needs
        no content from the peer, since it may turn out to be an old one under a new name."""
        entry = decision.entry
        if decision.action is Action.DELETE:
            return Step.DEFER
        if decision.action not in (Action.CREATE, Action.UPDATE):
            return Step.DONE
        if entry.kind is Kind.DIRECTORY:
            return Step.DEFER if decision.action is Action.CREATE else Step.DONE
        if entry.kind is Kind.SYMLINK or not entry.size:
            return Step.DEFER if parent(entry.path) in self._waiting else Step.DONE
        if any(path != entry.path for path in here.get(entry.content, ())):
            return Step.DEFER
        return Step.DONE if self._dry_run else Step.FETCH

    def _make_way(self, path: bytes) -> None:
        """Make the directories above `path` that were put off, outermost first."""
        above = parent(path)
        if above in self._waiting:
            self._make_way(above)
            self._carry_out(self._waiting.pop(above), None)

    def _carry_out(
        self, peer: Entry, supply: Supply, known: tuple[Row | None, Decision] | None = None
    ) -> Step:
        """Decide and do, anew while the disk moves on under it."""
        for _ in range(TRIES):
            if known is not None:
                row, decision = known
                known = None
            else:
                row = self._row(peer.path)
                decision = self._decide(row, peer)
            if decision.action is Action.NOTHING:
                return self._over(peer)
            if decision.action is Action.HOLD:
                self.counts.hold(peer)
                return Step.DONE
            if decision.action is Action.MERGE:
                self._keep(Row(decision.entry, row.stamp if row else None), decision)
                return self._over(peer)
            if supply is None and _needs_content(decision):
                if not self._dry_run:
                    return Step.FETCH
                self.counts.bytes_on_wire += decision.entry.size
            applied = self._changing.apply(decision, row, supply)
            self._unsynced = True
            if applied.outcome is Outcome.MOVED:
                self.flush()
                if row is not None and _is_fresh(row):
                    time.sleep(FRESH_S)
                self._replica.scan_now([peer.path])
                continue
            if applied.outcome is Outcome.FAILED and isinstance(supply, bytes):
                return Step.FETCH  # the local copy has moved on, as in a swap of two names
            if applied.outcome is Outcome.FAILED:
                return self._failed(peer, row, applied)
            self.counts.note(decision)
            assert applied.row is not None, "an applied entry has a row"
            self._keep(applied.row, decision)
            return self._over(peer)
        self.counts.failed[peer.path] = "it keeps changing here; it is tried again later"
        return Step.DONE

    def _row(self, path: bytes) -> Row | None:
        if path in self._rows:
            return self._rows[path]
        return self._ahead[path] if path in self._ahead else self._index.get([path]).get(path)

    def _over(self, peer: Entry) -> Step:
        failed = self.counts.failed
        failed.pop(peer.path, None)
        self._guard.release(peer.path)
        if failed and peer.kind is Kind.DIRECTORY and not peer.deleted:
            below = peer.path + b"/"
            self.unblocked.extend(path for path in failed if path.startswith(below))
        self.counts.settled(peer.path)
        return Step.DONE

    def _keep(self, row: Row, decision: Decision) -> None:
        # A mirror holds what its source does, under whatever vector: nothing to ask the source about.
        learned_from = self._peer_id if decision.learned_exactly or self._rules.mirrors else 0
        self._rows[row.entry.path] = Row(row.entry, row.stamp, learned_from)
        if len(self._rows) >= PUT_ROWS:
            self.flush()

    def _failed(self, peer: Entry, row: Row | None, applied: Applied) -> Step:
        if row is not None and row.entry.kind is Kind.DIRECTORY and applied.reason == NOT_EMPTY:
            if self._rules.mirrors:
                self._stubborn[peer.path] = peer  # what is in it goes first, once the source disowns it
            else:
                # Something unknown lives in it: the directory stays, and the peer learns that it does.
                kept = reassert(row.entry, peer, self._rules.local_id, int(time.time()))
                if kept != row.entry:
                    self._rows[peer.path] = Row(kept, row.stamp)
                return Step.DONE
        self.counts.failed[peer.path] = applied.reason
        return Step.DONE

    # Renames.

    def _live_below(self, directory: bytes) -> Iterable[Entry]:
        return (row.entry for row in self._index.walk(directory) if not row.entry.deleted)

    def _move(self, move: Move, latest: dict[bytes, Entry]) -> None:
        """One rename(2), and the rows of all that it moved. What doesn't go as planned is left to be created
        and deleted one by one."""
        if self._dry_run:
            self.counts.renamed += 1
            self.counts.plan_rename(move.source, move.target)
            below = tuple(path + b"/" for path in (move.source, move.target))
            for path in [p for p in latest if p in (move.source, move.target) or p.startswith(below)]:
                del latest[path]
            return
        if move.directory:
            own = self._index.get([move.source]).get(move.source)
            inside = [row for row in self._index.walk(move.source) if not row.entry.deleted]
            if own is None or self._applier.move_tree(move.source, move.target).outcome is not Outcome.DONE:
                return
            moved = [(row, move.target + row.entry.path[len(move.source) :]) for row in [own, *inside]]
        else:
            row = self._index.get([move.source]).get(move.source)
            target = latest.get(move.target)
            if row is None or target is None:
                return
            expected = self._index.get([move.target]).get(move.target)
            here = expected if expected is not None and not expected.entry.deleted else None
            entry = self._decide(expected, target).entry
            applied = self._applier.move(entry, row, here)
            if applied.row is None:
                return
            moved = [(Row(row.entry, applied.row.stamp), move.target)]
        self.counts.renamed += 1
        self._record_moved(moved, latest)

    def _record_moved(self, moved: list[tuple[Row, bytes]], latest: dict[bytes, Entry]) -> None:
        """Give every path that a rename moved its tombstone, and its row under the new name.

        The new row takes over how the path looked when its content was read, so that an edit that came
        before the rename is seen as one.
        """
        restless = []
        rows = self._index.get(path for before, target in moved for path in (before.entry.path, target))
        for before, target in moved:
            for path in (before.entry.path, target):
                peer = latest.pop(path, None)
                if peer is None:
                    continue
                decision = self._decide(rows.get(path), peer)
                if decision.entry.deleted:
                    self._keep(Row(decision.entry, None), decision)
                    continue
                now = Row(decision.entry, before.stamp)
                applied = self._applier.set_metadata(decision.entry, now)
                if applied.row is None:
                    restless.append(path)
                self._keep(applied.row or now, decision)
        self.flush()
        if restless:
            self._replica.scan_now(restless)


def _is_fresh(row: Row) -> bool:
    """Whether a path was read so soon after a change that its look is recorded as one it can't have."""
    return row.stamp is not None and row.entry.kind is not Kind.DIRECTORY and not row.stamp.ctime_ns


def _takes_directory(row: Row | None, peer: Entry) -> bool:
    if row is None or row.entry.deleted or row.entry.kind is not Kind.DIRECTORY:
        return False
    return peer.deleted or peer.kind is not Kind.DIRECTORY


def _replaces_directory(row: Row | None, peer: Entry) -> bool:
    return _takes_directory(row, peer) and not peer.deleted


def _needs_content(decision: Decision) -> bool:
    creates = decision.action in (Action.CREATE, Action.UPDATE)
    return creates and decision.entry.kind is Kind.FILE and decision.entry.size > 0
