"""What a guard holds back on a running edge, and what lets it go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from node_runtime.daemon import tending
from node_runtime.daemon.edges import EdgeSupervisor
from schemas.plans import GuardPlan, ReplicationPlan
from schemas.status import EdgeStatus, HeldChanges
from tests.node_runtime.daemon.test_edges import CONTINUOUS, ONCE, SELDOM, edge, plan, running
from tests.support.engine import glance, remove, same, write
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

TEN = {f"d/{n}": f"content {n}" for n in range(10)}
FEW = GuardPlan("25%")


def guarded(directory: Path, guards: GuardPlan = FEW, **changes: Any) -> ReplicationPlan:
    return edge(directory, "a", "b", changes.pop("sync", CONTINUOUS), guards=guards, **changes)


def target_end(supervisor: EdgeSupervisor) -> EdgeStatus:
    """The end at "b"; it comes last."""
    return supervisor.status()[0][-1]


def held(supervisor: EdgeSupervisor) -> HeldChanges | None:
    return target_end(supervisor).held


def deleted(directory: Path, names: range) -> None:
    for n in names:
        remove(directory / "d" / str(n))


async def in_step(directory: Path, supervisor: EdgeSupervisor) -> None:
    await until(
        lambda: same(directory / "a", directory / "b") and target_end(supervisor).state == "in-step",
        "in step",
    )


async def test_a_mass_delete_waits_for_a_person_and_so_does_the_next(tmp_path: Path) -> None:
    write(tmp_path / "a", TEN)
    one = guarded(tmp_path)
    async with running(tmp_path) as (supervisor, _):
        await supervisor.activate(plan(one))
        await in_step(tmp_path, supervisor)
        deleted(tmp_path / "a", range(4))
        write(tmp_path / "a", {"new": "goes on"})
        await until(
            lambda: target_end(supervisor).state == "held" and (tmp_path / "b" / "new").exists(), "it is held"
        )
        found = target_end(supervisor)
        assert found.held is not None
        assert (found.state, found.held.deletes, found.held.replaces) == ("held", 4, 0)
        assert found.held.paths == ("d/0", "d/1", "d/2", "d/3")
        assert f"syncgraph approve {one.edge}" in found.detail
        assert "4 deletes are held back by maxDelete 25% of 1" in found.detail  # 10 files, or 11 by then
        assert len(glance(tmp_path / "b")) == 12
        assert await supervisor.approve(one.edge, found.held.hold) is None
        await in_step(tmp_path, supervisor)
        assert await supervisor.approve(one.edge, found.held.hold) is None  # a second time changes nothing
        deleted(tmp_path / "a", range(4, 8))
        await until(lambda: held(supervisor), "the next one is held too")
        assert await supervisor.approve(one.edge, "guessed.99") is not None
        assert len(glance(tmp_path / "b")) == 8


async def test_a_flood_in_drops_is_stopped_too(tmp_path: Path) -> None:
    write(tmp_path / "a", {str(n): f"content {n}" for n in range(40)})
    async with running(tmp_path) as (supervisor, _):
        await supervisor.activate(plan(guarded(tmp_path, GuardPlan("10"))))
        await in_step(tmp_path, supervisor)
        for n in range(10):
            write(tmp_path / "a", {str(n): "encrypted"})
            await in_step(tmp_path, supervisor)
        write(tmp_path / "a", {"0": "a path that was counted before"})
        await in_step(tmp_path, supervisor)
        write(tmp_path / "a", {"10": "encrypted"})
        await until(lambda: held(supervisor), "the eleventh is held")
        assert (tmp_path / "b" / "10").read_text() == "content 10"


@pytest.mark.parametrize("direction", ["one-way", "two-way"])
async def test_a_renamed_directory_is_no_delete(tmp_path: Path, direction: str) -> None:
    write(tmp_path / "a", TEN)
    async with running(tmp_path) as (supervisor, _):
        await supervisor.activate(plan(guarded(tmp_path, GuardPlan("0"), direction=direction)))
        await in_step(tmp_path, supervisor)
        (tmp_path / "a" / "d").rename(tmp_path / "a" / "renamed")
        await in_step(tmp_path, supervisor)
        assert len(glance(tmp_path / "b" / "renamed")) == 10


@pytest.mark.parametrize("direction", ["one-way", "two-way"])
async def test_a_whole_directory_goes_only_when_approved(tmp_path: Path, direction: str) -> None:
    write(tmp_path / "a", {**TEN, "stays": "x"})
    one = guarded(tmp_path, direction=direction)
    async with running(tmp_path) as (supervisor, _):
        await supervisor.activate(plan(one))
        await in_step(tmp_path, supervisor)
        remove(tmp_path / "a" / "d")
        await until(lambda: held(supervisor), "it is held")
        seen = held(supervisor)
        assert seen is not None
        assert (seen.deletes, seen.directories) == (10, 1)
        await supervisor.approve(one.edge, seen.hold)
        await in_step(tmp_path, supervisor)
        assert glance(tmp_path / "a").keys() == {b"stays"}


async def test_what_is_held_ends_by_itself_where_the_source_takes_it_back(tmp_path: Path) -> None:
    write(tmp_path / "a", TEN)
    async with running(tmp_path) as (supervisor, _):
        await supervisor.activate(plan(guarded(tmp_path)))
        await in_step(tmp_path, supervisor)
        deleted(tmp_path / "a", range(5))
        await until(lambda: held(supervisor), "it is held")
        write(tmp_path / "a", TEN)
        await in_step(tmp_path, supervisor)
        assert held(supervisor) is None


async def test_a_hold_outlives_the_runtime_but_not_its_limit(tmp_path: Path) -> None:
    write(tmp_path / "a", TEN)
    one = guarded(tmp_path)
    async with running(tmp_path) as (supervisor, _):
        await supervisor.activate(plan(one))
        await in_step(tmp_path, supervisor)
        deleted(tmp_path / "a", range(5))
        await until(lambda: held(supervisor), "it is held")
        before = held(supervisor)
    async with running(tmp_path) as (supervisor, _):
        await supervisor.activate(plan(one))
        await until(lambda: held(supervisor) and target_end(supervisor).state == "held", "it still is")
        assert before is not None
        assert (
            await supervisor.approve(one.edge, before.hold) is not None
        )  # the runtime that showed it is gone
        assert len(glance(tmp_path / "b")) == 11
        await supervisor.activate(plan(guarded(tmp_path, GuardPlan("50%"))))
        await in_step(tmp_path, supervisor)


async def test_what_came_after_it_was_shown_is_not_approved(tmp_path: Path) -> None:
    write(tmp_path / "a", TEN)
    one = guarded(tmp_path)
    async with running(tmp_path) as (supervisor, _):
        await supervisor.activate(plan(one))
        await in_step(tmp_path, supervisor)
        deleted(tmp_path / "a", range(4))
        await until(lambda: held(supervisor), "it is held")
        shown = held(supervisor)
        deleted(tmp_path / "a", range(4, 9))
        await until(lambda: (now := held(supervisor)) and now.deletes == 9, "more is held")
        assert shown is not None
        await supervisor.approve(one.edge, shown.hold)
        await until(lambda: (now := held(supervisor)) and now.deletes == 5, "what came later still is")
        await until(lambda: len(glance(tmp_path / "b")) == 7, "what was shown went")


@pytest.mark.parametrize("sync", [ONCE, SELDOM], ids=["once", "scheduled"])
async def test_an_approval_starts_a_run_of_an_edge_that_ended(tmp_path: Path, sync: Any) -> None:
    write(tmp_path / "a", {"x": "of a", "y": "of a"})
    write(tmp_path / "b", {"x": "of b", "y": "of b"})
    one = guarded(tmp_path, GuardPlan("1"), sync=sync)
    async with running(tmp_path) as (supervisor, _):
        await supervisor.activate(plan(one))
        supervisor._edges[one.edge, "target"]._due.set()  # a scheduled run's time has come
        await until(lambda: target_end(supervisor).state == "held", "both replacements are held")
        seen = held(supervisor)
        assert seen is not None
        assert (seen.deletes, seen.replaces) == (0, 2)
        await supervisor.approve(one.edge, seen.hold)
        await in_step(tmp_path, supervisor)
        assert (tmp_path / "b" / "x").read_text() == "of a"


async def test_deletes_that_a_missing_marker_holds_are_said_and_go_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tending, "CHECK_S", 0.1)
    monkeypatch.setattr(tending, "DOUBT_S", 0.1)
    write(tmp_path / "a", TEN)
    async with running(tmp_path) as (supervisor, _):
        await supervisor.activate(
            plan(guarded(tmp_path, GuardPlan(require_marker=True), direction="two-way"))
        )
        await in_step(tmp_path, supervisor)
        (tmp_path / "a" / ".syncgraph" / "marker").unlink()
        victims = sorted(TEN)[:3]
        for victim in victims:
            (tmp_path / "a" / victim).unlink()
        await until(
            lambda: any("marker is missing" in each.problem for each in supervisor.status()[1]), "it is said"
        )
        assert glance(tmp_path / "b").keys() >= {path.encode() for path in TEN}
        write(tmp_path / "a", {".syncgraph/marker": ""})
        await until(lambda: not any((tmp_path / "b" / victim).exists() for victim in victims), "they go")
        await until(lambda: not any(each.problem for each in supervisor.status()[1]), "it is over")


async def test_a_replica_without_its_marker_deletes_nothing_elsewhere(tmp_path: Path) -> None:
    write(tmp_path / "a", TEN)
    async with running(tmp_path) as (supervisor, _):
        await supervisor.activate(
            plan(guarded(tmp_path, GuardPlan(require_marker=True), direction="two-way"))
        )
        await in_step(tmp_path, supervisor)
        assert (tmp_path / "a" / ".syncgraph" / "marker").exists()
        assert (tmp_path / "b" / ".syncgraph" / "marker").exists()
    (tmp_path / "a").rename(tmp_path / "the disk")
    write(tmp_path / "a", {"a stray file": "under the mount point"})
    async with running(tmp_path) as (supervisor, _):
        await supervisor.activate(
            plan(guarded(tmp_path, GuardPlan(require_marker=True), direction="two-way"))
        )
        await until(lambda: supervisor.status()[0][0].state == "held", "it is said")
        assert ".syncgraph/marker is missing" in supervisor.status()[0][0].detail
        assert glance(tmp_path / "b").keys() >= {path.encode() for path in TEN}
    write(tmp_path / "a", {".syncgraph/marker": ""})
    async with running(tmp_path) as (supervisor, _):
        await supervisor.activate(
            plan(guarded(tmp_path, GuardPlan(require_marker=True), direction="two-way"))
        )
        await in_step(tmp_path, supervisor)
        assert glance(tmp_path / "b").keys() == {b"a stray file"}
