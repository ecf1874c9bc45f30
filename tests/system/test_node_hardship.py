"""Real runtimes that replicate for real while they are killed and their trees are pulled from under them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from schemas.control import Accepted
from schemas.plans import ConflictPlan, ReplicationPlan, SyncPlan
from tests.support.authority import Authority
from tests.support.nodes import Node, push, running_nodes, start_node, stop_if_running
from tests.support.plans import edge_between, plan_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.system

QUICK = SyncPlan(debounce_s=0.05)


def edge(tmp_path: Path, **changes: Any) -> ReplicationPlan:
    return edge_between(
        f"hub:{tmp_path / 'left'}", f"spoke:{tmp_path / 'right'}", **{"sync": QUICK, **changes}
    )


@contextmanager
def replicating(tmp_path: Path, **changes: Any) -> Iterator[tuple[Node, Node]]:
    """A hub with the directory "left" and a spoke with "right", under one edge."""
    authority = Authority()
    with running_nodes(tmp_path / "nodes", authority, "hub", "spoke") as nodes:
        for name, node in nodes.items():
            plan = plan_of(name, edge(tmp_path, **changes), peers={"hub": nodes["hub"].address})
            assert isinstance(push(authority, node, plan), Accepted)
        yield nodes["hub"], nodes["spoke"]


@contextmanager
def restarted(node: Node) -> Iterator[Node]:
    node.kill()
    again = start_node(node.state, node.port)
    try:
        yield again
    finally:
        stop_if_running(again)


def state_of(node: Node) -> str:
    (status,) = node.status().edges
    return status.state


def test_a_held_conflict_outlives_a_kill(tmp_path: Path) -> None:
    left, right = tmp_path / "left", tmp_path / "right"
    for tree in (left, right):
        tree.mkdir()
        (tree / "f").write_text(f"of {tree.name}")
    with replicating(tmp_path, conflict=ConflictPlan("hold")) as (_, spoke):
        wait_until(lambda: state_of(spoke) == "held", "the conflict is held")
        (left / "later").write_text("more")  # what was handled is on record once this is through
        wait_until((right / "later").exists, "the edge goes on")
        (left / "later still").write_text("more")
        wait_until((right / "later still").exists, "the edge goes on")
        (right / "f").unlink()  # how a person settles it
        with restarted(spoke):
            wait_until((right / "f").exists, "the other side's content takes its place")
            assert (right / "f").read_text() == "of left"


def test_a_disk_that_is_not_mounted_takes_nothing_and_deletes_nothing(tmp_path: Path) -> None:
    left, right = tmp_path / "left", tmp_path / "right"
    left.mkdir()
    (left / "f").write_text("1")
    (left / "g").write_text("2")
    with replicating(tmp_path) as (_, spoke):
        wait_until(lambda: (right / "f").exists() and (right / "g").exists(), "the first files arrive")
        wait_until(lambda: state_of(spoke) == "in-step", "they are in step")
        right.rename(tmp_path / "the disk")
        right.mkdir()  # the mount point
        with restarted(spoke) as again:
            (left / "new").write_text("3")
            wait_until(lambda: state_of(again) == "failed", "the status says it")
            assert "mount or restore it" in again.status().edges[0].detail
            assert list(right.iterdir()) == []
            assert {path.name for path in left.iterdir()} >= {"f", "g", "new"}
            right.rmdir()
            (tmp_path / "the disk").rename(right)  # mounted
        with restarted(again):
            wait_until((right / "new").exists, "the edge goes on")
        assert {path.name for path in left.iterdir()} >= {"f", "g", "new"}
