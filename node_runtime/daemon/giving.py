"""The giving half of a session: offers the index, answers challenges, sends content.

    index changes ──▶ offer ──Entries, IndexEnd──▶ peer
    peer ──Want──▶ give ──Blocks──▶ peer            peer ──Challenge──▶ answer ──Answers──▶ peer
    peer ──Describe──▶ describe ──Chunks──▶ peer

Offers stream while the scan is still under way, held back only by the peer's credit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from node_runtime.daemon.source import Source
from node_runtime.daemon.talk import Talk, require
from node_runtime.exchange import messages as m
from node_runtime.exchange.fetch import DESCRIBED_FILES, WINDOW_FILES
from node_runtime.replica.entry import Entry, Kind
from node_runtime.replica.path import unsafe_because
from node_runtime.replica.version import EMPTY

CREDIT_BATCHES = 16  # batches of entries that may wait at the other end
MAX_CHALLENGES = 10_000  # that wait here; an honest peer asks about what it holds


class Giving:
    """One session's giving half. Refuses everything where entries don't flow this way."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._credit = CREDIT_BATCHES
        self._sent_seq = 0  # how far the peer has been offered our index, by it or by us
        self._resume: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._wants = asyncio.Queue[m.Wanted]()
        self._challenges = asyncio.Queue[m.Challenge]()
        self._describes = asyncio.Queue[m.Describe]()
        self.reactions: dict[type[Any], Callable[[Any], None]] = {
            m.Resume: self._on_resume,
            m.Taken: self._on_taken,
            m.Ack: self._on_ack,
            m.Challenge: self._on_challenge,
            m.Want: self._on_want,
            m.Describe: self._on_describe,
        }

    def jobs(self) -> list[Coroutine[Any, Any, None]]:
        """What runs side by side for as long as the session lasts."""
        if not self._talk.conversation.offers:
            return []
        return [self._offer(), self._give(), self._answer(), self._describe()]

    @property
    def busy(self) -> bool:
        """Whether something isn't offered yet."""
        talk = self._talk.conversation
        return talk.offers and talk.offered_seq < self._talk.replica.max_seq

    def _on_resume(self, resume: m.Resume) -> None:
        require(self._talk.conversation.offers and not self._resume.done(), "asked for an offer out of turn")
        require(0 <= resume.after_seq <= self._talk.replica.max_seq, "resumed from where it never was")
        self._talk.conversation.acked_seq = self._sent_seq = resume.after_seq
        self._resume.set_result(resume.after_seq)

    def _on_taken(self, taken: m.Taken) -> None:
        self._credit = min(self._credit + 1, CREDIT_BATCHES)

    def _on_ack(self, ack: m.Ack) -> None:
        talk = self._talk.conversation
        require(ack.seq <= self._sent_seq, "acknowledged what it was never offered")
        talk.acked_seq = max(talk.acked_seq, ack.seq)

    def _on_challenge(self, challenge: m.Challenge) -> None:
        require(self._talk.conversation.offers, "asked for entries against the edge's direction")
        require(self._challenges.qsize() < MAX_CHALLENGES, "asks without end")
        for path in challenge.paths:
            require(unsafe_because(path) is None, "asked for an unsafe path")
        self._talk.conversation.peer_reopened()
        self._challenges.put_nowait(challenge)

    def _on_want(self, want: m.Want) -> None:
        require(self._talk.conversation.offers, "asked for content against the edge's direction")
        require(self._wants.qsize() + len(want.files) <= 2 * WINDOW_FILES, "wants more than its window")
        self._talk.conversation.peer_reopened()
        for wanted in want.files:
            self._wants.put_nowait(wanted)

    def _on_describe(self, describe: m.Describe) -> None:
        require(self._talk.conversation.offers, "asked for content against the edge's direction")
        require(self._describes.qsize() < 2 * DESCRIBED_FILES, "asks for descriptions without end")
        self._talk.conversation.peer_reopened()
        self._describes.put_nowait(describe)

    async def _offer(self) -> None:
        """Stream the index as it changes, and say each time that all of it was offered."""
        talk, replica = self._talk, self._talk.replica
        conversation, peer_id = talk.conversation, talk.greeted_peer.replica_id
        after = await self._resume
        # What the peer itself sent needn't go back to it, unless it starts from nothing: then it forgot.
        echo_from = 0 if after else replica.max_seq

        def unoffered() -> bool:
            whole = talk.scanned and not replica.in_pass
            return replica.max_seq > after or (whole and conversation.offered_seq < after)

        while True:
            await replica.until(unoffered)
            looked_to = replica.max_seq  # numbers may be empty: rows are forgotten, and a reboot leaves a gap
            rows = await replica.read(lambda: replica.reader.changes(after, m.MAX_BATCH_ENTRIES))  # noqa: B023
            if not rows:
                after = max(after, looked_to)
                if talk.scanned and not replica.in_pass and after > conversation.offered_seq:
                    conversation.offered_seq = self._sent_seq = after
                    await talk.session.send(m.IndexEnd(after))
                    talk.stir()
                continue
            rows = rows[: m.beginning([row.entry for row in rows])]
            after = rows[-1].seq
            entries = [
                row.entry
                for row in rows
                if not (row.learned_from == peer_id and row.seq > echo_from)
                and not talk.filters.excludes(row.entry.path, row.entry.kind is Kind.DIRECTORY)
            ]
            if entries:
                await talk.until(lambda: self._credit > 0)
                self._credit -= 1
                conversation.reopen()
                self._sent_seq = after
                await talk.session.send(m.Entries(entries, after))

    async def _give(self) -> None:
        """Read what was asked for and send it, many small files to a message."""
        talk = self._talk
        source = Source(talk.replica.root, talk.filters)
        todo: deque[m.Wanted] = deque()
        try:
            while True:
                if not todo:
                    todo.append(await self._wants.get())
                while not self._wants.empty():
                    todo.append(self._wants.get_nowait())
                blocks, unavailable = await talk.replica.read(lambda: source.read_pack(todo))
                for refusal in unavailable:
                    await talk.session.send(refusal)
                if blocks:
                    await talk.session.send_blocks(m.Blocks(blocks))
        finally:
            await asyncio.shield(talk.replica.read(source.close))

    async def _describe(self) -> None:
        """Say which chunks files are made of, a message at a time between other reads."""
        talk = self._talk
        source = Source(talk.replica.root, talk.filters)
        while True:
            parts = source.describe(await self._describes.get())
            try:
                while (part := await talk.replica.read(lambda: next(parts, None))) is not None:  # noqa: B023
                    await talk.session.send(part)
            finally:
                await asyncio.shield(talk.replica.read(parts.close))

    async def _answer(self) -> None:
        """Answer challenges with what is there now, not with what the index remembers."""
        talk, replica = self._talk, self._talk.replica
        await talk.until(lambda: talk.scanned)
        while True:
            challenge = await self._challenges.get()
            wanted = [p for p in challenge.paths if not talk.filters.excludes(p, is_directory=False)]
            await replica.scan_paths(wanted)
            rows = await replica.read(lambda: replica.reader.get(wanted))  # noqa: B023
            entries = [rows[p].entry if p in rows else never_known(p) for p in wanted]
            await talk.session.send(m.Answers(entries))


def never_known(path: bytes) -> Entry:
    """The answer for a path that this index never held."""
    return Entry(path, Kind.FILE, True, 0, 0, 0, b"", EMPTY, EMPTY, "")
