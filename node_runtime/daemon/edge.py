"""One edge at one end: when it runs, over which session, and how it is doing.

The end that dials decides when: once, on a schedule, or for good. The other end answers. Whatever goes
wrong is said in the status and tried again with growing pauses; nothing here gives up.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Awaitable, Callable

from node_runtime.daemon.counts import Counts
from node_runtime.daemon.holding import guard_text, held_report
from node_runtime.daemon.link import Link
from node_runtime.daemon.replica import ROOT
from node_runtime.daemon.schedule import Schedules
from node_runtime.daemon.talk import Manner, Talk
from node_runtime.daemon.tending import Tending
from node_runtime.errors import NodeError
from node_runtime.exchange.conversation import dials
from node_runtime.exchange.messages import End, Hello
from node_runtime.exchange.session import SessionClosed
from node_runtime.net.stream import StreamSession
from node_runtime.replica.guard import Guard
from node_runtime.replica.path import show
from schemas.plans import ReplicationPlan, digest
from schemas.status import ConflictReport, EdgeState, EdgeStatus, PathProblem

log = logging.getLogger(__name__)

BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
SHOWN = 100  # failures and conflicts listed in a status

Dial = Callable[[str, Callable[[], asyncio.Protocol]], Awaitable[None]]


class Edge:
    """The life of one edge at one end of it."""

    def __init__(
        self, plan: ReplicationPlan, end: End, node: str, tending: Tending, dial: Dial, schedules: Schedules
    ) -> None:
        self.plan = plan
        self.end = end
        self.tending = tending
        self._node = node
        self.peer = (plan.target if end == "source" else plan.source).node
        self._dial = dial
        self._schedules = schedules
        self._guard = Guard(plan.guards.max_delete, secrets.token_hex(4))
        self._totals = Counts()  # of the sessions that have ended
        self._link: Link | None = None
        self._state: EdgeState = "waiting"
        self._detail = ""
        self._in_step_at: float | None = None
        self._due = asyncio.Event()
        self._approving = False
        self._mark = f"once:{plan.edge}"  # in the index: the digest of the plan that ran
        self._running: asyncio.Task[bool] | None = None
        self._task = asyncio.create_task(self._live()) if self.dials else None

    @property
    def dials(self) -> bool:
        """Whether this end opens the session."""
        return dials(self.plan, self.end, self._node)

    async def forget(self) -> None:
        """The edge is gone from the plan: declared again, a one-time edge runs again."""
        if self.plan.sync.mode == "once" and self.dials and self.tending.is_open:
            index = self.tending.replica.index
            await self.tending.replica.work(lambda: index.set_meta(self._mark, b""))

    async def stop(self) -> None:
        """End the session, if there is one, and never start another."""
        tasks = [task for task in (self._task, self._running) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._schedules.remove(self.plan.edge)

    async def answer(self, session: StreamSession, hello: Hello) -> None:
        """The peer opened a session. It takes the place of an older one, which must be dead."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        self._due.clear()
        self._running = asyncio.create_task(self._converse(session, hello))
        await asyncio.gather(self._running, return_exceptions=True)

    # The end that dials.

    async def _live(self) -> None:
        mode = self.plan.sync.mode
        if mode == "scheduled":
            await self._on_schedule()
        elif mode == "once":
            await self._once()
        else:
            await self._until_done()

    async def _once(self) -> None:
        await self.tending.opened()
        index, done = self.tending.replica.index, digest(self.plan).encode()
        if await self.tending.replica.work(lambda: index.meta(self._mark)) == done:
            self._tell("in-step", "ran once, as planned")
            return
        await self._until_done()
        await self.tending.replica.work(lambda: index.set_meta(self._mark, done))

    async def _on_schedule(self) -> None:
        sync = self.plan.sync
        assert sync.schedule is not None, "a scheduled edge has a schedule"
        self._schedules.set(self.plan.edge, sync.schedule, sync.time_zone, sync.jitter_s, self._due.set)
        while True:
            await self._due.wait()
            self._due.clear()
            await self._until_done()

    async def _until_done(self) -> None:
        """Dial until a run ends: a one-time run in step, a scheduled one whatever failed in it.

        A run that stays never ends.
        """
        tries = 0
        while True:
            began = time.monotonic()
            self._tell("connecting")
            await self.tending.opened()
            session = StreamSession()
            try:
                await self._dial(self.peer, lambda: session)  # noqa: B023
            except (NodeError, OSError) as error:
                self._tell("connecting", str(error))
            else:
                ended = await self._converse(session, None)
                done = self.plan.sync.mode == "scheduled" or (
                    self._state == "in-step" and not self._due.is_set()
                )
                if ended and done:
                    return
            if time.monotonic() - began > BACKOFF_S[-1]:
                tries = 0
            if self.plan.sync.mode == "once" and (self._guard.held or self._due.is_set()):
                await self._due.wait()  # until a person has decided
                self._due.clear()
                continue
            # Spread, so that a hub that comes back isn't dialled by all its spokes in one instant.
            pause_s = BACKOFF_S[min(tries, len(BACKOFF_S) - 1)]
            await asyncio.sleep(pause_s * random.uniform(0.7, 1.3))  # noqa: S311 - no secret
            tries += 1

    # Both ends.

    async def _converse(self, session: StreamSession, hello: Hello | None) -> bool:
        """Run one session. Whether it came to its proper end."""
        await self.tending.opened()
        replica = self.tending.replica
        manner = Manner(stays=self.plan.sync.mode == "continuous")
        talk = Talk(self.plan, self.end, self._node, replica, session, manner, self._guard)
        link = Link(talk, asyncio.shield(self.tending.fresh(stays=manner.stays)), self._refresh)
        self._link = link
        self._tell("scanning")
        try:
            await link.run(hello)
            self._finished(link)
            return True
        except SessionClosed as closed:
            self._tell("connecting", closed.reason)
        except (NodeError, OSError) as error:
            log.warning("edge %s: %s", self.plan.edge, error)
            self._tell("failed", str(error))
        except Exception as error:  # logged whole: an edge that ended by it would stay ended
            log.exception("edge %s: not foreseen; it is tried again", self.plan.edge)
            self._tell("failed", f"{type(error).__name__}: {error}; the log has more")
        finally:
            session.close()
            if link.taking is not None:
                self._totals.add(link.taking.target.counts)
            self._link = None
            await replica.count()
        return False

    def _finished(self, link: Link) -> None:
        self._in_step_at = time.time()
        self._rest()
        counts = link.taking.target.counts if link.taking is not None else Counts()
        if self._guard.held:
            self._tell("held", guard_text(self._guard, self.plan.edge))
        elif link.peer_tally is not None and link.peer_tally.held:
            self._tell("held", f"at {self.peer}: {link.peer_tally.held}")
        elif counts.failed:
            self._tell("failed", _failed_text(len(counts.failed)))
        else:
            self._tell("in-step")

    def _tell(self, state: EdgeState, detail: str = "") -> None:
        if (state, detail) != (self._state, self._detail):
            level = logging.INFO if state in ("in-step", "syncing") else logging.DEBUG
            log.log(level, "edge %s: %s %s", self.plan.edge, state, detail)
        self._state, self._detail = state, detail

    def _refresh(self) -> None:
        link = self._link
        if link is None:
            return
        if not link.talk.scanned:
            self._tell("scanning")
        elif link.in_step:
            self._in_step_at = time.time()
            self._rest()
            self._tell("in-step")
        else:
            self._tell("syncing")

    async def approve(self, hold: str) -> bool:
        """A person lets go what `hold` names; False where it names nothing that was held here."""
        self._approving = True
        try:
            # In the worker thread, as all that changes the guard.
            paths = await self.tending.replica.work(lambda: self._guard.approve(hold))
        finally:
            self._approving = False
        if paths and self.plan.sync.mode != "continuous":
            self._due.set()  # the run under way may be over: let another one follow
        elif paths and self._link is not None and self._link.taking is not None:
            self._link.taking.ask_again(paths)
        return paths is not None

    def _rest(self) -> None:
        """The edge is in step: nothing that was approved is left, unless it is for the run that follows."""
        if not (self._approving or self._due.is_set()):
            self._guard.rest()

    def seen(self) -> Counts:
        """What this end did and met since the runtime started, but for conflicts that were ended since."""
        seen = Counts()
        seen.add(self._totals)
        if self._link is not None and self._link.taking is not None:
            seen.add(self._link.taking.target.counts)
        copies = [copy for copy in seen.conflicts.values() if copy is not None]
        rows = self.tending.replica.reader.get(copies) if copies else {}
        for path, copy in list(seen.conflicts.items()):
            if copy is not None and copy in rows and rows[copy].entry.deleted:
                del seen.conflicts[path]
        return seen

    def settled(self, path: bytes) -> None:
        """A person has ended the conflict that was held at this path."""
        self._totals.settled(path)
        if self._link is not None and self._link.taking is not None:
            self._link.taking.target.counts.settled(path)

    def status(self) -> EdgeStatus:
        """How this end sees the edge now."""
        seen = self.seen()
        taking = self._link.taking if self._link is not None else None
        state, detail = self._state, self._detail
        problem = self.tending.problem or self.tending.replica.problem
        if self._guard.held and state in ("in-step", "held"):
            state, detail = "held", guard_text(self._guard, self.plan.edge)
        elif seen.failed and state == "in-step":
            state, detail = "failed", _failed_text(len(seen.failed))
        elif seen.held and state == "in-step":
            state, detail = "held", _held_text(len(seen.held))
        elif self.tending.blocked:
            state, detail = "failed", problem
        elif ROOT in self.tending.replica.problems and state == "in-step":
            state, detail = "held", problem
        elif problem and state in ("in-step", "connecting", "scanning"):
            detail = detail or problem
        return EdgeStatus(
            edge=self.plan.edge,
            state=state,
            peer=self.peer,
            detail=detail,
            in_step_at=self._in_step_at,
            next_run_at=self._schedules.next_run(self.plan.edge) if self.dials else None,
            pending_files=taking.fetch.pending_files if taking else 0,
            pending_bytes=taking.fetch.pending_bytes if taking else 0,
            received_files=seen.files,
            received_bytes=seen.bytes_on_wire,
            renamed=seen.renamed,
            deleted=seen.deleted,
            failed=tuple(PathProblem(show(p), why) for p, why in list(seen.failed.items())[:SHOWN]),
            failed_count=len(seen.failed),
            conflicts=tuple(
                ConflictReport(show(path), None if copy is None else show(copy))
                for path, copy in list(seen.conflicts.items())[:SHOWN]
            ),
            conflict_count=len(seen.conflicts),
            held=held_report(self._guard),
        )


def _failed_text(paths: int) -> str:
    return f"{paths:,} {'path' if paths == 1 else 'paths'} could not be brought in step"


def _held_text(conflicts: int) -> str:
    return f"{conflicts:,} {'conflict waits' if conflicts == 1 else 'conflicts wait'} for a decision"
