"""A fleet in memory: replicas, edges, meetings, faults. Carries out `reconcile`'s decisions on dictionaries.

It models what a tree forces on everybody (a file's parent is a directory, a directory that isn't empty
can't go), what the index adds (change numbers, cursors, entries not echoed to whom they came from) and
what goes wrong (meetings cut short, entries sent again, indexes lost). It keeps the account that the laws
are held against: which content users wrote, which they knowingly gave up, which was overwritten.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from node_runtime.replica.conflict import is_conflict_copy
from node_runtime.replica.entry import Entry, Kind
from node_runtime.replica.path import key, parent
from node_runtime.replica.reconcile import Action, Decision, Rules, check_peer_entry, reassert, reconcile
from node_runtime.replica.version import EMPTY, Order, bump, compare, replica_id
from schemas.plans import ConflictPlan, Deletes, TargetChanges

KEEP_BOTH = ConflictPlan()


@dataclass(slots=True)
class Record:
    """One entry in a replica's index."""

    entry: Entry
    seq: int
    learned_from: int


@dataclass(slots=True)
class Account:
    """What became of the content of users, fleet-wide."""

    written: set[bytes] = field(default_factory=set)
    given_up: set[bytes] = field(default_factory=set)  # a user overwrote or deleted it, having it in hand
    kept: set[bytes] = field(default_factory=set)  # overwritten by a peer: in some replica's kept versions
    copies: list[tuple[Entry, Entry]] = field(default_factory=list)  # the two sides of every conflict copy


class Replica:
    """One tree and its index. A live entry is on the disk; `hidden` are children that filters exclude."""

    def __init__(self, node: str, account: Account) -> None:
        self.node = node
        self.id = replica_id(node, "/tree")
        self.account = account
        self.index_id = 1
        self.records: dict[bytes, Record] = {}
        self.hidden: set[bytes] = set()
        self._seq = 0

    # What users do.

    def write(self, path: bytes, content: bytes, now_s: int, kind: Kind = Kind.FILE) -> None:
        """Create or overwrite a file or symlink, whose content no other file has."""
        if not self._may_be_made(path):
            return
        old = self.live(path)
        if old is not None:
            if old.kind is Kind.DIRECTORY:
                return
            self.account.given_up.add(old.content)
        self._make_parents(path, now_s)
        self.account.written.add(content)
        mode = 0 if kind is Kind.SYMLINK else 0o644
        size = 1 if kind is Kind.FILE else 0
        self._edit(path, now_s, kind=kind, mode=mode, size=size, content=content)

    def make_directory(self, path: bytes, now_s: int) -> None:
        """mkdir -p, unless something is there."""
        if self._may_be_made(path) and self.live(path) is None:
            self._make_parents(path, now_s)
            self._edit(path, now_s, kind=Kind.DIRECTORY, mode=0o755)

    def remove(self, path: bytes, now_s: int) -> None:
        """rm -r, by somebody who sees what is in it."""
        if self.live(path) is None or any(h.startswith(path + b"/") for h in self.hidden):
            return
        for entry in [*self.below(path), self.live(path)]:
            assert entry is not None
            self.account.given_up.add(entry.content)
            self._edit(entry.path, now_s, kind=entry.kind, deleted=True)

    def rename(self, source: bytes, target: bytes, now_s: int) -> None:
        """mv, to a name that is free. Content stays written: it lives on under the new name."""
        moved = self.live(source)
        if moved is None or self.live(target) is not None or target.startswith(source + b"/"):
            return
        if not self._may_be_made(target) or any(h.startswith(source + b"/") for h in self.hidden):
            return
        self._make_parents(target, now_s)
        for entry in [moved, *self.below(source)]:
            path = target + entry.path[len(source) :]
            self._edit(path, now_s, kind=entry.kind, mode=entry.mode, size=entry.size, content=entry.content)
        for entry in [*self.below(source), moved]:
            self._edit(entry.path, now_s, kind=entry.kind, deleted=True)

    def chmod(self, path: bytes, mode: int, now_s: int) -> None:
        """A metadata edit: mode, and a modification time that goes backwards."""
        entry = self.live(path)
        if entry is None or entry.kind is Kind.SYMLINK:
            return
        mtime_ns = entry.mtime_ns if entry.kind is Kind.DIRECTORY else entry.mtime_ns - mode
        version = bump(entry.metadata_version, self.id, now_s)
        self.put(msgspec.structs.replace(entry, mode=mode, mtime_ns=mtime_ns, metadata_version=version), 0)

    def lose_index(self, now_s: int) -> None:
        """The index is gone; a scan of the tree makes another one, which knows no history."""
        live = [record.entry for record in self.records.values() if not record.entry.deleted]
        self.records.clear()
        self._seq = 0
        self.index_id += 1
        for entry in live:
            version = bump(EMPTY, self.id, now_s)
            fresh = msgspec.structs.replace(
                entry, version=version, metadata_version=version, origin=self.node
            )
            self.put(fresh, 0)

    # What the index and the tree say.

    def live(self, path: bytes) -> Entry | None:
        record = self.records.get(path)
        return record.entry if record is not None and not record.entry.deleted else None

    def entry(self, path: bytes) -> Entry | None:
        record = self.records.get(path)
        return record.entry if record is not None else None

    def below(self, path: bytes) -> list[Entry]:
        """The live entries under a directory, deepest first."""
        prefix = path + b"/"
        found = [r.entry for p, r in self.records.items() if p.startswith(prefix) and not r.entry.deleted]
        return sorted(found, key=lambda entry: entry.path, reverse=True)

    def tree(self) -> dict[bytes, tuple[Kind, bytes, int]]:
        """What a user sees: path → kind, content, mode."""
        return {
            p: (r.entry.kind, r.entry.content, r.entry.mode)
            for p, r in sorted(self.records.items())
            if not r.entry.deleted
        }

    def index(self) -> dict[bytes, Entry]:
        """Every row, tombstones and vectors included."""
        return {path: record.entry for path, record in sorted(self.records.items())}

    def changes(self, after_seq: int) -> list[Record]:
        found = [record for record in self.records.values() if record.seq > after_seq]
        return sorted(found, key=lambda record: record.seq)

    def put(self, entry: Entry, learned_from: int) -> None:
        self._seq += 1
        self.records[entry.path] = Record(entry, self._seq, learned_from)

    @property
    def max_seq(self) -> int:
        return self._seq

    # What peers' entries do.

    def take(self, peer: Entry, peer_id: int, rules: Rules, now_s: int, whole: bool) -> bool:
        """Reconcile one entry and carry the decision out. False: try again later.

        `whole` says that nothing else of this meeting is to come, so a directory that can't go now never can.
        """
        assert not peer.version or check_peer_entry(peer) is None, check_peer_entry(peer)
        local = self.entry(peer.path)
        decision = reconcile(local, peer, rules, now_s)
        result = decision.entry
        if decision.action in (Action.NOTHING, Action.HOLD):
            assert local is None or result == local
            return True
        if decision.action in (Action.CREATE, Action.UPDATE):
            if not self._may_be_made(peer.path):
                return False
            if parent(peer.path) and self.live(parent(peer.path)) is None:
                # Made up here, the parent would be an edit with a mode nobody chose. The peer's own is on its
                # way, or comes back when the peer finds that it can't delete it, where it hears of that.
                if not whole or (
                    rules.deletes == "propagate" and not (rules.one_way and rules.target_changes == "keep")
                ):
                    return False
                self._make_parents(peer.path, now_s)
        goes = decision.action is Action.DELETE or (
            decision.action is Action.UPDATE and result.kind is not Kind.DIRECTORY
        )
        if goes and local is not None and local.kind is Kind.DIRECTORY and self._is_occupied(peer.path):
            if not whole or rules.mirrors:
                return False  # a mirror has no say: it tries again until the children are gone
            self._stay(local, peer, now_s)
            return True
        self._overwrite(local, peer, decision, now_s)
        self.put(result, peer_id if decision.learned_exactly else 0)
        return True

    def _stay(self, local: Entry, peer: Entry, now_s: int) -> None:
        kept = reassert(local, peer, self.id, now_s)
        if kept != local:
            self.put(kept, 0)

    def _overwrite(self, local: Entry | None, peer: Entry, decision: Decision, now_s: int) -> None:
        """Keep the content that is about to go: aside if the decision says so, else in the kept versions."""
        if decision.keep_aside is None:
            if local is not None and not local.deleted and not local.same_content(decision.entry):
                self.account.kept.add(local.content)
            return
        assert local is not None
        assert not local.deleted
        self.account.copies.append((local, peer))
        there = self.entry(decision.keep_aside)
        if there is not None and not there.deleted:
            self.account.kept.add(local.content)
            return
        version = bump(there.version if there else EMPTY, self.id, now_s)
        copy = msgspec.structs.replace(
            local, path=decision.keep_aside, version=version, metadata_version=version
        )
        self.put(copy, 0)

    # The tree's own rules.

    def _may_be_made(self, path: bytes) -> bool:
        """Whether no parent is a file or a link."""
        above = parent(path)
        while above:
            entry = self.live(above)
            if entry is not None and entry.kind is not Kind.DIRECTORY:
                return False
            above = parent(above)
        return True

    def _make_parents(self, path: bytes, now_s: int) -> None:
        """Missing directories are made, and the next scan finds them: edits of this replica."""
        above = parent(path)
        if above and self.live(above) is None:
            self._make_parents(above, now_s)
            self._edit(above, now_s, kind=Kind.DIRECTORY, mode=0o755)

    def _is_occupied(self, path: bytes) -> bool:
        return bool(self.below(path)) or any(h.startswith(path + b"/") for h in self.hidden)

    def _edit(
        self,
        path: bytes,
        now_s: int,
        *,
        kind: Kind,
        deleted: bool = False,
        size: int = 0,
        mode: int = 0,
        content: bytes = b"",
    ) -> None:
        old = self.entry(path)
        version = bump(old.version if old else EMPTY, self.id, now_s)
        metadata = bump(old.metadata_version if old else EMPTY, self.id, now_s)
        mtime_ns = 0 if kind is Kind.DIRECTORY and not deleted else now_s * 10**9
        entry = Entry(path, kind, deleted, size, mtime_ns, mode, content, version, metadata, self.node)
        self.put(entry, 0)


@dataclass(slots=True)
class Edge:
    """One edge and what each taking end remembers of it."""

    source: Replica
    target: Replica
    two_way: bool = True
    deletes: Deletes = "propagate"
    target_changes: TargetChanges = "revert"
    conflict: ConflictPlan = KEEP_BOTH
    cursors: dict[int, tuple[int, int]] = field(default_factory=dict)  # taker → (giver's index id, seq)
    known: dict[int, int] = field(default_factory=dict)  # giver → taker's index id when it last gave
    retries: dict[int, set[bytes]] = field(default_factory=dict)  # taker → paths to ask for again
    mirrored: int = 0  # seq of the target up to which its own edits were compared with the source

    def directions(self) -> list[tuple[Replica, Replica]]:
        """(giver, taker) pairs."""
        forth = [(self.source, self.target)]
        return [*forth, (self.target, self.source)] if self.two_way else forth

    def rules(self, taker: Replica) -> Rules:
        return Rules(taker.id, taker.node, not self.two_way, self.deletes, self.target_changes, self.conflict)


class Fleet:
    """Replicas, edges and one clock."""

    def __init__(self, size: int) -> None:
        self.account = Account()
        self.replicas = [Replica(f"node-{place}", self.account) for place in range(size)]
        self.edges: list[Edge] = []
        self.now_s = 1_000

    def connect(self, source: int, target: int, **how: object) -> Edge:
        edge = Edge(self.replicas[source], self.replicas[target], **how)  # type: ignore[arg-type]
        self.edges.append(edge)
        return edge

    def tick(self) -> int:
        self.now_s += 1
        return self.now_s

    def fresh_content(self) -> bytes:
        """Content that no file and no link has had yet: 32 bytes that can also be a link's target."""
        return hashlib.sha256(f"content {len(self.account.written)}".encode()).hexdigest()[:32].encode()

    def meet(self, edge: Edge, *, backwards: bool = False, limit: int | None = None) -> None:
        """Both ends tell each other what is new; with `limit`, the line goes dead after so many entries."""
        for giver, taker in reversed(edge.directions()) if backwards else edge.directions():
            self._give(edge, giver, taker, limit)
        if not edge.two_way and edge.target_changes == "revert" and limit is None:
            self._mirror(edge)

    def send_again(self, edge: Edge, fewer: int) -> None:
        """Acknowledgements were lost: the takers ask from an older cursor."""
        for taker, (index_id, seq) in edge.cursors.items():
            edge.cursors[taker] = (index_id, max(0, seq - fewer))

    def settle(self, max_rounds: int = 40) -> int:
        """Everybody meets their neighbours until a round changes nothing. Returns the rounds it took."""
        for rounds in range(1, max_rounds + 1):
            before = [(replica.index(), replica.max_seq) for replica in self.replicas]
            self.tick()
            for edge in self.edges if rounds % 2 else reversed(self.edges):
                self.meet(edge, backwards=rounds % 3 == 0)
            if before == [(replica.index(), replica.max_seq) for replica in self.replicas]:
                return rounds
        raise AssertionError(f"the fleet is not quiet after {max_rounds} rounds")

    def lost(self, wherever: bool = False) -> set[bytes]:
        """Content that a user wrote, nobody gave up, and that some replica (all, if `wherever`) lacks."""
        owed = self.account.written - self.account.given_up
        held = [{e.content for e in replica.index().values() if not e.deleted} for replica in self.replicas]
        if wherever:
            return owed - set().union(*held) - self.account.kept
        return {content for content in owed if not all(content in there for there in held)}

    def _give(self, edge: Edge, giver: Replica, taker: Replica, limit: int | None) -> None:
        index_id, seq = edge.cursors.get(taker.id, (0, 0))
        if index_id != giver.index_id:
            seq = 0
        # A taker with a new index forgot what it once sent: nothing is held back from it.
        forgetful = edge.known.get(giver.id, taker.index_id) != taker.index_id
        if forgetful:
            seq = 0
        records = giver.changes(seq)
        cut = records if limit is None else records[:limit]
        upto = cut[-1].seq if cut else seq
        whole = len(cut) == len(records)
        if whole:
            edge.known[giver.id] = taker.index_id
        offered = [r.entry for r in cut if r.learned_from != taker.id or forgetful]
        offered += [e for e in map(giver.entry, sorted(edge.retries.get(taker.id, ()))) if e is not None]
        failed = self._take_all(edge, giver, taker, offered, whole)
        edge.retries[taker.id] = failed
        edge.cursors[taker.id] = (giver.index_id, upto)

    def _take_all(
        self, edge: Edge, giver: Replica, taker: Replica, offered: list[Entry], whole: bool
    ) -> set[bytes]:
        """Creates from the root downward, then deletes upward, then once more what had to wait."""
        rules = edge.rules(taker)
        latest = {entry.path: entry for entry in offered}
        up = sorted((e for e in latest.values() if e.deleted), key=lambda e: key(e.path), reverse=True)
        down = sorted((e for e in latest.values() if not e.deleted), key=lambda e: key(e.path))
        waiting = [e for e in (*down, *up) if not taker.take(e, giver.id, rules, self.now_s, whole=False)]
        return {e.path for e in waiting if not taker.take(e, giver.id, rules, self.now_s, whole=whole)}

    def _mirror(self, edge: Edge) -> None:
        """A one-way target asks its source about whatever changed here."""
        source, target = edge.source, edge.target
        if edge.mirrored > target.max_seq:
            edge.mirrored = 0  # the target's index was lost
        paths = [record.entry.path for record in target.changes(edge.mirrored)]
        edge.mirrored = target.max_seq
        answers = [source.entry(path) or _unheard_of(path) for path in paths]
        self._take_all(edge, source, target, answers, whole=True)


def _unheard_of(path: bytes) -> Entry:
    return Entry(path, Kind.FILE, True, 0, 0, 0, b"", EMPTY, EMPTY, "")


def groundless_copies(fleet: Fleet) -> Iterator[tuple[Entry, Entry]]:
    """Conflict copies that were made though one side knew of the other's edit, or of a conflict copy."""
    for local, peer in fleet.account.copies:
        ordered = compare(local.version, peer.version) in (Order.BEFORE, Order.AFTER)
        if ordered or local.same_content(peer) or is_conflict_copy(local.path):
            yield local, peer
