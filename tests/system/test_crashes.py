"""Killed at any step, at either end: nothing half-written is seen, nothing is lost, little is sent twice.

Each case brings two trees in step, edits both, kills one end as it is about to take one named step (half of
a write counts as one), looks at what is visible, and runs both ends again to their end. The suite takes a
spread of all steps; SYNCGRAPH_ALL_STEPS=1 takes every one of them (some minutes).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from node_runtime.disk.chunks import MIN_AVERAGE_BYTES, longest
from node_runtime.disk.staging import unbroken_beginning
from node_runtime.exchange.messages import BLOCK_BYTES, End
from schemas.plans import Direction
from tests.support.crashing import ENDS, Ends
from tests.support.engine import tree_of
from tests.support.steps import READS
from tests.support.upheaval import Sides, Tree, Trees, contents, prepared, spread, strikes

pytestmark = pytest.mark.system

POINTS = 60  # of each case, as far as it has so many steps; over 200 in all
FOR_THE_SWAP_BYTES = len("swapped, a")  # of two files that swap names, one is fetched though both are there
IN_FLIGHT_BYTES = 2 * longest(MIN_AVERAGE_BYTES)  # a chunk that was half there counts as not there
DIRECTIONS: tuple[Direction, ...] = ("one-way", "two-way")


@pytest.fixture(scope="module")
def ends() -> Iterator[Ends]:
    with Ends() as forked:
        yield forked


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_killed_at_any_step(ends: Ends, tmp_path: Path, direction: Direction, end: End) -> None:
    sides = prepared(ends, tmp_path / "edge", direction)
    before = sides.trees()
    steps = ends.run(sides.edge, sides.state)[end].steps
    after = sides.trees()
    assert after[0] == after[1]
    changing = [at for at in strikes(end, steps) if at.step.rpartition(" ")[2] not in READS]
    died = 0
    for strike in (points := spread(changing, POINTS)):
        sides = prepared(ends, tmp_path / "edge", direction)
        died += ends.run(sides.edge, sides.state, strike)[end].killed
        try:
            check(ends, sides, before, after)
        except BaseException as error:
            error.add_note(f"{direction}, {strike}")
            raise
    assert died >= 0.75 * len(points)  # how often a busy machine takes a step differs from run to run


def check(ends: Ends, sides: Sides, before: Trees, after: Trees) -> None:
    """What a killed end left is whole; another run brings the rest, and one more has nothing to do."""
    for seen, old, new in zip(sides.trees(), before, after, strict=True):
        half = [path for path, what in seen.items() if what not in (old.get(path), new.get(path))]
        assert not half, "something half-done is visible"
        # A conflict's loser has its copy's name before the winner takes its place.
        missing = (old.keys() & new.keys()) - seen.keys() - {b"disputed"}
        assert not missing, "a path is missing while it is changed"
    missing_bytes = [still_missing(root, tree) for root, tree in zip(sides.roots, after, strict=True)]
    again = ends.run(sides.edge, sides.state)
    assert sides.trees() == after
    assert contents(*before) <= contents(*after) | sides.kept(), "content is lost"
    for end, most in zip(ENDS, missing_bytes, strict=True):
        tally = again[end].tally
        assert tally is not None
        assert not tally.failed
        assert tally.bytes_on_wire <= most + FOR_THE_SWAP_BYTES + IN_FLIGHT_BYTES, (
            "content that was there is sent again"
        )
    for came in ends.run(sides.edge, sides.state).values():
        assert came.tally is not None
        assert (came.tally.files, came.tally.bytes_on_wire, came.tally.deleted) == (0, 0, 0)


def still_missing(root: Path, tree: Tree) -> int:
    """How many bytes of content a tree lacks, in its files and in what is on its way into it."""
    lacking = 0
    for content in contents(tree) - contents(tree_of(root)):
        part = root / ".syncgraph" / "staging" / blake3(content).hexdigest()
        here = 0
        if len(content) > BLOCK_BYTES and part.exists():
            with part.open("rb") as file:
                here = unbroken_beginning(file.fileno())
        lacking += len(content) - here
    return lacking
