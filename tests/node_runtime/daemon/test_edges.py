"""Edges of one node between its own directories: modes side by side, plans that change, faults that pass."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from node_runtime.daemon.edges import EdgeSupervisor
from node_runtime.daemon.schedule import Schedules
from node_runtime.disk.index import Index
from node_runtime.replica.entry import Row
from schemas.plans import API_VERSION, ConflictPlan, NodePlan, ReplicaRef, ReplicationPlan, SyncPlan
from tests.support.engine import glance, remove, same, write
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

CONTINUOUS = SyncPlan(debounce_s=0.05)
ONCE = SyncPlan(mode="once")
SELDOM = SyncPlan(mode="scheduled", schedule="0 0 1 1 *")


async def never_dialled(peer_node: str, factory: Callable[[], asyncio.Protocol]) -> None:
    raise AssertionError(f"dialled {peer_node}: both ends are on this node")


def edge(directory: Path, source: str, target: str, sync: SyncPlan, **changes: Any) -> ReplicationPlan:
    fields: dict[str, Any] = {
        "edge": f"t/g/n:/{source}~n:/{target}",
        "source": ReplicaRef("n", str(directory / source)),
        "target": ReplicaRef("n", str(directory / target)),
        "direction": "one-way",
        "dials": "n",
        "sync": sync,
    }
    return ReplicationPlan(**{**fields, **changes})


def plan(*edges: ReplicationPlan) -> NodePlan:
    return NodePlan(API_VERSION, "NodePlan", "fleet", "n", {}, tuple(sorted(edges, key=lambda e: e.edge)))


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[tuple[EdgeSupervisor, Schedules]]:
    schedules = Schedules()
    schedules.start()
    supervisor = EdgeSupervisor("n", directory / "state", never_dialled, schedules)
    try:
        yield supervisor, schedules
    finally:
        await supervisor.stop()
        schedules.stop()


def states(supervisor: EdgeSupervisor) -> dict[tuple[str, str], set[str]]:
    """The states that the two ends report, by the edge's directories."""
    found: dict[tuple[str, str], set[str]] = {}
    for status in supervisor.status()[0]:
        source, target = (end.rpartition("/")[2] for end in status.edge.removeprefix("t/g/").split("~"))
        found.setdefault((source, target), set()).add(status.state)
    return found


async def test_once_scheduled_and_continuous_on_one_replica(tmp_path: Path) -> None:
    write(tmp_path / "hub", {"x": "1", "d/y": "2"})
    modes = {"once": ONCE, "now and then": SELDOM, "always": CONTINUOUS}
    async with running(tmp_path) as (supervisor, schedules):
        edges = [edge(tmp_path, "hub", name, sync) for name, sync in modes.items()]
        await supervisor.activate(plan(*edges))
        await until(lambda: same(tmp_path / "hub", tmp_path / "always"), "the continuous edge")
        await until(lambda: same(tmp_path / "hub", tmp_path / "once"), "the one-time edge")
        await until(lambda: states(supervisor)["hub", "once"] == {"in-step"}, "it says so")
        write(tmp_path / "hub", {"x": "edited", "new": "3"})
        await until(lambda: same(tmp_path / "hub", tmp_path / "always"), "edits follow")
        assert (tmp_path / "once" / "x").read_text() == "1"
        assert not (tmp_path / "now and then").exists() or not glance(tmp_path / "now and then")
        [due] = [each for each in edges if each.sync is SELDOM]
        assert schedules.next_run(due.edge) is not None
        schedules._engine.modify_job(due.edge, next_run_time=datetime.now(UTC))  # its time has come
        await until(lambda: same(tmp_path / "hub", tmp_path / "now and then"), "the scheduled edge")


async def test_a_one_time_edge_does_not_run_again_after_a_restart(tmp_path: Path) -> None:
    write(tmp_path / "a", {"x": "1"})
    once = plan(edge(tmp_path, "a", "b", ONCE))
    for _ in range(2):
        async with running(tmp_path) as (supervisor, _):
            await supervisor.activate(once)
            tasks = [each._task for each in supervisor._edges.values() if each._task is not None]
            await until(lambda: all(task.done() for task in tasks), "it ran, or knows that it did")  # noqa: B023
            assert [task.result() for task in tasks] == [None]
        write(tmp_path / "a", {"x": "edited"})
    assert (tmp_path / "b" / "x").read_text() == "1"


async def test_a_circle_of_three_agrees(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / name, {f"from {name}": name, "same name": f"of {name}"})
    sides = [("a", "b"), ("b", "c"), ("c", "a")]
    mesh = plan(*(edge(tmp_path, s, t, CONTINUOUS, direction="two-way") for s, t in sides))
    async with running(tmp_path) as (supervisor, _):
        await supervisor.activate(mesh)
        await until(
            lambda: (
                len(glance(tmp_path / "a")) == 6
                and same(tmp_path / "a", tmp_path / "b")
                and same(tmp_path / "b", tmp_path / "c")
            ),
            "all three hold all",
        )
        contents = {seen[1] for seen in glance(tmp_path / "a").values()}
        assert contents == {b"a", b"b", b"c", b"of a", b"of b", b"of c"}
        remove(tmp_path / "b" / "from a")
        (tmp_path / "c" / "from b").rename(tmp_path / "c" / "renamed")
        await until(
            lambda: all(
                set(glance(tmp_path / name)) >= {b"renamed", b"from c"}
                and not set(glance(tmp_path / name)) & {b"from a", b"from b"}
                for name in "abc"
            ),
            "a delete and a rename go round",
        )


async def test_an_edge_that_leaves_the_plan_stops(tmp_path: Path) -> None:
    write(tmp_path / "a", {"x": "1"})
    kept, dropped = edge(tmp_path, "a", "b", CONTINUOUS), edge(tmp_path, "a", "c", CONTINUOUS)
    async with running(tmp_path) as (supervisor, _):
        await supervisor.activate(plan(kept, dropped))
        await until(lambda: same(tmp_path / "a", tmp_path / "b"), "one")
        await until(lambda: same(tmp_path / "a", tmp_path / "c"), "the other")
        await supervisor.activate(plan(kept))
        assert states(supervisor).keys() == {("a", "b")}
        write(tmp_path / "a", {"x": "edited"})
        await until(lambda: same(tmp_path / "a", tmp_path / "b"), "what stays goes on")
        assert (tmp_path / "c" / "x").read_text() == "1"


async def test_a_changed_edge_runs_under_its_new_rules(tmp_path: Path) -> None:
    write(tmp_path / "a", {"x": "1"})
    async with running(tmp_path) as (supervisor, _):
        await supervisor.activate(plan(edge(tmp_path, "a", "b", CONTINUOUS)))
        await until(lambda: same(tmp_path / "a", tmp_path / "b"), "the first rules")
        await supervisor.activate(plan(edge(tmp_path, "a", "b", CONTINUOUS, direction="two-way")))
        write(tmp_path / "b", {"back": "2"})
        await until(lambda: same(tmp_path / "a", tmp_path / "b"), "the new rules")
        assert (tmp_path / "a" / "back").read_text() == "2"


async def test_an_edge_outlives_a_fault_that_nobody_foresaw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a", {"x": "1"})
    put = Index.put
    faults: list[Sequence[Row]] = []

    def put_fails_at_first(index: Index, rows: Sequence[Row]) -> None:
        if any(row.learned_from for row in rows) and not faults:
            faults.append(rows)
            raise RuntimeError("the index's disk is full")
        put(index, rows)

    monkeypatch.setattr(Index, "put", put_fails_at_first)
    async with running(tmp_path) as (supervisor, _):
        await supervisor.activate(plan(edge(tmp_path, "a", "b", CONTINUOUS)))
        await until(lambda: faults, "it failed")
        await until(lambda: states(supervisor)["a", "b"] == {"in-step"}, "it was tried again")
        assert same(tmp_path / "a", tmp_path / "b")


async def test_a_held_conflict_shows_in_the_status(tmp_path: Path) -> None:
    write(tmp_path / "a", {"f": "left"})
    write(tmp_path / "b", {"f": "right"})
    held = edge(tmp_path, "a", "b", CONTINUOUS, direction="two-way", conflict=ConflictPlan("hold"))
    async with running(tmp_path) as (supervisor, _):
        await supervisor.activate(plan(held))
        await until(lambda: "held" in states(supervisor)["a", "b"], "it is held")
        assert any(status.conflict_count == 1 for status in supervisor.status()[0])
        remove(tmp_path / "a" / "f")
        write(tmp_path / "a", {"another": "so that it isn't empty"})
        await until(lambda: same(tmp_path / "a", tmp_path / "b"), "deleting one side settles it")
        assert (tmp_path / "a" / "f").read_text() == "right"


async def test_a_run_that_ends_takes_what_was_written_just_before(tmp_path: Path) -> None:
    slow = SyncPlan(debounce_s=30.0)  # for the continuous edge, a file must have rested almost as long
    write(tmp_path / "a", {"x": "an instant old"})
    async with running(tmp_path) as (supervisor, _):
        await supervisor.activate(plan(edge(tmp_path, "a", "b", ONCE), edge(tmp_path, "a", "c", slow)))
        await until(lambda: "in-step" in states(supervisor)["a", "b"], "the one-time edge")
        assert (tmp_path / "b" / "x").read_text() == "an instant old"
