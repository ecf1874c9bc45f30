"""The conflicts of one node: what is listed of them, and what each way of ending one does to the tree."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from node_runtime.daemon import conflicts as module
from node_runtime.daemon.edges import EdgeSupervisor
from node_runtime.daemon.schedule import Schedules
from node_runtime.errors import NodeError
from schemas.conflicts import Conflict, Conflicts, Keep, ListConflicts, ResolveConflict, Resolved
from schemas.plans import ConflictPlan, SyncPlan
from tests.support.engine import glance, same, write
from tests.support.plans import edge_between, plan_of
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


class Pair:
    """Two trees of one node, joined by an edge."""

    def __init__(self, directory: Path, **how: Any) -> None:
        self.left, self.right = directory / "left", directory / "right"
        self.plan = edge_between(
            f"n:{self.left}", f"n:{self.right}", sync=SyncPlan(debounce_s=0.05), **{"dials": "n", **how}
        )
        self.supervisor: EdgeSupervisor

    async def list(self, *patterns: str) -> Conflicts:
        reply = await self.supervisor.answer(ListConflicts(patterns=patterns))
        assert isinstance(reply, Conflicts)
        return reply

    async def at(self, root: Path) -> Conflict:
        """The one conflict that this tree sees."""
        [found] = [each for each in (await self.list()).conflicts if each.replica == str(root)]
        return found

    async def resolve(self, conflict: Conflict, keep: Keep, *over: Any) -> Resolved:
        reply = await self.supervisor.answer(ResolveConflict(conflict, keep, over))
        assert isinstance(reply, Resolved)
        return reply

    async def in_step(self) -> None:
        await until(
            lambda: (
                same(self.left, self.right)
                and {each.state for each in self.supervisor.status()[0]} == {"in-step"}
            ),
            "both trees are in step",
        )

    def texts(self) -> dict[str, str]:
        seen = glance(self.right)
        return {path.decode(): text.decode() for path, (kind, text, _) in seen.items() if kind == "file"}


@asynccontextmanager
async def conflicting(directory: Path, *paths: str, **how: Any) -> AsyncIterator[Pair]:
    """A pair whose trees held other contents at `paths` before they met; the right one's are newer."""
    pair = Pair(directory, **how)
    for root, at_s in ((pair.left, 1_795_362_781), (pair.right, 1_795_362_790)):
        for path in paths:
            write(root, {path: f"{path} on the {root.name}"})
            os.utime(root / path, (at_s, at_s))
    schedules = Schedules()
    schedules.start()
    pair.supervisor = EdgeSupervisor("n", directory / "state", _never_dialled, schedules)
    try:
        await pair.supervisor.activate(plan_of("n", pair.plan))
        yield pair
    finally:
        await pair.supervisor.stop()
        schedules.stop()


async def _never_dialled(*_: object) -> None:
    raise AssertionError("both ends are on this node")


async def test_a_listing_is_bounded_and_filtered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"d/{number}.txt" for number in range(5)]
    monkeypatch.setattr(module, "PAGE_ROWS", 2)
    async with conflicting(tmp_path, *names, "x.lock") as pair:
        await pair.in_step()
        listed = await pair.list()
        assert [each.path for each in listed.conflicts] == [*names, "x.lock"] * 2
        assert set(listed.replicas) == {str(pair.left), str(pair.right)}
        assert {each.path for each in (await pair.list("*.lock", "/d/3*")).conflicts} == {"x.lock", "d/3.txt"}
        with pytest.raises(NodeError, match="not gitignore syntax"):
            await pair.list("[z-a]")
        monkeypatch.setattr(module, "MAX_LISTED", 4)
        assert (len((await pair.list()).conflicts), (await pair.list()).more) == (4, 8)


async def test_the_original_of_a_name_that_was_cut_is_found(tmp_path: Path) -> None:
    name = "é" * 120 + ".txt"
    async with conflicting(tmp_path, name, f"d/{name}") as pair:
        await pair.in_step()
        assert {each.path for each in (await pair.list()).conflicts} == {name, f"d/{name}"}
        assert all(each.here is not None for each in (await pair.list()).conflicts)


async def test_a_user_s_own_files_are_no_conflicts(tmp_path: Path) -> None:
    async with conflicting(tmp_path) as pair:
        write(pair.left, {"about.sync-conflict-files.txt": "mine", "a.sync-conflict-1/x": "mine"})
        await pair.in_step()
        assert (await pair.list()).conflicts == ()


@pytest.mark.parametrize(
    ("keep", "remains"),
    [
        ("winner", {"f.txt": "f.txt on the right"}),
        ("copy", {"f.txt": "f.txt on the left"}),
        (
            "both",
            {
                "f.txt": "f.txt on the right",
                "f (from n, 2026-11-22 15.53.01).txt": "f.txt on the left",
            },
        ),
    ],
)
async def test_each_end_of_a_conflict(tmp_path: Path, keep: Keep, remains: dict[str, str]) -> None:
    async with conflicting(tmp_path, "f.txt") as pair:
        await pair.in_step()
        await pair.resolve(await pair.at(pair.right), keep)
        await until(lambda: pair.texts() == remains, "what was asked for")
        await pair.in_step()
        assert (await pair.list()).conflicts == ()
        assert not any(each.conflict_count for each in pair.supervisor.status()[0])


async def test_a_name_that_is_taken_is_never_overwritten(tmp_path: Path) -> None:
    async with conflicting(tmp_path, "f.txt") as pair:
        await pair.in_step()
        write(pair.left, {"f (from n, 2026-11-22 15.53.01).txt": "a user's"})
        with pytest.raises(NodeError, match=r"is there already|is being changed"):
            await pair.resolve(await pair.at(pair.left), "both")
        assert (pair.left / "f (from n, 2026-11-22 15.53.01).txt").read_text() == "a user's"


async def test_a_copy_can_not_replace_a_directory_that_holds_something(tmp_path: Path) -> None:
    async with conflicting(tmp_path, "d/x") as pair:
        await pair.in_step()
        (pair.left / "d" / "x").rename(pair.left / "kept")
        copy = "d.sync-conflict-20261122-155301-n-1f9c3d"
        write(pair.left, {copy: "a file", "d/y": "in the directory"})
        await until(lambda: (pair.right / copy).exists() and (pair.right / "d" / "y").exists(), "it arrived")
        await pair.in_step()
        listed = (await pair.list("d")).conflicts
        [found] = [each for each in listed if (each.replica, each.path) == (str(pair.right), "d")]
        with pytest.raises(NodeError, match="a directory that isn't empty"):
            await pair.resolve(found, "copy")
        assert (pair.right / copy).read_text() == "a file"


@pytest.mark.parametrize("stays", ["left", "right"])
async def test_a_held_conflict_ends_at_either_replica(tmp_path: Path, stays: str) -> None:
    async with conflicting(tmp_path, "f.txt", conflict=ConflictPlan("hold")) as pair:
        await until(lambda: "held" in {each.state for each in pair.supervisor.status()[0]}, "it is held")
        root = pair.left if stays == "left" else pair.right
        conflict = await pair.at(root)
        await pair.resolve(conflict, "here", conflict.other.version)
        await until(lambda: pair.texts() == {"f.txt": f"f.txt on the {stays}"}, "one content stays")
        await pair.in_step()
        assert (await pair.list()).conflicts == ()


async def test_a_source_that_takes_nothing_can_still_win(tmp_path: Path) -> None:
    hold = {"conflict": ConflictPlan("hold"), "direction": "one-way", "target_changes": "keep"}
    async with conflicting(tmp_path, "f.txt", **hold) as pair:
        await until(lambda: "held" in {each.state for each in pair.supervisor.status()[0]}, "it is held")
        [seen] = (await pair.list()).conflicts
        assert seen.replica == str(pair.right)
        assert seen.here is not None
        there = Conflict(str(pair.left), seen.path, seen.other, seen.other, "n")
        changed = msgspec.structs.replace(there, here=seen.here)
        with pytest.raises(NodeError, match="has changed since"):
            await pair.resolve(changed, "here", seen.here.version)
        with pytest.raises(NodeError, match="no such conflict"):
            await pair.resolve(msgspec.structs.replace(there, path="../f.txt"), "here", seen.here.version)
        await pair.resolve(there, "here", seen.here.version)
        await until(lambda: pair.texts() == {"f.txt": "f.txt on the left"}, "the source's content")
        assert (await pair.list()).conflicts == ()
