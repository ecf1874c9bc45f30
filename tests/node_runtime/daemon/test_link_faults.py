"""An edge in bad conditions: filters, permissions, full disks, lost sessions and indexes, more than fits."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from node_runtime.daemon import taking
from node_runtime.daemon.link import Link
from node_runtime.daemon.talk import Manner, Talk
from node_runtime.exchange import messages
from schemas.plans import FilterRule
from tests.support.engine import (
    against,
    edge,
    link,
    one_way,
    outcome,
    pair_of_sessions,
    remove,
    sites,
    sync,
    sync_cut_off,
    tree_of,
    two_way,
    write,
)
from tests.support.entropy import Entropy
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["one-way", "two-way"])
def direction(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_what_is_excluded_neither_travels_nor_is_deleted(tmp_path: Path, direction: str) -> None:
    async with sites(tmp_path) as (left, right):
        plan = edge(
            left, right, direction, filters=(FilterRule("exclude", "*.tmp"), FilterRule("exclude", "cache/"))
        )
        left.write({"a": "1", "b.tmp": "left", "cache/x": "left", "d/c.tmp": "left"})
        right.write({"z.tmp": "right", "cache/y": "right", "d/e.tmp": "right"})
        await sync(left, right, plan)
        assert right.texts() == {"a": "1", "z.tmp": "right", "cache/y": "right", "d/e.tmp": "right"}
        remove(left.root / "d")
        await sync(left, right, plan)
        assert right.texts() == {"a": "1", "z.tmp": "right", "cache/y": "right", "d/e.tmp": "right"}


async def test_new_filters_do_not_look_like_deletes(tmp_path: Path, direction: str) -> None:
    async with sites(tmp_path) as (left, right):
        left.write({"a": "1", "b.tmp": "2"})
        await sync(left, right, edge(left, right, direction))
        filters = (FilterRule("exclude", "*.tmp"),)
        await sync(left, right, edge(left, right, direction, filters=filters))
        assert right.texts() == left.texts() == {"a": "1", "b.tmp": "2"}


async def test_directories_nobody_may_write_to_still_arrive(tmp_path: Path) -> None:
    async with sites(tmp_path) as (left, right):
        left.write({"d/a": "1", "d/sub/b": "2"})
        for directory in ("d/sub", "d"):
            (left.root / directory).chmod(0o555)
        await sync(left, right, one_way(left, right))
        assert right.tree() == left.tree()


async def test_a_failed_path_is_listed_and_comes_with_a_later_run(tmp_path: Path) -> None:
    async with sites(tmp_path) as (left, right):
        left.write({"good": "1", "x" * 100 + "/f": "2"})
        # What stands in the way belongs to nobody's replica: a pipe.
        os.mkfifo(right.root / ("x" * 100))
        _, theirs = await sync(left, right, one_way(left, right))
        assert right.texts() == {"good": "1"}
        assert {path for path, _ in theirs.failed} == {b"x" * 100, b"x" * 100 + b"/f"}
        (right.root / ("x" * 100)).unlink()
        _, theirs = await sync(left, right, one_way(left, right))
        assert theirs.failed == ()
        assert right.tree() == left.tree()


async def test_a_dry_run_counts_and_changes_nothing(tmp_path: Path, direction: str) -> None:
    async with sites(tmp_path) as (left, right):
        left.write({"edited": "1", "deleted": "2", "moved": "some content"})
        await sync(left, right, edge(left, right, direction))
        left.write({"edited": "edited", "new": "new", "d/x": "below"})
        remove(left.root / "deleted")
        os.rename(left.root / "moved", left.root / "renamed")
        before = left.tree(), right.tree()
        _, theirs = await sync(left, right, edge(left, right, direction), dry_run=True)
        assert (left.tree(), right.tree()) == before
        assert (theirs.files, theirs.directories, theirs.deleted, theirs.renamed) == (3, 1, 1, 1)
        _, theirs = await sync(left, right, edge(left, right, direction))
        assert (theirs.files, theirs.directories, theirs.deleted, theirs.renamed) == (3, 1, 1, 1)
        assert right.tree() == left.tree()


async def test_a_file_that_changes_while_it_is_sent_arrives_in_its_last_form(tmp_path: Path) -> None:
    async with sites(tmp_path) as (left, right):
        left.write({"growing": b"first " * 1_000_000, "still": "still"})
        first = left.replica.index.max_seq

        async def edit() -> None:
            while left.replica.max_seq == first:  # until the scan has announced it
                await left.replica.read(lambda: None)
            left.write({"growing": b"second" * 1_000_001})

        _, (_, theirs) = await asyncio.gather(edit(), sync(left, right, one_way(left, right)))
        _, theirs = await sync(left, right, one_way(left, right))
        assert theirs.failed == ()
        assert right.tree() == left.tree()


async def test_three_replicas_in_a_row_pass_everything_on(tmp_path: Path) -> None:
    async with sites(tmp_path, "a", "b", "c") as (a, b, c):
        a.write({"x": "1", "d/y": "2"})
        c.write({"z": "3"})
        for _ in range(2):
            await sync(a, b, two_way(a, b))
            await sync(b, c, two_way(b, c))
        remove(c.root / "x")
        os.rename(a.root / "d", a.root / "e")
        for _ in range(2):
            await sync(a, b, two_way(a, b))
            await sync(b, c, two_way(b, c))
        assert a.tree() == b.tree() == c.tree()
        assert a.texts() == {"e/y": "2", "z": "3"}


async def test_an_index_that_was_lost_brings_nothing_back_and_loses_nothing(tmp_path: Path) -> None:
    async with sites(tmp_path) as (left, right):
        left.write({"a": "1", "b": "2"})
        await sync(left, right, two_way(left, right))
    for name in ("right.db", "right.db-wal", "right.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    write(tmp_path / "right", {"a": "edited while forgotten"})
    async with sites(tmp_path) as (left, right):
        await sync(left, right, two_way(left, right))
        assert tree_of(tmp_path / "left") == tree_of(tmp_path / "right")
        assert "edited while forgotten" in left.texts().values()
        assert left.texts()["b"] == "2"


@pytest.mark.parametrize("change", ["delete", "replace", "rename"])
async def test_more_than_is_held_back_at_once(
    tmp_path: Path, direction: str, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "MAX_BATCH_ENTRIES", 7)
    monkeypatch.setattr(taking, "DEFER_HIGH", 20)
    monkeypatch.setattr(taking, "FETCH_HIGH", 10)
    async with sites(tmp_path) as (left, right):
        left.write({f"d/{n % 9}/{n}": f"content {n}" for n in range(90)})
        left.write({"kept": "k"})
        await sync(left, right, edge(left, right, direction))
        if change == "rename":
            os.rename(left.root / "d", left.root / "e")
        else:
            remove(left.root / "d")
        if change == "replace":
            left.write({"d": "a file now"})
        expected = left.tree()
        _, theirs = await sync(left, right, edge(left, right, direction))
        assert theirs.failed == ()
        assert right.tree() == left.tree() == expected


async def test_more_failures_than_a_message_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with sites(tmp_path) as (left, right):
        left.write({"good": "1"})
        plan = one_way(left, right)
        near, far = await pair_of_sessions()
        failed = asyncio.Event()

        async def scan_after_the_failures() -> None:
            await failed.wait()
            await left.replica.scan()

        talk = Talk(plan, "source", left.node, left.replica, near, Manner())
        source = Link(talk, scan_after_the_failures())
        target = link(plan, "target", right, far, Manner())
        many = {b"%d" % number + bytes(200): "it can't be done; do this or that" for number in range(80_000)}
        running = [asyncio.create_task(each.run()) for each in (source, target)]
        await until(lambda: target.taking is not None, "greeted")
        assert target.taking is not None
        target.taking.target.counts.failed.update(many)
        failed.set()
        assert await outcome(running) == [None, None]
        assert source.peer_tally is not None
        assert 0 < len(source.peer_tally.failed) < len(many)
        assert len((await target.tally()).failed) == len(many)


async def test_a_large_file_goes_on_where_its_session_was_cut(tmp_path: Path) -> None:
    content = bytes(range(256)) * 200_000
    async with sites(tmp_path) as (left, right):
        left.write({"large": content})
        plan = one_way(left, right)
        first = await sync_cut_off(left, right, plan, after_bytes=20_000_000)
        assert 20_000_000 < first < len(content)
        assert b"large" not in right.tree()
        _, theirs = await sync(left, right, plan)
        assert right.tree() == left.tree()
        assert theirs.bytes_on_wire <= len(content) - first + 4096


@pytest.mark.parametrize("seed", range(6))
async def test_sessions_lost_at_any_moment(tmp_path: Path, direction: str, seed: int) -> None:
    entropy = Entropy(seed)
    async with sites(tmp_path) as (left, right):
        left.write({f"d{n % 5}/{n}": entropy.octets(entropy.below(60_000)) for n in range(60)})
        if direction == "two-way":
            right.write({f"d{n % 5}/right {n}": entropy.octets(entropy.below(60_000)) for n in range(60)})
        plan = edge(left, right, direction)
        for _ in range(4):
            near, far = await pair_of_sessions()
            links = [link(plan, "source", left, near, Manner()), link(plan, "target", right, far, Manner())]
            running = [asyncio.create_task(each.run()) for each in links]
            cut_at = entropy.below(400_000)
            await until(
                lambda: near.bytes_received + far.bytes_received >= cut_at or all(t.done() for t in running),  # noqa: B023
                "some bytes have crossed",
            )
            entropy.pick([near, far]).close()
            await outcome(running)
            victim = entropy.pick(sorted((left.root / "d1").iterdir()))
            victim.write_bytes(entropy.octets(100))
        mine, theirs = await sync(left, right, plan)
        assert (mine.failed, theirs.failed) == ((), ())
        assert left.tree() == right.tree()
        assert not [path for path in left.tree() if b"sync-conflict" in path]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
async def test_a_full_disk_fails_what_does_not_fit_and_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "right").mkdir()
    if not await _run("mount", "-t", "tmpfs", "-o", "size=2m", "none", str(tmp_path / "right")):
        pytest.skip("mounting isn't allowed here")
    try:
        async with sites(tmp_path) as (left, right):
            left.write({f"{n}": bytes([n]) * 200_000 for n in range(20)})
            left.write({"large": bytes(8_000_000)})
            _, theirs = await sync(left, right, one_way(left, right))
            assert 0 < len(right.tree()) < 21
            assert {path for path, _ in theirs.failed} == set(left.tree()) - set(right.tree())
            assert all("space" in reason for _, reason in theirs.failed)
            assert all(left.tree()[path] == seen for path, seen in right.tree().items())
            remove(left.root / "large")
            for n in range(5, 20):
                remove(left.root / f"{n}")
            _, theirs = await sync(left, right, one_way(left, right))
            assert left.tree().keys() - {path for path, _ in theirs.failed} <= right.tree().keys()
    finally:
        assert await _run("umount", "-l", str(tmp_path / "right"))


async def _run(*command: str) -> bool:
    quiet = asyncio.subprocess.DEVNULL
    child = await asyncio.create_subprocess_exec(*command, stdout=quiet, stderr=quiet)
    return await child.wait() == 0


async def test_a_mirror_asks_again_what_a_lost_session_left_unanswered(tmp_path: Path) -> None:
    async with sites(tmp_path) as (left, right):
        left.write({"a": "1"})
        plan = one_way(left, right)
        await sync(left, right, plan)
        right.write({"only here": "2"})
        async with against(right, plan) as (peer, running):
            await peer.say(messages.IndexEnd(9))
            challenge = await peer.hear(messages.Challenge)
            assert b"only here" in challenge.paths
            peer.session.close()
            await outcome([running])
        await sync(left, right, plan)
        assert right.texts() == {"a": "1"}


async def test_what_failed_is_asked_again_after_a_session_that_never_answered(tmp_path: Path) -> None:
    async with sites(tmp_path) as (left, right):
        left.write({"d/a": "1", "b": "2"})
        os.mkfifo(right.root / "d")
        plan = one_way(left, right)
        _, theirs = await sync(left, right, plan)
        assert b"d/a" in dict(theirs.failed)
        (right.root / "d").unlink()
        async with against(right, plan) as (peer, running):
            challenge = await peer.hear(messages.Challenge)
            assert b"d/a" in challenge.paths
            peer.session.close()
            await outcome([running])
        await sync(left, right, plan)
        assert right.texts() == left.texts()
