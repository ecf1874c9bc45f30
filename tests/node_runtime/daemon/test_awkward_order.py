"""Changes that come in an awkward order or in the instant before a decision is carried out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from node_runtime.disk.applier import Applied
from tests.support.engine import Site, sites, sync, two_way

pytestmark = pytest.mark.anyio


def just_before_the_move(site: Site, monkeypatch: pytest.MonkeyPatch, edit: Callable[[], object]) -> None:
    """Run `edit` between the decision to rename a directory and the rename."""
    move_tree = site.replica.applier.move_tree

    def edited_then_moved(from_path: bytes, to_path: bytes) -> Applied:
        edit()
        return move_tree(from_path, to_path)

    monkeypatch.setattr(site.replica.applier, "move_tree", edited_then_moved)


async def test_an_edit_in_a_directory_that_is_being_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sites(tmp_path) as (left, right):
        left.write({"d/edited": "old", "d/deleted": "gone soon", "d/same": "same", "d/sub/deep": "old"})
        await sync(left, right, two_way(left, right))
        os.rename(left.root / "d", left.root / "e")

        def edit() -> None:
            right.write({"d/edited": "new text", "d/sub/deep": "new text too", "d/created": "more"})
            (right.root / "d" / "deleted").unlink()
            (right.root / "d" / "same").chmod(0o600)

        just_before_the_move(right, monkeypatch, edit)
        _, theirs = await sync(left, right, two_way(left, right))
        assert theirs.renamed == 1
        await sync(left, right, two_way(left, right))
        assert left.tree() == right.tree()
        assert left.texts() == {
            "e/edited": "new text",
            "e/sub/deep": "new text too",
            "e/created": "more",
            "e/same": "same",
        }
        assert left.tree()[b"e/same"][2] == 0o600


async def test_what_comes_before_its_directory_is_asked_for_again(tmp_path: Path) -> None:
    async with sites(tmp_path) as (left, right):
        left.write({"p": "a file here"})
        right.write({"p/child": "below a directory there", "p/sub/child": "deeper"})
        await right.replica.scan()
        (right.root / "p" / "sub").chmod(0o700)  # so the directories stand behind what is in them
        await right.replica.scan()
        (right.root / "p").chmod(0o750)
        mine, _ = await sync(left, right, two_way(left, right))
        assert mine.failed == ()
        assert left.tree() == right.tree()
        assert "below a directory there" in left.texts().values()
        assert "a file here" in left.texts().values()


async def test_what_was_saved_an_instant_ago_is_no_obstacle(tmp_path: Path) -> None:
    async with sites(tmp_path) as (left, right):
        names = [f"{number}" for number in range(50)]
        left.write(dict.fromkeys(names, "left"))
        right.write(dict.fromkeys(names, "right"))
        mine, theirs = await sync(left, right, two_way(left, right))
        assert (mine.failed, theirs.failed) == ((), ())
        assert left.tree() == right.tree()
