"""Kept versions: their names, and which of them go."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from node_runtime.disk.root import Root
from node_runtime.disk.versions import Versions

NOON_S = int(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp())
DAY_S = 86_400


class Clock:
    now_s = float(NOON_S)

    def __call__(self) -> int:
        return int(self.now_s * 1_000_000_000)


def kept(tree: Path) -> list[str]:
    top = tree / ".syncgraph" / "versions"
    return sorted(str(p.relative_to(top)) for p in top.rglob("*") if p.is_symlink() or not p.is_dir())


def keep(tree: Path, versions: Versions, path: str, content: bytes = b"1") -> None:
    (tree / path).parent.mkdir(parents=True, exist_ok=True)
    (tree / path).write_bytes(content)
    versions.keep(os.fsencode(path))
    assert not (tree / path).exists()


def test_a_version_is_named_by_path_and_time(tree: Path, root: Root) -> None:
    versions = Versions(root, Clock())
    keep(tree, versions, "d/f.txt")
    keep(tree, versions, "d/f.txt")
    assert kept(tree) == ["d/f.txt~20261122T120000.000", "d/f.txt~20261122T120000.001"]


def test_pruning_by_number_and_age(tree: Path, root: Root) -> None:
    clock = Clock()
    versions = Versions(root, clock)
    for day in range(8):
        clock.now_s = NOON_S + day * DAY_S
        keep(tree, versions, "d/often")
        if day in (0, 6):
            keep(tree, versions, "e/seldom")
    assert versions.prune(clock.now_s, max_age_s=3.5 * DAY_S, max_versions=3) == 6
    assert kept(tree) == [
        "d/often~20261127T120000.000",
        "d/often~20261128T120000.000",
        "d/often~20261129T120000.000",
        "e/seldom~20261128T120000.000",
    ]
    assert versions.prune(clock.now_s + 90 * DAY_S) == 4
    assert os.listdir(tree / ".syncgraph" / "versions") == []


def test_pruning_follows_no_link(tree: Path, root: Root, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f~20200101T000000.000").write_bytes(b"not ours")
    (tree / "l").symlink_to(outside)
    clock = Clock()
    versions = Versions(root, clock)
    versions.keep(b"l")
    (tree / ".syncgraph" / "versions" / "link").symlink_to(outside)
    versions.prune(clock.now_s + 365 * DAY_S)
    assert os.listdir(outside) == ["f~20200101T000000.000"]
    assert kept(tree) == ["link"]


def test_what_isnt_a_version_is_left(tree: Path, root: Root) -> None:
    versions = Versions(root, Clock())
    stranger = tree / ".syncgraph" / "versions" / "notes~yesterday"
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(b"1")
    versions.prune(NOON_S + 365 * DAY_S)
    assert kept(tree) == ["notes~yesterday"]


def test_a_link_under_the_versions_is_refused(tree: Path, root: Root, tmp_path: Path) -> None:
    versions = Versions(root, Clock())
    outside = tmp_path / "outside"
    outside.mkdir()
    (tree / ".syncgraph" / "versions").mkdir(parents=True)
    (tree / ".syncgraph" / "versions" / "d").symlink_to(outside)
    (tree / "d").mkdir()
    (tree / "d" / "f").write_bytes(b"1")
    try:
        versions.keep(b"d/f")
    except OSError:
        pass
    else:
        raise AssertionError("a link was followed")
    assert (os.listdir(outside), (tree / "d" / "f").read_bytes()) == ([], b"1")
