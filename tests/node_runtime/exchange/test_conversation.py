"""How far two ends are: the table, the words, and that nobody leaves before all is handled."""

from __future__ import annotations

import itertools
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_runtime.exchange.conversation import (
    TRANSITIONS,
    Batch,
    Conversation,
    Event,
    Ledger,
    OutOfTurn,
    State,
    diagram,
    offers,
    pulls,
)
from node_runtime.exchange.messages import Ack, Entries, IndexEnd, InStep

Said = Ack | Entries | IndexEnd | InStep


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_every_event_is_listed_or_refused(state: State, event: Event) -> None:
    conversation = Conversation(True, True, state)
    if (state, event) in TRANSITIONS:
        conversation.move(event)
        assert conversation.state is TRANSITIONS[state, event]
    else:
        with pytest.raises(OutOfTurn):
            conversation.move(event)
        assert conversation.state is state


def test_a_closed_conversation_stays_closed() -> None:
    assert {to for (state, _), to in TRANSITIONS.items() if state is State.CLOSED} == {State.CLOSED}


def test_every_state_can_be_closed_and_reached() -> None:
    assert {state for state, event in TRANSITIONS if event is Event.CLOSE} == set(State)
    assert set(TRANSITIONS.values()) | {State.GREETING} == set(State)


def test_the_diagram_has_every_transition() -> None:
    assert diagram().count("-->") == len(TRANSITIONS) + 1


def test_who_offers_and_who_pulls() -> None:
    assert (offers("one-way", "source"), pulls("one-way", "source")) == (True, False)
    assert (offers("one-way", "target"), pulls("one-way", "target")) == (False, True)
    assert offers("two-way", "target")
    assert pulls("two-way", "source")


def test_only_a_finished_beginning_is_handled() -> None:
    ledger = Ledger()
    first, second = Batch(5, 2), Batch(9, 0)
    ledger.open(first)
    ledger.open(second)
    assert ledger.handled_seq == 0
    first.under_way = 1
    ledger.advance()
    assert ledger.handled_seq == 0
    first.under_way = 0
    ledger.advance()
    assert ledger.handled_seq == 9


def test_a_word_is_said_once_and_again_after_work() -> None:
    conversation = Conversation(True, False, State.EXCHANGING, offered_seq=3, acked_seq=3, stirring=False)
    assert conversation.word() == InStep(3, 0)
    assert conversation.word() is None
    conversation.stirring = True
    assert conversation.word() is None
    conversation.stirring = False
    assert conversation.word() == InStep(3, 0)
    conversation.reopen()
    assert conversation.word() == InStep(3, 0)


@pytest.mark.parametrize(
    "unsettled",
    [{"stirring": True}, {"questions": 1}, {"acked_seq": 2}, {"handled_seq": 3}, {"offered_seq": -1}],
)
def test_what_keeps_an_end_from_being_settled(unsettled: dict[str, int]) -> None:
    settled = {"offered_seq": 3, "acked_seq": 3, "peer_end_seq": 4, "handled_seq": 4, "stirring": False}
    assert Conversation(True, True, **settled).settled  # type: ignore[arg-type]
    assert not Conversation(True, True, **{**settled, **unsettled}).settled  # type: ignore[arg-type]


class Side:
    """One end in memory: an index that grows, batches that are handled in any order, a queue to the peer."""

    def __init__(self, offering: bool, pulling: bool) -> None:
        self.talk = Conversation(offering, pulling, State.EXCHANGING, stirring=False)
        self.index_seq = 0
        self.sent_seq = 0
        self.ledger = Ledger()
        self.under_way: list[Batch] = []
        self.acked = 0
        self.outbox: deque[Said] = deque()

    def edit(self) -> None:
        self.index_seq += 1

    def offer(self) -> None:
        if not self.talk.offers:
            return
        if self.sent_seq < self.index_seq:
            self.sent_seq = self.index_seq
            self.talk.reopen()
            self.outbox.append(Entries([], self.sent_seq))
        elif self.talk.offered_seq < self.sent_seq:
            self.talk.offered_seq = self.sent_seq
            self.outbox.append(IndexEnd(self.sent_seq))

    def finish(self, which: int) -> None:
        if self.under_way:
            self.under_way.pop(which % len(self.under_way)).under_way = 0
            self.ledger.advance()
            self.talk.handled_seq = self.ledger.handled_seq

    def hear(self, said: Said) -> None:
        talk = self.talk
        if isinstance(said, Entries):
            talk.peer_reopened()
            talk.peer_end_seq = -1
            batch = Batch(said.seq, 1)
            self.ledger.open(batch)
            self.under_way.append(batch)
        elif isinstance(said, IndexEnd):
            self.ledger.open(Batch(said.seq, 0))
            talk.handled_seq = self.ledger.handled_seq
            talk.peer_end_seq = said.seq
        elif isinstance(said, Ack):
            talk.acked_seq = max(talk.acked_seq, said.seq)
        else:
            talk.peer_word = said

    def speak(self) -> bool:
        talk = self.talk
        if talk.pulls and self.ledger.handled_seq > self.acked:
            self.acked = self.ledger.handled_seq
            self.outbox.append(Ack(self.acked))
        talk.stirring = (talk.offers and talk.offered_seq < self.index_seq) or bool(self.under_way)
        word = talk.word()
        if word is not None:
            self.outbox.append(word)
        return talk.check()


STEPS = st.lists(
    st.tuples(
        st.integers(0, 1), st.sampled_from(["edit", "offer", "hear", "finish", "speak"]), st.integers(0, 9)
    ),
    max_size=120,
)


@given(steps=STEPS, both=st.booleans())
@settings(max_examples=300, deadline=None)
def test_nobody_leaves_before_all_is_handled(steps: list[tuple[int, str, int]], both: bool) -> None:
    sides = [Side(True, both), Side(both, True)]
    for which, step, number in steps:
        side, peer = sides[which], sides[1 - which]
        if step == "edit":
            side.edit()
        elif step == "offer":
            side.offer()
        elif step == "finish":
            side.finish(number)
        elif step == "hear" and peer.outbox:
            side.hear(peer.outbox.popleft())
        elif step == "speak" and side.speak():
            assert not side.talk.offers or peer.ledger.handled_seq >= side.talk.offered_seq == side.index_seq
            assert not side.under_way
    _run_out(sides)
    assert all(side.speak() for side in sides), "two ends that do their work come to an agreement"
    for one, other in (sides, sides[::-1]):
        assert not one.talk.offers or other.ledger.handled_seq == one.index_seq


def _run_out(sides: list[Side]) -> None:
    for _ in range(8):  # rounds; each carries every message one way and back
        for side, peer in (sides, sides[::-1]):
            side.offer()
            while side.under_way:
                side.finish(0)
            side.speak()
            while peer.outbox:
                side.hear(peer.outbox.popleft())
