"""Kept versions: their names, and how they are found again."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from node_runtime.disk.root import Root
from node_runtime.disk.versions import Versions, histories, history, look
from node_runtime.replica.path import key

NOON_S = int(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp())


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


def paths(root: Root, below: bytes = b"", after: bytes = b"") -> list[bytes]:
    return [each.path for each in histories(root, below, after)]


def test_what_is_kept_is_found_again_by_path_the_newest_first(tree: Path, root: Root) -> None:
    clock = Clock()
    versions = Versions(root, clock)
    for content in (b"1", b"22", b"333"):
        clock.now_s += 60
        keep(tree, versions, "d/f", content)
    found = history(root, b"d/f")
    assert found is not None
    assert [kept.size for kept in found.versions] == [3, 2, 1]
    assert [kept.when_ms for kept in found.versions] == [(NOON_S + s) * 1000 for s in (180, 120, 60)]
    assert {kept.why for kept in found.versions} == {"replaced"}
    assert history(root, b"d") is None
    assert history(root, b"x/y") is None


def test_all_below_a_directory_in_the_order_of_an_index_and_from_any_place(tree: Path, root: Root) -> None:
    versions = Versions(root, Clock())
    names = ["a", "b/f", "b-c", "b/d/e/f", "b/d-e", "c/\n", "c/~", "f"]
    for name in names:
        keep(tree, versions, name)
    (tree / "a").mkdir()  # a file first, a directory later
    keep(tree, versions, "a/late")
    expected = sorted([*map(os.fsencode, names), b"a/late"], key=key)
    assert paths(root) == expected
    assert paths(root, b"b") == [path for path in expected if path.startswith(b"b/")]
    for place, path in enumerate(expected):
        assert paths(root, after=path) == expected[place + 1 :]
    assert paths(root, b"b", after=b"b/d/e/f") == [b"b/d-e", b"b/f"]


def test_what_isnt_a_version_isnt_listed(tree: Path, root: Root, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f~20200101T000000.000").write_bytes(b"not ours")
    top = tree / ".syncgraph" / "versions"
    top.mkdir(parents=True)
    (top / "link").symlink_to(outside)
    (top / "notes~yesterday").write_bytes(b"1")
    (top / "f~20261399T101500.123").write_bytes(b"no such day")
    os.mkfifo(top / "pipe~20261122T101500.123")
    assert paths(root) == []
    assert look(root, b"link") == ([], [])


def test_a_long_name_is_cut_and_found_by_the_whole_one(tree: Path, root: Root) -> None:
    versions = Versions(root, Clock())
    name = "x" * 255
    keep(tree, versions, name, b"12345")
    (found,) = histories(root)
    assert found.is_cut
    assert found.path != os.fsencode(name)
    whole = history(root, os.fsencode(name))
    assert whole is not None
    assert whole.versions == found.versions
    keep(tree, versions, "short")
    assert [each.is_cut for each in histories(root)] == [False, True]
