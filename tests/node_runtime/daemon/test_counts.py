"""What a dry run lists stays within one message."""

from __future__ import annotations

import pytest

from node_runtime.daemon import counts as module
from node_runtime.daemon.counts import Counts
from node_runtime.exchange.messages import MAX_MESSAGE_BYTES, Bye, encode


@pytest.mark.parametrize("length", [8, 4_000], ids=["many paths", "long paths"])
def test_what_finds_no_room_is_counted(length: int) -> None:
    counts = Counts()
    for number in range(12_000):
        counts.plan_rename(b"%0*d" % (length, number), b"%0*d" % (length, number + 20_000))
    tally = counts.tally(0, {})
    assert 0 < len(tally.planned) <= module.MAX_PLANNED
    assert len(tally.planned) + tally.planned_more == 12_000
    assert len(encode(Bye("", tally))) < MAX_MESSAGE_BYTES / 2


def test_a_path_is_listed_once() -> None:
    counts = Counts()
    counts.plan_rename(b"old", b"new")
    counts.plan_rename(b"older", b"new")
    assert [(each.former, each.path) for each in counts.tally(0, {}).planned] == [(b"older", b"new")]
