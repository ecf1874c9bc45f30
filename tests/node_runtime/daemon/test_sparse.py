"""Holes: they cross as such, and stay what they are in every way a file can arrive."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from node_runtime.disk import syscalls
from tests.support.engine import one_way, sites, sync

pytestmark = pytest.mark.anyio

SIZE = 300_000_000
DATA = os.urandom(100_000)
AT = (0, 70_000_000, 150_001_234, SIZE - len(DATA))


def occupied(path: Path) -> int:
    return path.stat().st_blocks * 512


def sparse(path: Path, at: tuple[int, ...] = AT, size: int = SIZE) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
        for offset in at:
            file.seek(offset)
            file.write(DATA)
    if occupied(path) > 10_000_000:
        pytest.skip("this file system has no holes")
    return path


def change(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(200_000_000)
        file.write(DATA)


def same(one: Path, other: Path) -> bool:
    with one.open("rb") as left, other.open("rb") as right:
        while piece := left.read(1 << 20):
            if piece != right.read(len(piece)):
                return False
        return not right.read(1)


@pytest.mark.parametrize("at", [(), (0,), (SIZE - len(DATA),), (1_234_567,), AT])
async def test_holes_cross_as_holes(tmp_path: Path, at: tuple[int, ...]) -> None:
    async with sites(tmp_path) as (left, right):
        source = sparse(left.root / "f", at)
        _, theirs = await sync(left, right, one_way(left, right))
        assert theirs.failed == ()
        assert theirs.bytes_on_wire < 1_000_000
        assert same(source, right.root / "f")
        assert occupied(right.root / "f") < 1_000_000


async def test_a_changed_sparse_file_stays_sparse(tmp_path: Path) -> None:
    async with sites(tmp_path) as (left, right):
        source = sparse(left.root / "f")
        await sync(left, right, one_way(left, right))
        change(source)
        _, theirs = await sync(left, right, one_way(left, right))
        assert theirs.bytes_on_wire < 1_000_000
        assert same(source, right.root / "f")
        assert occupied(right.root / "f") < 2_000_000


async def test_a_copied_sparse_file_stays_sparse(tmp_path: Path) -> None:
    async with sites(tmp_path) as (left, right):
        source = sparse(left.root / "f")
        await sync(left, right, one_way(left, right))
        sparse(left.root / "g")
        _, theirs = await sync(left, right, one_way(left, right))
        assert theirs.bytes_on_wire == 0
        assert same(source, right.root / "g")
        assert occupied(right.root / "g") < 1_000_000


async def test_without_a_way_to_punch_holes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(descriptor: int, offset: int, length: int) -> None:
        raise OSError(95, "not supported")

    monkeypatch.setattr(syscalls, "punch_hole", refused)
    async with sites(tmp_path) as (left, right):
        source = sparse(left.root / "f")
        await sync(left, right, one_way(left, right))
        change(source)
        await sync(left, right, one_way(left, right))
        assert same(source, right.root / "f")
