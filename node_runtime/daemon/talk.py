"""What the tasks of one session share: the edge, the replica, the conversation, and one bell.

Whoever changes any of it rings the bell (`stir`); whoever waits for a condition looks again (`until`).
All of it belongs to the event loop; the threads see none of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from node_runtime.daemon.replica import Replica
from node_runtime.exchange import messages as m
from node_runtime.exchange.conversation import Conversation, OutOfTurn, dials, offers, pulls
from node_runtime.exchange.session import Session
from node_runtime.replica.filters import Filters
from node_runtime.replica.guard import Guard
from schemas.plans import ReplicationPlan


@dataclass(frozen=True, slots=True)
class Manner:
    """How this run of an edge differs from another run of the same plan."""

    stays: bool = False  # go on after the edge is in step
    dry_run: bool = False  # decide everything, change nothing
    durable: bool = True  # sync what was applied before acknowledging it
    delta: bool = True  # of a changed file, fetch what differs; between two local disks that doesn't pay


class Talk:
    """The shared state of one session at one end."""

    def __init__(
        self,
        plan: ReplicationPlan,
        end: m.End,
        node: str,
        replica: Replica,
        session: Session,
        manner: Manner,
        guard: Guard | None = None,
    ) -> None:
        """`guard` is given where it outlives the session."""
        self.plan = plan
        self.end = end
        self.node = node
        self.replica = replica
        self.session = session
        self.manner = manner
        if manner.dry_run:
            guard = Guard(None)  # it shows all that a guard would be asked about
        self.guard = guard or Guard(plan.guards.max_delete)
        self.filters = Filters(plan.filters)
        self.conversation = Conversation(offers(plan.direction, end), pulls(plan.direction, end))
        self.peer: m.Hello | None = None
        self.scanned = False  # the look at the tree that this run waits for has ended
        self._moved = asyncio.Event()

    @property
    def greeted_peer(self) -> m.Hello:
        """The peer's greeting; only after it came."""
        assert self.peer is not None, "no greeting yet"
        return self.peer

    @property
    def mirrors(self) -> bool:
        """Whether local edits here are to be undone: this end asks the source what it holds instead."""
        plan = self.plan
        return plan.direction == "one-way" and self.end == "target" and plan.target_changes == "revert"

    @property
    def ends_it(self) -> bool:
        """Whether this end closes a run that doesn't stay."""
        return dials(self.plan, self.end, self.node)

    @property
    def bell(self) -> asyncio.Event:
        """The event that the next `stir` sets. Take it before looking, so that no ring is missed."""
        return self._moved

    def stir(self) -> None:
        """Something changed."""
        self._moved.set()
        self._moved = asyncio.Event()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something that depends on what is shared here."""
        while not holds():
            await self._moved.wait()


def require(holds: bool, otherwise: str) -> None:
    """End the session where the peer does what no honest peer does."""
    if not holds:
        raise OutOfTurn(f"the peer {otherwise}")
