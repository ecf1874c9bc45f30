"""Killed at any step, at either end: nothing half-written is seen, nothing is lost, little is sent twice.

Each case brings two trees in step, edits both, kills one end as it is about to take one named step (half of
a write counts as one), looks at what is visible, and runs both ends again to their end. The suite takes a
spread of all steps; SYNCGRAPH_ALL_STEPS=1 takes every one of them (some minutes).
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from node_runtime.disk.staging import unbroken_beginning
from node_runtime.exchange.messages import BLOCK_BYTES, End
from schemas.plans import Direction, ReplicationPlan
from tests.support.crashing import ENDS, Ends, Strike
from tests.support.engine import tree_of, write
from tests.support.steps import READS
from tests.support.upheaval import IN_STEP, Sides, Tree, Trees, contents, edit_source, edit_target

pytestmark = pytest.mark.system

ALL = bool(os.environ.get("SYNCGRAPH_ALL_STEPS"))
POINTS = 60  # of each case, spread over all steps in the order they are taken
FOR_THE_SWAP_BYTES = len("swapped, a")  # of two files that swap names, one is fetched though both are there
DIRECTIONS: tuple[Direction, ...] = ("one-way", "two-way")


@pytest.fixture(scope="module")
def ends() -> Iterator[Ends]:
    with Ends() as forked:
        yield forked


def prepared(ends: Ends, directory: Path, direction: Direction) -> tuple[Sides, ReplicationPlan]:
    """Two trees that were in step and aren't any more."""
    shutil.rmtree(directory, ignore_errors=True)
    sides = Sides(directory / "left", directory / "right", directory / "state")
    write(sides.source, IN_STEP)
    plan = sides.edge(direction)
    ends.run(plan, sides.state)
    assert sides.trees()[0] == sides.trees()[1]
    edit_source(sides.source)
    edit_target(sides.target)
    return sides, plan


def kills(end: End, steps: list[str]) -> list[Strike]:
    """A spread over the steps of one end, each with how often it was taken before."""
    times = Counter[str]()
    points = []
    for step in steps:
        if step.rpartition(" ")[2] in READS:
            continue
        times[step] += 1
        points.append(Strike(end, step, times[step]))
    wanted = len(points) if ALL else min(POINTS, len(points))
    return [points[at * len(points) // wanted] for at in range(wanted)]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_killed_at_any_step(ends: Ends, tmp_path: Path, direction: Direction, end: End) -> None:
    directory = tmp_path / "edge"
    sides, plan = prepared(ends, directory, direction)
    before = sides.trees()
    clean = ends.run(plan, sides.state)
    after = sides.trees()
    assert after[0] == after[1]
    died = 0
    points = kills(end, clean[end].steps)
    for kill in points:
        sides, plan = prepared(ends, directory, direction)
        killed = ends.run(plan, sides.state, kill)[end].killed
        died += killed
        try:
            check(ends, sides, plan, before, after)
        except BaseException as error:
            error.add_note(f"{direction}, {kill}")
            raise
    assert died >= 0.9 * len(points)


def check(ends: Ends, sides: Sides, plan: ReplicationPlan, before: Trees, after: Trees) -> None:
    """What a killed end left is whole; another run brings the rest, and one more has nothing to do."""
    for seen, old, new in zip(sides.trees(), before, after, strict=True):
        half = [path for path, what in seen.items() if what not in (old.get(path), new.get(path))]
        assert not half, "something half-done is visible"
        # A conflict's loser has its copy's name before the winner takes its place.
        missing = (old.keys() & new.keys()) - seen.keys() - {b"disputed"}
        assert not missing, "a path is missing while it is changed"
    missing_bytes = [still_missing(root, tree) for root, tree in zip(sides.roots, after, strict=True)]
    again = ends.run(plan, sides.state)
    assert sides.trees() == after
    assert contents(*before) <= contents(*after) | sides.kept(), "content is lost"
    for end, most in zip(ENDS, missing_bytes, strict=True):
        tally = again[end].tally
        assert tally is not None
        assert not tally.failed
        assert tally.bytes_on_wire <= most + FOR_THE_SWAP_BYTES, "content that was there is sent again"
    for came in ends.run(plan, sides.state).values():
        assert came.tally is not None
        assert (came.tally.files, came.tally.bytes_on_wire, came.tally.deleted) == (0, 0, 0)


def still_missing(root: Path, tree: Tree) -> int:
    """How many bytes of content a tree lacks, in its files and in what is on its way into it."""
    staged = root / ".syncgraph" / "staging"
    lacking = 0
    for content in contents(tree) - contents(tree_of(root)):
        part = staged / blake3(content).hexdigest()
        here = 0
        if len(content) > BLOCK_BYTES and part.exists():
            with part.open("rb") as file:
                here = unbroken_beginning(file.fileno())
        lacking += len(content) - here
    return lacking
