"""Two replicas brought in step over a real session: what an edge does with every kind of difference."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from node_runtime.daemon import replica
from node_runtime.replica.filters import Filters
from schemas.plans import ConflictPlan, FilterRule
from tests.support.engine import (
    Site,
    edge,
    one_way,
    remove,
    sites,
    sync,
    two_way,
)

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
