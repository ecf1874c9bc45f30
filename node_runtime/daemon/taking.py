"""The taking half of a session: looks at what the peer offers, asks for content, puts it in its place.

    peer ──Entries──▶ pull ──▶ request ──Want──▶ peer ──Blocks──▶ place
                                 └──Describe──▶ peer ──Chunks──▶ assemble ──▶ request
                       └─ deferred until IndexEnd: renames, copies, deletes

`pull`, `request` and `place` are tasks of their own, and only `request` sends: a task that takes from the
peer must never wait for the peer to take, or two ends that both wait would wait for ever.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from node_runtime.daemon import holding
from node_runtime.daemon.arrivals import Arrivals, Piece
from node_runtime.daemon.assembling import Assembling
from node_runtime.daemon.giving import CREDIT_BATCHES
from node_runtime.daemon.replica import ROOT
from node_runtime.daemon.talk import Talk, require
from node_runtime.daemon.target import Fetchable, Target
from node_runtime.exchange import messages as m
from node_runtime.exchange.conversation import Batch, Ledger
from node_runtime.exchange.fetch import Fetch, Request
from node_runtime.replica.entry import Entry, Kind
from schemas.plans import digest

FETCH_HIGH = 20_000  # entries that wait for content; above it no further batch is looked at
DEFER_HIGH = 250_000  # entries held back for renames; above it they are settled early
CHALLENGE_PATHS = 250  # whose answers must fit into one message, with the vectors of thousands of writers
ATTEMPTS = 3  # at content that keeps changing while it is read
RETRY_S = (2.0, 5.0, 15.0, 60.0)  # between looks at paths that failed, on an edge that stays open
BLOCK_MESSAGES = 8  # that may wait to be written

Offer = m.Entries | m.IndexEnd | m.Answers


class Taking:
    """One session's taking half. Refuses everything where entries don't flow this way."""

    def __init__(self, talk: Talk, target: Target) -> None:
        self.fetch: Fetch[Batch] = Fetch()
        self.target = target
        self._talk = talk
        self._ledger = Ledger()
        self._acked_seq = 0
        self._offered_seq = 0  # by the peer's last offer, of its index
        self._remembered: set[bytes] = set()  # paths on record to be asked for again
        self._mirrored_seq = 0  # of our own index: local edits up to it were challenged
        self._offers = asyncio.Queue[Offer]()
        self._arrived = asyncio.Queue[m.Blocks | m.Unavailable](BLOCK_MESSAGES)
        self._to_say: deque[m.Taken] = deque()
        self._to_ask: deque[m.Challenge] = deque()
        self._asked: set[bytes] = set()  # the paths of questions that aren't all answered and carried out
        self._stored: tuple[int, int, int] | None = (
            None  # what of the guard is in the index; None: an older run's
        )
        self._unanswered = 0  # challenges sent whose answers weren't looked at yet
        self._deferred: list[tuple[Entry, Batch]] = []
        self._last: list[tuple[Entry, Batch]] = []  # not to be settled before the offer is whole
        self._attempts: dict[bytes, int] = {}
        self._arrivals = Arrivals(talk.replica, target)
        self._assembling = Assembling(talk, self.fetch, self._arrivals, self._put, self._give_up)
        self._looking = False  # a batch is being decided
        self._disowned = False  # the source holds nothing at all, so it isn't asked what must go
        # The cursor counts what was handled under these rules; under others, everything is asked anew.
        plan = talk.plan
        rules = [plan.direction, plan.filters, plan.deletes, plan.target_changes, plan.conflict]
        self._cursor = f"{plan.edge}#{digest(rules)[:16]}"
        self.reactions: dict[type[Any], Callable[[Any], Coroutine[Any, Any, None] | None]] = {
            m.Entries: self._on_offer,
            m.IndexEnd: self._on_offer,
            m.Answers: self._on_offer,
            m.Blocks: self._on_content,
            m.Unavailable: self._on_content,
            m.Chunks: self._assembling.on_chunks,
        }

    def jobs(self) -> list[Coroutine[Any, Any, None]]:
        """What runs side by side for as long as the session lasts."""
        if not self._talk.conversation.pulls:
            return []
        jobs = [self._pull(), self._request(), self._place(), self._assembling.run()]
        if self._talk.mirrors:
            jobs.append(self._mirror())
        if self._talk.manner.stays:
            jobs.append(self._retry())
        return jobs

    @property
    def busy(self) -> bool:
        """Whether something that was offered, or edited here, isn't carried out."""
        unmirrored = (
            self._talk.mirrors and self._mirrored_seq < self._talk.replica.max_seq and not self._disowned
        )
        waiting = self._looking or not self._offers.empty() or bool(self._deferred or self._last)
        return unmirrored or waiting or not self.fetch.idle

    async def start(self) -> None:
        """Ask the peer to go on where the last session ended."""
        if not self._talk.conversation.pulls:
            return
        index, peer = self._talk.replica.index, self._talk.greeted_peer

        def look_up() -> tuple[int, list[bytes], int]:
            held = holding.load(index, self._talk.plan.edge, self._talk.guard)
            self._stored = None if held else self._talk.guard.revision
            seq = index.cursor(self._cursor, peer.index_id)
            mirrored = index.cursor(f"{self._cursor}#mirrored", index.index_id)
            return seq if seq <= peer.max_seq else 0, index.retries(self._cursor) + held, mirrored

        seq, retries, self._mirrored_seq = await self._talk.replica.work(look_up)
        self._ledger.handled_seq = self._acked_seq = self._offered_seq = seq
        self._talk.conversation.handled_seq = seq
        await self._talk.session.send(m.Resume(seq))
        self._ask(retries)

    async def acknowledge(self) -> None:
        """Tell the peer what was carried out, once it is durable: only then may the peer forget it."""
        seq = self._ledger.handled_seq
        if not self._talk.conversation.pulls or seq <= self._acked_seq:
            return
        replica, peer_index = self._talk.replica, self._talk.greeted_peer.index_id
        unfinished = [path for path in self._unfinished() if path not in self._remembered]

        def make_durable() -> None:
            if self._talk.manner.durable and self.target.take_unsynced():
                replica.settle()
            replica.index.add_retries(self._cursor, unfinished)
            self._store_held()
            replica.index.set_cursor(self._cursor, peer_index, seq)

        self._remembered.update(unfinished)
        if not self._talk.manner.dry_run:
            await replica.work(make_durable)
        self._acked_seq = seq
        await self._talk.session.send(m.Ack(seq))

    async def remember(self) -> None:
        """Keep what must be asked for again, for the next session."""
        if self._talk.manner.dry_run or not self._talk.conversation.pulls:
            return
        index, retries = self._talk.replica.index, self._unfinished()

        def write() -> None:
            index.set_retries(self._cursor, retries)
            self._store_held()
            index.set_cursor(f"{self._cursor}#mirrored", index.index_id, self._mirrored_seq)

        await self._talk.replica.work(write)

    def _on_offer(self, offer: Offer) -> None:
        conversation = self._talk.conversation
        require(conversation.pulls, "offered entries against the edge's direction")
        require(self._offers.qsize() < 4 * CREDIT_BATCHES, "offers beyond its credit")
        require(not isinstance(offer, m.Answers) or conversation.questions > 0, "answered what wasn't asked")
        if not isinstance(offer, m.Answers):
            require(self._offered_seq <= offer.seq < m.MAX_SEQ, "went back in its index")
            self._offered_seq = offer.seq
        if not isinstance(offer, m.IndexEnd):
            require(len(offer.entries) <= m.MAX_BATCH_ENTRIES, "sent more entries than a batch holds")
        if isinstance(offer, m.Entries):
            conversation.peer_reopened()
            conversation.peer_end_seq = -1
        self._offers.put_nowait(offer)

    async def _on_content(self, content: m.Blocks | m.Unavailable) -> None:
        require(self._talk.conversation.pulls, "sent content against the edge's direction")
        await self._arrived.put(content)

    def _unfinished(self) -> list[bytes]:
        """What must be asked for again if the session ends now."""
        return [*self.target.unfinished(), *(self._asked if self._talk.conversation.questions else ())]

    def _store_held(self) -> None:
        """In the worker thread."""
        guard = self._talk.guard
        if self._stored != guard.revision:
            self._stored = guard.revision
            holding.store(self._talk.replica.index, self._talk.plan.edge, guard)

    def ask_again(self, paths: Sequence[bytes]) -> None:
        """A person has let these go: see what the peer holds there by now."""
        self._ask(paths)
        self._talk.stir()

    def _ask(self, paths: Sequence[bytes]) -> None:
        """Challenge the peer over these paths."""
        if not self._talk.conversation.questions:
            self._asked.clear()
        self._asked.update(paths)
        for first in range(0, len(paths), CHALLENGE_PATHS):
            self._talk.conversation.questions += 1
            self._to_ask.append(m.Challenge(list(paths[first : first + CHALLENGE_PATHS])))

    def _ask_unblocked(self) -> None:
        """A directory stands where something else was in the way: ask for what failed below it."""
        unblocked = self.target.unblocked
        self._ask([unblocked.popleft() for _ in range(len(unblocked))])

    async def _pull(self) -> None:
        """Look at what the peer offers, one batch after the other."""
        await self._talk.until(lambda: self._talk.scanned)
        conversation = self._talk.conversation
        while True:
            offer = await self._offers.get()
            self._looking = True
            self._unanswered -= isinstance(offer, m.Answers)
            if isinstance(offer, m.IndexEnd):
                await self._settle(whole=True)
                self._ledger.open(Batch(offer.seq, 0))
                conversation.peer_end_seq = offer.seq
                self._mind_emptiness(offer.seq)
                conversation.handled_seq = self._ledger.handled_seq
            else:
                await self._look(offer)
                if self._answered(offer) or len(self._deferred) > DEFER_HIGH:
                    await self._settle(whole=conversation.peer_end_seq >= 0)
            self._ask_unblocked()
            self._looking = False
            self._talk.stir()
            await self._talk.until(lambda: self.fetch.pending_files < FETCH_HIGH)

    def _answered(self, offer: Offer) -> bool:
        """Whether this answers a question, and no other is open where a guard counts all of it as one."""
        more = self._talk.guard.on and (self._unanswered > 0 or bool(self._to_ask))
        return isinstance(offer, m.Answers) and not more

    def _mind_emptiness(self, offered_seq: int) -> None:
        """A source whose index never held anything has a wrong path or an unmounted disk, more likely than
        the wish to empty its mirror."""
        self._disowned = self._talk.mirrors and not offered_seq and self._talk.replica.max_seq > 0
        if self._disowned and self._talk.plan.deletes == "propagate":
            self.target.counts.failed[ROOT] = (
                "the source is empty: nothing is deleted here until it holds something"
            )
        else:
            self.target.counts.failed.pop(ROOT, None)

    async def _look(self, offer: m.Entries | m.Answers) -> None:
        found = await self._talk.replica.work(lambda: self.target.consider(offer.entries))
        seq = offer.seq if isinstance(offer, m.Entries) else None
        batch = Batch(seq, len(found.fetch) + len(found.deferred) + len(found.last))
        for each in found.fetch:
            self._want(each, batch)
        self._deferred += [(entry, batch) for entry in found.deferred]
        self._last += [(entry, batch) for entry in found.last]
        if seq is None:
            self._talk.conversation.questions -= not batch.under_way
            return
        self._ledger.open(batch)
        self._talk.conversation.handled_seq = self._ledger.handled_seq
        self._to_say.append(m.Taken(seq))

    async def _settle(self, *, whole: bool) -> None:
        """Carry out what waited for the rest of the offer, or part of it where the offer isn't `whole`."""
        deferred, self._deferred = self._deferred, []
        if whole:
            deferred, self._last = deferred + self._last, []
        if not deferred:
            return
        fetch = await self._talk.replica.work(lambda: self.target.settle([entry for entry, _ in deferred]))
        to_fetch = {each.entry.path: each for each in fetch}
        for entry, batch in deferred:
            found = to_fetch.get(entry.path)
            if found is not None and found.entry is entry:
                self._want(found, batch)
            else:
                self._finish(batch)

    def _want(self, found: Fetchable, batch: Batch) -> None:
        # What went wrong once is fetched whole: the chunks may have been to blame.
        describe = found.older and self._talk.manner.delta and found.entry.path not in self._attempts
        self.fetch.add(found.entry, batch, found.offset, describe=describe)

    async def _request(self) -> None:
        """Ask the peer for whatever there is room for."""
        while True:
            bell = self._talk.bell
            if self._to_say or self._may_ask:
                self._talk.conversation.reopen()
            while self._to_say:
                await self._talk.session.send(self._to_say.popleft())
            while self._may_ask:
                self._unanswered += 1
                await self._talk.session.send(self._to_ask.popleft())
            while (message := self.fetch.next_describe() or self.fetch.next_want()) is not None:
                self._talk.conversation.reopen()
                await self._talk.session.send(message)
            if not self._to_say and not self._may_ask:
                await bell.wait()

    @property
    def _may_ask(self) -> bool:
        """Whether there is a question, and room for its answer, which may be as large as a batch."""
        return bool(self._to_ask) and self._unanswered < CREDIT_BATCHES

    async def _place(self) -> None:
        """Write what arrives, and put whole files in their places."""
        try:
            while True:
                arrived = await self._arrived.get()
                if isinstance(arrived, m.Unavailable):
                    self._assembling.forget(arrived.request)
                    request = self.fetch.end(arrived.request)
                    if request is not None:
                        self._give_up(request, arrived.reason, arrived.gone)
                else:
                    await self._write(arrived)
                self._talk.stir()
        finally:
            await asyncio.shield(self._talk.replica.work(self._arrivals.close))

    async def _write(self, arrived: m.Blocks) -> None:
        pieces: list[Piece] = []
        for block in arrived.blocks:
            require(0 <= block.zeros <= m.HOLE_BYTES, "sent a hole beyond the limit")
            request = self.fetch.arrived(block.request, block.length)
            if request is None:
                continue  # given up meanwhile
            require(block.offset + block.length <= request.size, "sent content beyond a file's end")
            pieces.append(Piece(request, block, request.whole))
            if request.whole:
                self.fetch.end(request.number)
        await self._put(pieces)

    async def _put(self, pieces: Sequence[Piece]) -> None:
        failures = await self._talk.replica.work(lambda: self._arrivals.take(pieces))
        self._ask_unblocked()
        for number, failure in failures.items():
            self.fetch.end(number)
            request = next(piece.request for piece in pieces if piece.request.number == number)
            self._give_up(request, failure.reason, failure.changed)
        for piece in pieces:
            if piece.last and piece.request.number not in failures:
                for _, batch in piece.request.wanted_by:
                    self._finish(batch)

    def _give_up(self, request: Request[Batch], reason: str, changed: bool) -> None:
        """Content couldn't be had. Where it changed under the reader, ask what the path holds now."""
        for entry, batch in request.wanted_by:
            attempts = self._attempts[entry.path] = self._attempts.get(entry.path, 0) + 1
            if changed and attempts <= ATTEMPTS:
                self._ask([entry.path])
            else:
                self.target.counts.failed[entry.path] = reason
            self._finish(batch)

    def _finish(self, batch: Batch) -> None:
        """One path of a batch is carried out, failed, or asked about anew."""
        batch.under_way -= 1
        if batch.under_way:
            return
        if batch.seq is None:
            self._talk.conversation.questions -= 1
        else:
            self._ledger.advance()
            self._talk.conversation.handled_seq = self._ledger.handled_seq
        self._talk.stir()

    async def _mirror(self) -> None:
        """Ask the source about every path that was edited here, once its own offer is carried out."""
        talk, replica = self._talk, self._talk.replica
        conversation = talk.conversation

        def quiet() -> bool:
            offered = conversation.peer_end_seq
            return self.fetch.idle and 0 <= offered <= conversation.handled_seq and not self._disowned

        while True:
            await replica.until(lambda: replica.max_seq > self._mirrored_seq)
            await talk.until(quiet)
            after, looked_to = self._mirrored_seq, replica.max_seq
            rows = await replica.read(lambda: replica.reader.changes(after, m.MAX_BATCH_ENTRIES))  # noqa: B023
            edited = [row.entry for row in rows if not row.learned_from]
            wanted = [e.path for e in edited if not talk.filters.excludes(e.path, e.kind is Kind.DIRECTORY)]
            self._ask(wanted)
            self._mirrored_seq = rows[-1].seq if rows else looked_to
            talk.stir()

    async def _retry(self) -> None:
        """On an edge that stays open, look again at what failed or is held."""
        tries, before = 0, set[bytes]()
        while True:
            await asyncio.sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])
            unfinished = set(self.target.unfinished())
            tries = tries + 1 if unfinished and unfinished <= before else 0
            before = unfinished
            self._attempts.clear()
            self._ask(sorted(unfinished))
            self._talk.stir()
