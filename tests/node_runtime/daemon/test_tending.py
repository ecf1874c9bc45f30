"""A replica whose directory goes, comes back, or is another one; and files that never rest."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from node_runtime.daemon import tending
from node_runtime.daemon.edges import EdgeSupervisor
from node_runtime.daemon.schedule import Schedules
from schemas.plans import API_VERSION, NodePlan, ReplicaRef, ReplicationPlan, SyncPlan

pytestmark = pytest.mark.anyio

DEADLINE_S = 30.0


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():  # noqa: ASYNC110 - what is waited for is on the disk
            await asyncio.sleep(0.02)


async def never_dialled(peer_node: str, factory: Callable[[], asyncio.Protocol]) -> None:
    raise AssertionError(f"dialled {peer_node}: both ends are on this node")


@pytest.fixture
async def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EdgeSupervisor]:
    """One continuous edge from `a` to `b`, two directories of one node."""
    monkeypatch.setattr(tending, "CHECK_S", 0.1)
    (tmp_path / "a").mkdir()
    edge = ReplicationPlan(
        edge="t/edges/n:/a~n:/b",
        source=ReplicaRef("n", str(tmp_path / "a")),
        target=ReplicaRef("n", str(tmp_path / "b")),
        direction="one-way",
        dials="n",
        sync=SyncPlan(debounce_s=0.05),
    )
    supervisor = EdgeSupervisor("n", tmp_path / "state", never_dialled, Schedules())
    await supervisor.activate(NodePlan(API_VERSION, "NodePlan", "f", "n", {}, (edge,)))
    yield supervisor
    await supervisor.stop()


def states(supervisor: EdgeSupervisor) -> list[str]:
    return [edge.state for edge in supervisor.status()[0]]


async def test_a_directory_that_goes_is_said_and_one_that_comes_back_is_followed(
    tmp_path: Path, supervisor: EdgeSupervisor
) -> None:
    (tmp_path / "a/one").write_text("1")
    await until((tmp_path / "b/one").exists)
    (tmp_path / "a").rename(tmp_path / "elsewhere")
    await until(lambda: "failed" in states(supervisor))
    assert (tmp_path / "b/one").read_text() == "1"
    (tmp_path / "elsewhere").rename(tmp_path / "a")
    (tmp_path / "a/two").write_text("2")
    await until((tmp_path / "b/two").exists)
    await until(lambda: states(supervisor) == ["in-step", "in-step"])


async def test_another_directory_at_the_same_path_is_opened_and_followed(
    tmp_path: Path, supervisor: EdgeSupervisor
) -> None:
    (tmp_path / "a/one").write_text("1")
    await until((tmp_path / "b/one").exists)
    (tmp_path / "a").rename(tmp_path / "elsewhere")
    shutil.copytree(tmp_path / "elsewhere", tmp_path / "a")
    (tmp_path / "a/two").write_text("2")
    await until((tmp_path / "b/two").exists)
    assert (tmp_path / "b/one").read_text() == "1"
    (tmp_path / "a/three").write_text("3")
    await until((tmp_path / "b/three").exists)


async def test_an_empty_directory_in_its_place_deletes_nothing(
    tmp_path: Path, supervisor: EdgeSupervisor
) -> None:
    (tmp_path / "a/one").write_text("1")
    await until((tmp_path / "b/one").exists)
    (tmp_path / "a").rename(tmp_path / "elsewhere")
    (tmp_path / "a").mkdir()
    await until(lambda: any("empty" in replica.problem for replica in supervisor.status()[1]))
    assert (tmp_path / "b/one").read_text() == "1"
    (tmp_path / "a").rmdir()
    (tmp_path / "elsewhere").rename(tmp_path / "a")
    (tmp_path / "a/two").write_text("2")
    await until((tmp_path / "b/two").exists)
    assert (tmp_path / "b/one").read_text() == "1"


async def test_a_file_that_never_rests_is_taken_in_the_end(
    tmp_path: Path, supervisor: EdgeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tending, "MAX_UNREST_S", 0.3)
    (tmp_path / "a/log").write_text("begun")

    def touch_until_it_arrives() -> bool:
        if (tmp_path / "a/log").exists():
            os.utime(tmp_path / "a/log")
        return (tmp_path / "b/log").exists()

    await until(touch_until_it_arrives)
