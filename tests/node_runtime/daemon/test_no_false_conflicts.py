"""What is no conflict: each row edits two trees in step, and no copy or held path may come of it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from schemas.plans import ConflictPlan
from tests.support.engine import Site, one_way, open_site, remove, sites, sync, two_way

pytestmark = pytest.mark.anyio

Edits = Callable[[Path, Path], object]
TREE = {"f": "base", "d/g": "deep", "h": "other"}


def both(edit: Callable[[Path], object]) -> Edits:
    return lambda left, right: (edit(left), edit(right))


NO_CONFLICT: dict[str, Edits] = {
    "identical bytes at both ends": both(lambda root: (root / "f").write_text("the same edit")),
    "identical bytes at other times": lambda left, right: (
        (left / "f").write_text("the same edit"),
        os.utime(left / "f", (1_600_000_000, 1_600_000_000)),
        (right / "f").write_text("the same edit"),
    ),
    "the same new file at both ends": both(lambda root: (root / "new").write_text("the same")),
    "modes at both ends": lambda left, right: ((left / "f").chmod(0o600), (right / "f").chmod(0o640)),
    "times at both ends": lambda left, right: (
        os.utime(left / "f", (1_600_000_000, 1_600_000_000)),
        os.utime(right / "f", (1_700_000_000, 1_700_000_000)),
    ),
    "a mode here, content there": lambda left, right: (
        (left / "f").chmod(0o600),
        (right / "f").write_text("edited"),
    ),
    "a time here, content there": lambda left, right: (
        os.utime(left / "f", (1_900_000_000, 1_900_000_000)),
        (right / "f").write_text("edited"),
    ),
    "the same delete at both ends": both(lambda root: remove(root / "f")),
    "a delete here, an edit there": lambda left, right: (
        remove(left / "f"),
        (right / "f").write_text("edited"),
    ),
    "the same rename at both ends": both(lambda root: (root / "f").rename(root / "renamed")),
    "a rename here, a mode there": lambda left, right: (
        (left / "f").rename(left / "renamed"),
        (right / "f").chmod(0o600),
    ),
    "other files of one directory": lambda left, right: (
        (left / "d" / "l").write_text("left"),
        (right / "d" / "r").write_text("right"),
    ),
    "an editor that saves by rename": lambda left, right: (
        (left / "f.new").write_text("saved"),
        (left / "f.new").replace(left / "f"),
    ),
    "rewritten with what was there": both(lambda root: (root / "f").write_text("base")),
}


@pytest.mark.parametrize("policy", ["keep-both", "hold"])
@pytest.mark.parametrize("edits", NO_CONFLICT)
async def test_edits_that_are_none(tmp_path: Path, edits: str, policy: str) -> None:
    async with sites(tmp_path) as (left, right):
        plan = two_way(left, right, conflict=ConflictPlan(policy))  # type: ignore[arg-type]
        left.write(TREE)
        await sync(left, right, plan)
        NO_CONFLICT[edits](left.root, right.root)
        for _ in range(2):
            mine, theirs = await sync(left, right, plan)
            assert mine.conflicts == theirs.conflicts == ()
        assert left.texts() == right.texts()
        assert not [path for path in left.texts() if "sync-conflict" in path]


async def _reconnect(left: Site, right: Site) -> tuple[Site, Site]:
    await right.replica.close()
    return left, await open_site(right.root.parent, "right")


async def _lose_index(left: Site, right: Site) -> tuple[Site, Site]:
    await right.replica.close()
    for name in ("right.db", "right.db-wal", "right.db-shm"):
        (right.root.parent / name).unlink(missing_ok=True)
    return left, await open_site(right.root.parent, "right")


Misfortune = Callable[[Site, Site], Awaitable[tuple[Site, Site]]]


@pytest.mark.parametrize("misfortune", [_reconnect, _lose_index])
async def test_a_connection_or_an_index_that_is_lost(tmp_path: Path, misfortune: Misfortune) -> None:
    left, right = await open_site(tmp_path, "left"), await open_site(tmp_path, "right")
    try:
        left.write(TREE)
        await sync(left, right, two_way(left, right))
        (right.root / "h").write_text("edited on the right")
        await sync(left, right, two_way(left, right))
        left, right = await misfortune(left, right)
        mine, theirs = await sync(left, right, two_way(left, right))
        assert mine.conflicts == theirs.conflicts == ()
        (left.root / "f").write_text("edited on the left")
        for _ in range(2):
            mine, theirs = await sync(left, right, two_way(left, right))
            assert mine.conflicts == theirs.conflicts == ()
        expected = {**TREE, "f": "edited on the left", "h": "edited on the right"}
        assert left.texts() == right.texts() == expected
    finally:
        await left.replica.close()
        await right.replica.close()


async def test_what_comes_round_by_another_way(tmp_path: Path) -> None:
    async with sites(tmp_path, "one", "two", "three") as (one, two, three):
        one.write(TREE)
        ring = [(one, two), (two, three), (one, three)]
        for text in ("base", "edited", "edited again"):
            (one.root / "f").write_text(text)
            for near, far in (*ring, *reversed(ring)):
                mine, theirs = await sync(near, far, two_way(near, far))
                assert mine.conflicts == theirs.conflicts == ()
        (three.root / "f").write_text("edited at the third")
        for near, far in (*reversed(ring), *ring):
            mine, theirs = await sync(near, far, two_way(near, far))
            assert mine.conflicts == theirs.conflicts == ()
        assert one.texts() == two.texts() == three.texts() == {**TREE, "f": "edited at the third"}


async def test_a_mirror_has_none(tmp_path: Path) -> None:
    async with sites(tmp_path) as (left, right):
        left.write(TREE)
        await sync(left, right, one_way(left, right))
        (left.root / "f").write_text("edited on the left")
        (right.root / "f").write_text("edited on the right")
        mine, theirs = await sync(left, right, one_way(left, right))
        assert mine.conflicts == theirs.conflicts == ()
        assert left.texts() == right.texts()
