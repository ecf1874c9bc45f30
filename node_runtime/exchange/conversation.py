"""How far the two ends of an edge have come: one table of states, and the sequence numbers behind it.

Each end runs one `Conversation`. It is told what was sent, received and carried out, and answers one
question: is there anything left to do? It does no work itself and knows nothing of files.

The two directions are independent. Where this end *offers*, the peer must acknowledge all that it was
offered. Where this end *pulls*, it must have carried out all that the peer offered. An end for which
both hold is settled, and says so with `InStep`; when each end's word matches the other's, the edge is
in step. An end that asks or offers anew takes its word back by doing so (both ends count it alike), so
a matching pair of words can't be stale.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, field

from node_runtime.exchange.messages import End, InStep
from schemas.plans import Direction, ReplicationPlan


class State(enum.Enum):
    """Where a conversation stands."""

    GREETING = "greeting"  # no Hello from the peer yet
    EXCHANGING = "exchanging"
    IN_STEP = "in step"
    CLOSED = "closed"


class Event(enum.Enum):
    """What moves it."""

    GREETED = "greeted"  # the peer's Hello was accepted
    AGREED = "agreed"  # both ends say that nothing is left
    WORK = "work"  # something new at either end
    CLOSE = "close"  # either end leaves, or the session is lost


# (state, event) → state. A pair that isn't listed is a fault of the peer's.
TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.GREETING, Event.GREETED): State.EXCHANGING,
    (State.GREETING, Event.CLOSE): State.CLOSED,
    (State.EXCHANGING, Event.WORK): State.EXCHANGING,
    (State.EXCHANGING, Event.AGREED): State.IN_STEP,
    (State.EXCHANGING, Event.CLOSE): State.CLOSED,
    (State.IN_STEP, Event.AGREED): State.IN_STEP,
    (State.IN_STEP, Event.WORK): State.EXCHANGING,
    (State.IN_STEP, Event.CLOSE): State.CLOSED,
    (State.CLOSED, Event.CLOSE): State.CLOSED,
}


class OutOfTurn(Exception):
    """The peer said something that has no meaning in this state."""


def pulls(direction: Direction, end: End) -> bool:
    """Whether entries flow to this end."""
    return direction == "two-way" or end == "target"


def offers(direction: Direction, end: End) -> bool:
    """Whether entries flow away from this end."""
    return direction == "two-way" or end == "source"


def dials(plan: ReplicationPlan, end: End, node: str) -> bool:
    """Whether this end opens the session, and closes a run that doesn't stay. On one node alone, the
    target's does."""
    if plan.source.node == plan.target.node:
        return end == "target"
    return plan.dials == node


@dataclass(slots=True)
class Batch:
    """Entries that came together. Done when none of its paths is under way."""

    seq: int | None  # in the peer's index; None for answers to a challenge
    under_way: int


@dataclass(slots=True)
class Ledger:
    """Which of the peer's batches are carried out, so that only a finished prefix is acknowledged."""

    handled_seq: int = 0
    _batches: deque[Batch] = field(default_factory=deque)

    def open(self, batch: Batch) -> None:
        """The next batch was looked at."""
        self._batches.append(batch)
        self.advance()

    def advance(self) -> None:
        """Some batch got on; take the finished ones off the front."""
        while self._batches and not self._batches[0].under_way:
            seq = self._batches.popleft().seq
            assert seq is not None, "answers don't stand in the ledger"
            self.handled_seq = seq


@dataclass(slots=True)
class Conversation:
    """One end's view of how far both ends are. Sequence numbers count in the index they belong to."""

    offers: bool
    pulls: bool
    state: State = State.GREETING
    offered_seq: int = -1  # ours, by our last IndexEnd; -1 before it
    acked_seq: int = 0  # ours, by the peer's last Ack
    peer_end_seq: int = -1  # the peer's, by its last IndexEnd; -1 before it
    handled_seq: int = 0  # the peer's, carried out here
    questions: int = 0  # challenges that we sent and that aren't answered and carried out
    stirring: bool = True  # our own scan, or a decision about a batch, is under way
    peer_word: InStep | None = None  # the peer's last word; None once it asked or offered anew
    _said: InStep | None = None  # our last word; None once we asked or offered anew

    def move(self, event: Event) -> None:
        """Follow the table. Raises OutOfTurn."""
        try:
            self.state = TRANSITIONS[self.state, event]
        except KeyError:
            raise OutOfTurn(f"{event.value} while {self.state.value}") from None

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do at this end."""
        if self.stirring or self.questions:
            return False
        sent = not self.offers or (self.offered_seq >= 0 and self.acked_seq >= self.offered_seq)
        received = not self.pulls or (self.peer_end_seq >= 0 and self.handled_seq >= self.peer_end_seq)
        return sent and received

    def word(self) -> InStep | None:
        """The `InStep` that is due now, or None where there is nothing new to say."""
        if not self.settled:
            self._said = None
            return None
        due = InStep(self.offered_seq, self.handled_seq)
        if due == self._said:
            return None
        self._said = due
        return due

    def reopen(self) -> None:
        """We ask or offer anew, which takes back our word; we give it again when we are settled."""
        self._said = None

    def peer_reopened(self) -> None:
        """The peer asks or offers anew, which takes back its word."""
        self.peer_word = None

    def check(self) -> bool:
        """Recompute the state after anything happened. True where the edge is in step now."""
        if self.state in (State.GREETING, State.CLOSED):
            return False
        agreed = self.settled and self._said is not None and self._matches(self.peer_word)
        self.move(Event.AGREED if agreed else Event.WORK)
        return agreed

    def _matches(self, word: InStep | None) -> bool:
        if word is None:
            return False
        ours = not self.offers or word.handled >= self.offered_seq
        theirs = not self.pulls or word.offered <= self.handled_seq
        return ours and theirs


def diagram() -> str:
    """The table as a Mermaid state diagram; `DESIGN.md` holds its output and a test keeps it so."""
    lines = ["stateDiagram-v2", "    [*] --> greeting"]
    for (state, event), to in TRANSITIONS.items():
        source, target = (s.value.replace(" ", "_") for s in (state, to))
        lines.append(f"    {source} --> {target}: {event.value}")
    return "\n".join(lines)
