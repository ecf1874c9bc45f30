"""Two replicas brought in step over a real session: what an edge does with every kind of difference."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from node_runtime.daemon import replica, taking
from node_runtime.daemon.talk import Manner
from node_runtime.exchange import messages
from node_runtime.exchange.session import SessionClosed
from node_runtime.replica.filters import Filters
from schemas.plans import ConflictPlan, FilterRule
from tests.support.engine import (
    Site,
    edge,
    link,
    one_way,
    outcome,
    pair_of_sessions,
    remove,
    sites,
    sync,
    tree_of,
    two_way,
    write,
)
from tests.support.entropy import Entropy
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

KINDS: dict[str | bytes, str | bytes | Path | None] = {
    "empty.txt": "",
    "small.txt": "small",
    "big.bin": bytes(range(256)) * 20_000,  # several blocks
    "empty directory/": None,
    "deep/er/and/deeper/file": "far down",
    "link to file": Path("small.txt"),
    "dangling": Path("nowhere/at all"),
    "deep/up": Path("../small.txt"),
    b"not utf-8 \xff\xfe": "odd name",
    "new\nline": "odder",
    "ünïcödé/日本語.txt": "text",
    "same as small.txt": "small",
}


@pytest.fixture(params=["one-way", "two-way"])
def direction(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_every_kind_of_path_arrives_as_it_is(tmp_path: Path, direction: str) -> None:
    async with sites(tmp_path) as (left, right):
        left.write(KINDS)
        (left.root / "small.txt").chmod(0o640)
        (left.root / "deep").chmod(0o750)
        os.utime(left.root / "small.txt", ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_789))
        _, theirs = await sync(left, right, edge(left, right, direction))
        assert right.tree() == left.tree()
        assert (right.root / "small.txt").stat().st_mtime_ns == 1_600_000_000_123_456_789
        assert theirs.files == 11  # links count as files
        assert theirs.failed == ()


async def test_a_second_run_moves_nothing(tmp_path: Path, direction: str) -> None:
    async with sites(tmp_path) as (left, right):
        left.write(KINDS)
        await sync(left, right, edge(left, right, direction))
        for tally in await sync(left, right, edge(left, right, direction)):
            assert (tally.files, tally.directories, tally.bytes_on_wire, tally.metadata) == (0, 0, 0, 0)
            assert (tally.deleted, tally.renamed) == (0, 0)


async def test_edits_modes_and_deletes_follow(tmp_path: Path, direction: str) -> None:
    async with sites(tmp_path) as (left, right):
        left.write({"edited": "one", "chmodded": "same", "deleted": "x", "d/deleted": "y", "kept": "z"})
        await sync(left, right, edge(left, right, direction))
        left.write({"edited": "two, longer"})
        (left.root / "chmodded").chmod(0o600)
        remove(left.root / "deleted")
        remove(left.root / "d")
        _, theirs = await sync(left, right, edge(left, right, direction))
        assert right.tree() == left.tree()
        assert (theirs.files, theirs.metadata, theirs.deleted) == (1, 1, 3)
        assert right.kept() >= {b"one", b"x", b"y"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("file", "directory"),
        ("directory", "file"),
        ("file", "symlink"),
        ("symlink", "file"),
        ("symlink", "directory"),
        ("directory", "symlink"),
    ],
)
async def test_a_path_changes_its_kind(tmp_path: Path, direction: str, before: str, after: str) -> None:
    as_kind: dict[str, dict[str | bytes, str | bytes | Path | None]] = {
        "file": {"x": "a file"},
        "directory": {"x/in": "inside", "x/deep/er": "further"},
        "symlink": {"x": Path("elsewhere")},
    }
    async with sites(tmp_path) as (left, right):
        left.write(as_kind[before])
        await sync(left, right, edge(left, right, direction))
        remove(left.root / "x")
        left.write(as_kind[after])
        expected = left.tree()
        _, theirs = await sync(left, right, edge(left, right, direction))
        assert theirs.failed == ()
        assert right.tree() == left.tree() == expected


async def _renamed(tmp_path: Path, direction: str, *moves: tuple[str, str]) -> tuple[int, int]:
    """Rename on one side after both were in step; renames and content bytes that this took on the other."""
    async with sites(tmp_path) as (left, right):
        left.write({"a": "content a" * 99, "b": "content b!" * 99, "c": "the third" * 99})
        left.write({"d/one": "in d" * 50, "d/two": "in d too" * 50, "d/sub/x": "below", "e/z": "in e"})
        await sync(left, right, edge(left, right, direction))
        for old, new in moves:
            (left.root / new).parent.mkdir(parents=True, exist_ok=True)
            os.rename(left.root / old, left.root / new)
        _, theirs = await sync(left, right, edge(left, right, direction))
        assert theirs.failed == ()
        assert right.tree() == left.tree()
        _, again = await sync(left, right, edge(left, right, direction))
        assert (again.files, again.renamed, again.deleted) == (0, 0, 0)
        return theirs.renamed, theirs.bytes_on_wire


@pytest.mark.parametrize(
    "moves",
    [
        [("a", "renamed")],
        [("a", "new directory/renamed")],
        [("d", "renamed")],
        [("d", "e/below")],
        [("c", "z"), ("b", "c"), ("a", "b")],  # chain
        [("d", "t"), ("e", "d"), ("t", "e")],  # directories swapped
        [("d/one", "one"), ("d", "f")],
        [("d", "f"), ("f/one", "f/uno")],
        [("a", "d/sub/y"), ("d", "g/h/i")],
    ],
    ids=lambda moves: " ".join(f"{old}>{new}" for old, new in moves).replace("/", ":"),
)
async def test_what_is_renamed_crosses_no_wire(
    tmp_path: Path, direction: str, moves: list[tuple[str, str]]
) -> None:
    _, crossed = await _renamed(tmp_path, direction, *moves)
    assert crossed == 0


async def test_a_swap_crosses_half(tmp_path: Path, direction: str) -> None:
    _, crossed = await _renamed(tmp_path, direction, ("a", "t"), ("b", "a"), ("t", "b"))
    assert crossed <= len("content b!" * 99)


async def test_a_rename_is_carried_out_as_one(tmp_path: Path, direction: str) -> None:
    assert await _renamed(tmp_path / "file", direction, ("a", "renamed")) == (1, 0)
    assert await _renamed(tmp_path / "directory", direction, ("d", "renamed")) == (1, 0)


async def test_content_that_is_here_already_is_copied(tmp_path: Path, direction: str) -> None:
    async with sites(tmp_path) as (left, right):
        left.write({"original": "content " * 1000})
        await sync(left, right, edge(left, right, direction))
        left.write({"copy": "content " * 1000, "deep/copy": "content " * 1000})
        _, theirs = await sync(left, right, edge(left, right, direction))
        assert right.tree() == left.tree()
        assert (theirs.files, theirs.bytes_on_wire) == (2, 0)


async def test_equal_content_crosses_once(tmp_path: Path) -> None:
    async with sites(tmp_path) as (left, right):
        left.write({f"copy {n}": b"x" * 3_000_000 for n in range(3)})
        _, theirs = await sync(left, right, one_way(left, right))
        assert right.tree() == left.tree()
        assert (theirs.files, theirs.bytes_on_wire) == (3, 3_000_000)


async def test_trees_that_are_equal_already_move_nothing(tmp_path: Path, direction: str) -> None:
    async with sites(tmp_path) as (left, right):
        for site in (left, right):
            site.write(KINDS)
        for tally in await sync(left, right, edge(left, right, direction)):
            assert (tally.files, tally.bytes_on_wire, tally.conflicts) == (0, 0, ())
        assert right.tree() == left.tree()


# One way.


async def test_a_mirror_gives_up_its_own_edits_and_keeps_their_content(tmp_path: Path) -> None:
    async with sites(tmp_path) as (left, right):
        left.write({"edited": "original", "deleted": "original too", "chmodded": "c"})
        await sync(left, right, one_way(left, right))
        right.write({"edited": "defaced", "added": "stray", "stray/file": "x"})
        remove(right.root / "deleted")
        (right.root / "chmodded").chmod(0o600)
        await sync(left, right, one_way(left, right))
        assert right.tree() == left.tree()
        assert right.kept() >= {b"defaced", b"stray", b"x"}


async def test_a_target_that_keeps_its_edits_keeps_them(tmp_path: Path) -> None:
    async with sites(tmp_path) as (left, right):
        plan = one_way(left, right, target_changes="keep", deletes="keep")
        left.write({"edited": "original", "other": "1"})
        await sync(left, right, plan)
        right.write({"edited": "edited here", "added": "mine"})
        left.write({"other": "2"})
        await sync(left, right, plan)
        assert right.texts() == {"edited": "edited here", "added": "mine", "other": "2"}
        assert left.texts() == {"edited": "original", "other": "2"}


async def test_deletes_that_are_kept_do_not_travel(tmp_path: Path, direction: str) -> None:
    async with sites(tmp_path) as (left, right):
        plan = edge(left, right, direction, deletes="keep")
        left.write({"a": "1", "d/b": "2"})
        await sync(left, right, plan)
        remove(left.root / "a")
        remove(left.root / "d")
        left.write({"new": "3"})
        await sync(left, right, plan)
        assert right.texts() == {"a": "1", "d/b": "2", "new": "3"}


async def test_a_one_way_source_is_never_touched(tmp_path: Path) -> None:
    async with sites(tmp_path) as (left, right):
        left.write({"a": "1"})
        right.write({"a": "other", "b": "2"})
        before = left.tree()
        await sync(left, right, one_way(left, right, deletes="keep"))
        assert left.tree() == before
        assert right.texts() == {"a": "1", "b": "2"}
        await sync(left, right, one_way(left, right))
        assert left.tree() == before == right.tree()


async def test_an_emptied_source_deletes_nothing(tmp_path: Path, direction: str) -> None:
    async with sites(tmp_path) as (left, right):
        left.write({"a": "1", "d/b": "2"})
        await sync(left, right, edge(left, right, direction))
        remove(left.root / "a")
        remove(left.root / "d")
        mine, _ = await sync(left, right, edge(left, right, direction))
        assert right.texts() == {"a": "1", "d/b": "2"}
        assert any("empty" in reason for _, reason in mine.failed)


async def test_a_reboot_between_two_runs_is_no_change(
    tmp_path: Path, direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for boot in ("first", "second", "third"):
        monkeypatch.setattr(replica, "boot_id", lambda boot=boot: boot)
        async with sites(tmp_path) as (left, right):
            if boot == "first":
                left.write({"a": "1", "d/b": "2"})
            _, theirs = await sync(left, right, edge(left, right, direction))
            assert right.tree() == left.tree()
            assert theirs.files == (2 if boot == "first" else 0)


async def test_numbers_whose_rows_are_gone_are_offered_too(tmp_path: Path, direction: str) -> None:
    async with sites(tmp_path) as (left, right):
        left.write({"a": "1", "b": "2"})
        await left.replica.scan()
        left.write({"last": "3"})
        await left.replica.scan()
    async with sites(tmp_path) as (left, right):
        left.replica.filters = Filters((FilterRule("exclude", "last"),))
        await left.replica.scan()
        await sync(left, right, edge(left, right, direction))
        assert right.texts() == {"a": "1", "b": "2"}


# Two ways.


async def test_edits_on_both_sides_meet(tmp_path: Path) -> None:
    async with sites(tmp_path) as (left, right):
        left.write({"from left": "l", "both": "same"})
        right.write({"from right": "r", "both": "same", "d/x": "deep"})
        await sync(left, right, two_way(left, right))
        assert left.tree() == right.tree()
        assert left.texts() == {"from left": "l", "from right": "r", "both": "same", "d/x": "deep"}
        left.write({"from right": "edited left"})
        remove(right.root / "from left")
        await sync(left, right, two_way(left, right))
        assert left.tree() == right.tree()
        assert left.texts() == {"from right": "edited left", "both": "same", "d/x": "deep"}


async def _diverged(left: Site, right: Site, policy: ConflictPlan) -> tuple[set[str], int]:
    """Edit one file on both sides, the right one later; what the sides hold then, and held conflicts."""
    plan = two_way(left, right, conflict=policy)
    left.write({"f": "base"})
    await sync(left, right, plan)
    left.write({"f": "left edit"})
    right.write({"f": "right edit!"})
    os.utime(left.root / "f", (1_000, 1_000))
    mine, theirs = await sync(left, right, plan)
    await sync(left, right, plan)
    held = [path for path, copy in (*mine.conflicts, *theirs.conflicts) if copy is None]
    return {*left.texts().values(), *right.texts().values()}, len(held)


async def test_a_conflict_keeps_both_contents_on_both_sides(tmp_path: Path) -> None:
    async with sites(tmp_path) as (left, right):
        contents, held = await _diverged(left, right, ConflictPlan())
        assert (contents, held) == ({"left edit", "right edit!"}, 0)
        assert left.tree() == right.tree()
        assert len(left.texts()) == 2
        assert left.texts()["f"] == "right edit!"


async def test_a_conflict_goes_to_the_newest(tmp_path: Path) -> None:
    async with sites(tmp_path) as (left, right):
        contents, held = await _diverged(left, right, ConflictPlan("newest"))
        assert (contents, held) == ({"right edit!"}, 0)
        assert b"left edit" in left.kept()


async def test_a_conflict_goes_to_the_preferred_node(tmp_path: Path) -> None:
    async with sites(tmp_path) as (left, right):
        contents, _ = await _diverged(left, right, ConflictPlan("prefer", "left"))
        assert contents == {"left edit"}
        assert b"right edit!" in right.kept()


async def test_a_held_conflict_changes_nothing_until_one_side_goes(tmp_path: Path) -> None:
    async with sites(tmp_path) as (left, right):
        contents, held = await _diverged(left, right, ConflictPlan("hold"))
        assert contents == {"left edit", "right edit!"}
        assert held >= 1
        assert left.texts() == {"f": "left edit"}
        remove(left.root / "f")
        left.write({"other": "so that the tree isn't empty"})
        mine, theirs = await sync(left, right, two_way(left, right, conflict=ConflictPlan("hold")))
        assert left.texts()["f"] == right.texts()["f"] == "right edit!"
        assert mine.conflicts == theirs.conflicts == ()


async def test_a_directory_against_a_file_loses_nothing(tmp_path: Path) -> None:
    async with sites(tmp_path) as (left, right):
        left.write({"x/in": "inside"})
        right.write({"x": "a file"})
        for _ in range(3):
            _, theirs = await sync(left, right, two_way(left, right))
        assert theirs.failed == ()
        assert left.tree() == right.tree()
        assert {"inside", "a file"} <= set(left.texts().values())


async def test_an_edit_outlives_a_concurrent_delete_of_its_directory(tmp_path: Path) -> None:
    async with sites(tmp_path) as (left, right):
        left.write({"d/edited": "1", "d/other": "2", "keep": "k"})
        await sync(left, right, two_way(left, right))
        remove(left.root / "d")
        right.write({"d/edited": "edited", "d/new": "new"})
        for _ in range(2):
            await sync(left, right, two_way(left, right))
        assert left.tree() == right.tree()
        assert left.texts() == {"d/edited": "edited", "d/new": "new", "keep": "k"}


# Filters, permissions, faults.


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
        source = link(plan, "source", left, near, Manner())
        target = link(plan, "target", right, far, Manner())
        many = {b"%d" % number + bytes(200): "it can't be done; do this or that" for number in range(80_000)}
        running = [asyncio.create_task(each.run()) for each in (source, target)]
        await until(lambda: target.taking is not None, "greeted")
        assert target.taking is not None
        target.taking.target.counts.failed.update(many)
        assert await outcome(running) == [None, None]
        assert source.peer_tally is not None
        assert 0 < len(source.peer_tally.failed) < len(many)
        assert len((await target.tally()).failed) == len(many)


async def test_a_large_file_goes_on_where_its_session_was_cut(tmp_path: Path) -> None:
    content = bytes(range(256)) * 200_000
    async with sites(tmp_path) as (left, right):
        left.write({"large": content})
        plan = one_way(left, right)
        near, far = await pair_of_sessions()
        links = [link(plan, "source", left, near, Manner()), link(plan, "target", right, far, Manner())]
        running = [asyncio.create_task(each.run()) for each in links]
        await until(lambda: links[1].progress().bytes_on_wire > 20_000_000, "some of it has come")
        near.close()
        assert all(isinstance(end, SessionClosed) for end in await outcome(running))
        first = links[1].progress().bytes_on_wire
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
