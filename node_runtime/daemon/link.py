"""One session of one edge, at one end: greets, runs both halves side by side, and leaves in good order.

`Conversation` says how far both ends are; `Giving` and `Taking` do the work. This module only joins
them, and must never decide about a file. Reading order: `talk`, `link`, `giving`, `taking`, `target`,
`source`, `arrivals`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from msgspec import structs

from node_runtime.daemon.giving import Giving
from node_runtime.daemon.taking import Taking
from node_runtime.daemon.talk import Talk
from node_runtime.daemon.target import BadEntry, Target
from node_runtime.errors import NodeError, PeerError
from node_runtime.exchange import messages as m
from node_runtime.exchange.conversation import Event, OutOfTurn
from node_runtime.exchange.session import SessionClosed
from node_runtime.replica.reconcile import Rules
from schemas.plans import digest

PROGRESS_S = 0.5


class Link:
    """Runs one edge over one session until it is in step, or for as long as it stays."""

    def __init__(
        self,
        talk: Talk,
        scan: Awaitable[object] | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`scan` is the look at the tree that this run waits for before it decides or ends anything."""
        self.talk = talk
        self.taking: Taking | None = None  # only once greeted
        self.peer_tally: m.Tally | None = None  # only once the peer has left in good order
        self.peer_progress = m.Progress(0, 0, 0, 0)
        self.in_step = False
        self._giving = Giving(talk)
        self._scan = scan
        self._on_change = on_change
        self._leaving = False  # our goodbye is said
        self._over = asyncio.Event()

    async def run(self, hello: m.Hello | None = None) -> None:
        """Talk until the edge is in step; for as long as the session lasts, where the run stays.

        `hello` is the peer's where it was read already. Raises SessionClosed with the reason where the
        session ends early, PeerError where the peer is at fault.
        """
        try:
            talk = self.talk
            await self._greet(hello)
            taking = self._start_taking()
            jobs = [self._receive(taking), self._speak(taking), self._wait_for_scan(), self._over.wait()]
            if talk.conversation.pulls:
                jobs.append(self._report())
            try:
                await _side_by_side([*jobs, *self._giving.jobs(), *taking.jobs()])
            except SessionClosed:
                if not self._over.is_set():
                    raise
            finally:
                await taking.remember()
        except (OutOfTurn, BadEntry, PeerError) as error:
            await self._refuse(str(error))
            raise PeerError(str(error)) from error
        except NodeError as error:
            await self._refuse(f"{self.talk.node}: {error}")
            raise

    async def _greet(self, hello: m.Hello | None) -> None:
        talk, replica = self.talk, self.talk.replica
        index_id, max_seq = replica.index.index_id, replica.max_seq
        greeting = m.Hello(
            m.PROTOCOL,
            talk.plan.edge,
            digest(talk.plan),
            talk.end,
            talk.node,
            replica.local_id,
            index_id,
            max_seq,
        )
        await talk.session.send(greeting)
        if hello is None:
            first = await talk.session.receive()
            if isinstance(first, m.Bye):
                raise SessionClosed(first.reason)
            if not isinstance(first, m.Hello):
                raise PeerError("the peer didn't greet")
            hello = first
        self._check(hello)
        talk.peer = hello
        talk.conversation.move(Event.GREETED)

    def _check(self, hello: m.Hello) -> None:
        plan = self.talk.plan
        if hello.protocol != m.PROTOCOL:
            raise PeerError(f"the peer speaks protocol {hello.protocol}, this runtime speaks {m.PROTOCOL}")
        if hello.edge != plan.edge or hello.end == self.talk.end:
            raise PeerError(f"the peer greeted as the {hello.end} of {hello.edge}")
        if hello.edge_digest != digest(plan):
            raise PeerError("the two ends hold different plans for this edge; waiting for the same one")
        if hello.replica_id == self.talk.replica.local_id:
            raise PeerError("both ends are the same directory")
        named = plan.source.node if hello.end == "source" else plan.target.node
        if hello.node != named:
            raise PeerError(f"the peer says that it is {hello.node}, the plan says {named}")
        if not (0 <= hello.replica_id < m.MAX_SEQ and 0 <= hello.max_seq < m.MAX_SEQ):
            raise PeerError("the peer greeted with numbers that no index has")
        if len(hello.index_id) != m.INDEX_ID_BYTES:
            raise PeerError("the peer greeted with an index id of another length")

    def _start_taking(self) -> Taking:
        talk, plan = self.talk, self.talk.plan
        rules = Rules(
            local_id=talk.replica.local_id,
            local_node=talk.node,
            one_way=plan.direction == "one-way",
            deletes=plan.deletes,
            target_changes=plan.target_changes,
            conflict=plan.conflict,
        )
        peer_id = talk.greeted_peer.replica_id
        dry_run = talk.manner.dry_run
        target = Target(talk.replica, rules, talk.filters, peer_id, talk.guard, dry_run=dry_run)
        self.taking = Taking(talk, target)
        return self.taking

    async def _receive(self, taking: Taking) -> None:
        await taking.start()
        reactions: dict[type[Any], Callable[[Any], Coroutine[Any, Any, None] | None]] = {
            **self._giving.reactions,
            **taking.reactions,
            m.InStep: self._on_in_step,
            m.Bye: self._on_bye,
            m.Progress: self._on_progress,
        }
        while not self._over.is_set():
            message = await self.talk.session.receive()
            react = reactions.get(type(message))
            if react is None:
                raise OutOfTurn("the peer greeted twice")
            waiting = react(message)
            if waiting is not None:
                await waiting
            self.talk.stir()

    def _on_in_step(self, word: m.InStep) -> None:
        self.talk.conversation.peer_word = word

    def _on_progress(self, progress: m.Progress) -> None:
        self.peer_progress = progress

    def progress(self) -> m.Progress:
        """How far this end is with what it takes."""
        if self.taking is None:
            return m.Progress(0, 0, 0, 0)
        fetch, counts = self.taking.fetch, self.taking.target.counts
        return m.Progress(fetch.pending_files, fetch.pending_bytes, counts.files, counts.bytes_on_wire)

    async def _report(self) -> None:
        """Let the peer show how far we are."""
        said = m.Progress(0, 0, 0, 0)
        while True:
            await asyncio.sleep(PROGRESS_S)
            if self.progress() != said:
                said = self.progress()
                await self.talk.session.send(said)

    async def _on_bye(self, bye: m.Bye) -> None:
        self.peer_tally = bye.tally
        if bye.reason:
            raise SessionClosed(bye.reason)
        if not self._leaving:
            await self._say_bye()
        self.talk.session.close()
        self._over.set()

    async def _wait_for_scan(self) -> None:
        if self._scan is not None:
            await self._scan
        self.talk.scanned = True
        self.talk.replica.notify()
        self.talk.stir()
        await self._over.wait()

    async def _speak(self, taking: Taking) -> None:
        """After anything happened: acknowledge, say whether we are settled, and leave where all is done."""
        talk, conversation = self.talk, self.talk.conversation
        while True:
            bell = talk.bell
            await taking.acknowledge()
            conversation.stirring = not talk.scanned or self._giving.busy or taking.busy
            word = conversation.word()
            if word is not None:
                await talk.session.send(word)
            self.in_step = conversation.check()
            self._on_change()
            if self.in_step and not talk.manner.stays and talk.ends_it and not self._leaving:
                await self._say_bye()
            await bell.wait()

    async def leave(self) -> None:
        """End a run that stays, in good order: `run` returns once the peer answers. Raises SessionClosed."""
        if self.taking is not None and not self._leaving:
            await self._say_bye()

    async def _say_bye(self) -> None:
        self._leaving = True
        await self.talk.session.send(m.Bye("", m.fitted(await self.tally())))

    async def _refuse(self, reason: str) -> None:
        try:
            await self.talk.session.send(m.Bye(reason, m.Tally()))
        except SessionClosed:
            return  # the peer didn't wait to hear it
        self.talk.session.close(reason)

    async def tally(self) -> m.Tally:
        """What this end has done so far."""
        assert self.taking is not None, "greeted"
        replica = self.talk.replica
        files, _, _ = await replica.count()
        tally = self.taking.target.counts.tally(files, replica.problems)
        return structs.replace(tally, held=self.talk.guard.sentence())


async def _side_by_side(jobs: list[Coroutine[Any, Any, Any]]) -> None:
    """Run jobs until the first ends, and then none. Raises what that one raised."""
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
