"""Kept versions brought back: which one, to where, and what stands in the way."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from node_runtime.daemon.kept import MAX_PATHS, expanded, list_versions, local, local_root, locate, restore
from node_runtime.disk.root import Root
from node_runtime.disk.versions import Versions
from node_runtime.errors import NodeError
from schemas.kept import KeptVersions, ListVersions, Restore, Restored

T0 = 1_700_000_000  # a moment; the tests' clock goes on from here

Keep = Callable[..., None]


@pytest.fixture
def keep(tree: Path, root: Root) -> Keep:
    """Puts content aside as the version of a path, so many seconds after T0."""

    def put(path: str, at_s: int, content: bytes, written_s: int = 0) -> None:
        live = tree / path
        live.parent.mkdir(parents=True, exist_ok=True)
        before = live.read_bytes() if live.exists() else None
        live.unlink(missing_ok=True)
        live.write_bytes(content)
        os.utime(live, (T0 + written_s, T0 + written_s))
        Versions(root, lambda: (T0 + at_s) * 10**9).keep(os.fsencode(path))
        if before is not None:
            live.write_bytes(before)

    return put


def bring(
    root: Root, path: str = "", at_s: float | None = None, to: str = "", dry_run: bool = False
) -> Restored:
    at = None if at_s is None else T0 + at_s
    return restore(root, os.fsencode(path), Restore("", at, to, dry_run))[0]


def actions(restored: Restored) -> dict[str, str]:
    return {each.path: each.action for each in restored.paths}


def versions_of(root: Root, path: str) -> list[float]:
    return [each.kept_at - T0 for each in list_versions(root, os.fsencode(path), 100).versions]


def test_a_deleted_file_comes_back_with_its_metadata(tree: Path, root: Root, keep: Keep) -> None:
    keep("d/f", 100, b"old", written_s=50)
    version = next((tree / ".syncgraph" / "versions" / "d").iterdir())
    version.chmod(0o640)
    (tree / "d").rmdir()
    assert actions(bring(root, "d/f")) == {"d/f": "restored"}
    back = tree / "d" / "f"
    assert back.read_bytes() == b"old"
    assert (back.stat().st_mtime, back.stat().st_mode & 0o777) == (T0 + 50, 0o640)
    assert version.read_bytes() == b"old"  # copied, not moved
    assert actions(bring(root, "d/f")) == {"d/f": "unchanged"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_comes_back_to_its_owner_whose_set_user_id_stays_his(
    tree: Path, root: Root, keep: Keep
) -> None:
    keep("f", 100, b"old")
    version = next((tree / ".syncgraph" / "versions").iterdir())
    os.chown(version, 12345, 23456)
    version.chmod(0o4755)
    bring(root, "f")
    status = (tree / "f").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (12345, 23456, 0o4755)


def test_a_set_user_id_that_cant_stay_its_owners_is_dropped(
    tree: Path, root: Root, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep("f", 100, b"old")
    next((tree / ".syncgraph" / "versions").iterdir()).chmod(0o4755)

    def refuse(fd: int, user: int, group: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "fchown", refuse)
    bring(root, "f")
    assert (tree / "f").stat().st_mode & 0o7777 == 0o755


def test_what_is_in_the_way_is_kept_first_and_can_be_brought_back(tree: Path, root: Root, keep: Keep) -> None:
    keep("f", 100, b"old")
    (tree / "f").write_bytes(b"live")
    bring(root, "f")
    assert (tree / "f").read_bytes() == b"old"
    assert len(versions_of(root, "f")) == 2
    bring(root, "f")
    assert (tree / "f").read_bytes() == b"live"


def test_a_file_as_it_was_at_a_time(tree: Path, root: Root, keep: Keep) -> None:
    for at_s in (100, 200, 300):
        keep("f", at_s, b"until %d" % at_s, written_s=at_s - 90)
    (tree / "f").write_bytes(b"live")
    for at_s, expected in ((50, b"until 100"), (100, b"until 100"), (150, b"until 200"), (300, b"until 300")):
        bring(root, "f", at_s)
        assert (tree / "f").read_bytes() == expected
    for at_s in (5, 105):  # before the content of that time was written: nobody knows what was there
        before = (tree / "f").read_bytes()
        result = bring(root, "f", at_s)
        assert (result.paths, result.unknown) == ((), 1)
        assert (tree / "f").read_bytes() == before


def test_a_directory_gets_back_what_is_missing_and_keeps_what_is_there(
    tree: Path, root: Root, keep: Keep
) -> None:
    (tree / "d").mkdir()
    (tree / "d" / "edited").write_bytes(b"live")
    keep("d/edited", 100, b"older")
    keep("d/gone", 100, b"gone")
    keep("d/sub/deep", 100, b"deep")
    keep("e/elsewhere", 100, b"elsewhere")
    (tree / "d" / "new").write_bytes(b"new")
    assert actions(bring(root, "d")) == {"d/gone": "restored", "d/sub/deep": "restored"}
    assert (tree / "d" / "edited").read_bytes() == b"live"
    assert not (tree / "e" / "elsewhere").exists()


def test_a_tree_as_it_was_at_a_time(tree: Path, root: Root, keep: Keep) -> None:
    keep("a", 100, b"a first")
    keep("a", 200, b"a second", written_s=100)
    keep("d/b", 200, b"b", written_s=10)
    keep("late", 200, b"came and went", written_s=160)
    keep("gone before", 120, b"x")
    (tree / "a").write_bytes(b"a now")
    (tree / "came later").write_bytes(b"stays")
    result = bring(root, at_s=150)
    assert actions(result) == {"a": "restored", "d/b": "restored"}
    assert result.unknown == 2
    assert (tree / "a").read_bytes() == b"a second"
    assert (tree / "came later").exists()
    assert not (tree / "late").exists()


def test_links_come_back_as_links(tree: Path, root: Root) -> None:
    (tree / "l").symlink_to("/nowhere/at/all")
    Versions(root).keep(b"l")
    (tree / "l").write_bytes(b"a file now")
    assert actions(bring(root, "l")) == {"l": "restored"}
    assert os.readlink(tree / "l") == "/nowhere/at/all"
    assert actions(bring(root, "l", dry_run=True)) == {"l": "restored"}


def test_a_dry_run_changes_nothing(tree: Path, root: Root, keep: Keep, tmp_path: Path) -> None:
    keep("d/f", 100, b"old")
    (tree / "d").rmdir()
    before = sorted(tree.rglob("*"))
    assert actions(bring(root, dry_run=True)) == {"d/f": "restored"}
    assert actions(bring(root, to=str(tmp_path / "not" / "there"), dry_run=True)) == {"d/f": "restored"}
    assert sorted(tree.rglob("*")) == before
    assert not (tmp_path / "not").exists()


def test_into_another_directory_where_nothing_is_replaced(
    tree: Path, root: Root, keep: Keep, tmp_path: Path
) -> None:
    for name in ("d/e/f", "d/e/g"):
        keep(name, 100, name.encode())
    other = tmp_path / "other"
    (other / "e").mkdir(parents=True)
    (other / "e" / "g").write_bytes(b"here before")
    assert actions(bring(root, "d/e", to=str(other))) == {"d/e/f": "restored", "d/e/g": "failed"}
    assert (other / "e" / "f").read_bytes() == b"d/e/f"
    assert (other / "e" / "g").read_bytes() == b"here before"
    assert sorted(p.name for p in other.rglob("*")) == ["e", "f", "g"]
    assert not (tree / "d" / "e" / "f").exists()
    bring(root, "d/e/f", to=str(tmp_path / "one"))
    assert (tmp_path / "one" / "f").read_bytes() == b"d/e/f"


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_link_in_the_way_is_never_followed(
    tree: Path, root: Root, keep: Keep, tmp_path: Path, elsewhere: bool, dry_run: bool
) -> None:
    keep("d/f", 100, b"old")
    outside, other = tmp_path / "outside", tmp_path / "other"
    outside.mkdir()
    other.mkdir()
    (tree / "d").rmdir()
    place = other if elsewhere else tree
    (place / "d").symlink_to(outside)
    (result,) = bring(root, to=str(other) if elsewhere else "", dry_run=dry_run).paths
    assert result.action == "failed"
    assert "links are never followed" in result.reason or "no directory stands in its path" in result.reason
    assert os.listdir(outside) == []


def test_a_link_in_the_store_is_never_followed(tree: Path, root: Root, keep: Keep, tmp_path: Path) -> None:
    keep("d/f", 100, b"ours")
    store = tree / ".syncgraph" / "versions"
    (store / "d").rename(tmp_path / "moved")
    (store / "d").symlink_to(tmp_path / "moved")
    assert bring(root).paths == ()
    assert bring(root, "d/f").paths == ()
    (store / "d").unlink()
    (store / "secret~20231114T221500.000").symlink_to(tmp_path / "moved")
    bring(root, "secret")
    assert (tree / "secret").is_symlink()  # the link itself is what was kept


def test_a_directory_in_the_way_stays(tree: Path, root: Root, keep: Keep) -> None:
    keep("f", 100, b"old")
    (tree / "f").mkdir()
    (tree / "f" / "inside").write_bytes(b"x")
    keep("f/inside2", 100, b"y")
    assert actions(bring(root, "f", at_s=50)) == {"f": "failed", "f/inside2": "restored"}
    assert (tree / "f" / "inside").exists()


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "no space left on device; free space on this file system"),
        (errno.EACCES, "permission denied; give the account that runs the node access to it"),
        (errno.EROFS, "read-only file system; mount the file system writable"),
    ],
)
def test_a_refusal_of_the_disk_is_a_sentence_and_the_rest_goes_on(
    tree: Path, root: Root, keep: Keep, monkeypatch: pytest.MonkeyPatch, number: int, sentence: str
) -> None:
    keep("big", 100, b"x" * 100)
    keep("l", 100, b"small")
    version = tree / ".syncgraph" / "versions"
    (version / next(n for n in os.listdir(version) if n.startswith("l~"))).unlink()
    (version / "l~20231114T221500.000").symlink_to("target")

    def full(source_fd: int, target_fd: int, size: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("node_runtime.disk.restore.clone_or_copy", full)
    result = bring(root)
    assert actions(result) == {"big": "failed", "l": "restored"}
    assert result.paths[0].reason == sentence
    assert not (tree / "big").exists()
    assert os.listdir(tree / ".syncgraph" / "staging") == []


def test_an_answer_is_bounded_and_the_next_one_goes_on(tree: Path, root: Root, keep: Keep) -> None:
    names = [f"d{n % 7}/f{n}" for n in range(MAX_PATHS + 20)]
    for name in names:
        keep(name, 100, b"x")
    first = bring(root)
    assert len(first.paths) == MAX_PATHS
    assert first.next is not None
    second, changed = restore(root, b"", Restore("", after=first.next))
    assert (len(second.paths), second.next) == (20, None)
    assert sorted(actions(first) | actions(second)) == sorted(names)
    assert sorted(map(os.fsdecode, changed)) == sorted(actions(second))


def test_a_listing_is_cut_and_counts_the_rest(tree: Path, root: Root, keep: Keep) -> None:
    for at_s in range(1, 8):
        keep("f", at_s, b"x" * 10)
    listed = list_versions(root, b"", 3)
    assert [each.kept_at - T0 for each in listed.versions] == [7, 6, 5]
    assert (listed.more, listed.bytes) == (4, 70)


def test_a_cut_name_needs_its_whole_path(tree: Path, root: Root, keep: Keep) -> None:
    name = "x" * 255
    keep(name, 100, b"old")
    (result,) = bring(root).paths
    assert result.action == "failed"
    assert actions(bring(root, name)) == {name: "restored"}
    assert (tree / name).read_bytes() == b"old"


def test_which_replica_a_path_lies_in() -> None:
    roots = ["/srv/a", "/srv/ab"]
    assert locate(roots, "/srv/a") == ("/srv/a", b"")
    assert locate(roots, "/srv/ab/./x//y/") == ("/srv/ab", b"x/y")
    for wrong in ("/srv", "/srv/abc", "/srv/a/../b", "relative", "/srv/a/.syncgraph/versions/x", "/x\0y"):
        with pytest.raises(NodeError):
            locate(roots, wrong)
    assert expanded("~/x").endswith("/x")


def test_without_a_runtime_the_store_is_found_above_a_path(tree: Path, root: Root, keep: Keep) -> None:
    keep("d/f", 100, b"old")
    assert local_root(str(tree / "d" / "f")) == str(tree)
    listed = local(ListVersions(str(tree / "d")))
    assert isinstance(listed, KeptVersions)
    assert [each.path for each in listed.versions] == ["d/f"]
    local(Restore(str(tree / "d" / "f")))
    assert (tree / "d" / "f").read_bytes() == b"old"
    with pytest.raises(NodeError, match="nothing is kept of"):
        local(Restore(str(tree.parent / "elsewhere")))
