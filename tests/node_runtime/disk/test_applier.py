"""Changes on real trees: what is published, what is kept, and what is refused."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from msgspec.structs import replace

from node_runtime.disk import applier, publish, syscalls
from node_runtime.disk.applier import NOT_EMPTY, Applied, Applier, Outcome
from node_runtime.disk.errors import DiskError
from node_runtime.disk.index import Index
from node_runtime.disk.root import Root
from node_runtime.disk.staging import Loose, Staged, Staging, verified
from node_runtime.disk.versions import Versions
from node_runtime.replica.entry import Entry, Kind, Row, Stamp
from tests.node_runtime.disk.conftest import Scan
from tests.support.steps import Call, stepping

MTIME_NS = 1_600_000_000_123_456_789


def file_entry(path: bytes, content: bytes, mode: int = 0o640) -> Entry:
    digest = blake3(content).digest()
    return Entry(path, Kind.FILE, False, len(content), MTIME_NS, mode, digest, ((1, 1),), ((1, 1),), "there")


def directory_entry(path: bytes, mode: int = 0o755) -> Entry:
    return Entry(path, Kind.DIRECTORY, False, 0, 0, mode, b"", ((1, 1),), ((1, 1),), "there")


def link_entry(path: bytes, target: bytes) -> Entry:
    return Entry(path, Kind.SYMLINK, False, 0, MTIME_NS, 0, target, ((1, 1),), ((1, 1),), "there")


def tombstone(entry: Entry) -> Entry:
    return replace(entry, deleted=True, size=0, mode=0, content=b"", version=((1, 2),))


class Bench:
    """One root with everything that changes it."""

    def __init__(
        self, tree: Path, root: Root, index: Index, rescan: Scan, *, keep_versions: bool = True
    ) -> None:
        self.tree, self.root, self.index, self.rescan = tree, root, index, rescan
        self.staging = Staging(root)
        self.applier = Applier(root, index, self.staging, Versions(root), keep_versions=keep_versions)

    def arrived(self, content: bytes) -> Loose:
        return verified(blake3(content).digest(), content)

    def stage(self, content: bytes) -> Staged:
        return self.staging.stage(self.arrived(content))

    def place(self, path: bytes, content: bytes, expected: Row | None = None, mode: int = 0o640) -> Applied:
        return self.applier.place_file(file_entry(path, content, mode), self.arrived(content), expected)

    def row(self, path: bytes) -> Row:
        self.rescan()
        return self.index.get([path])[path]

    def kept(self) -> dict[str, bytes]:
        top = self.tree / ".syncgraph" / "versions"
        return {
            str(path.relative_to(top)).rpartition("~")[0]: os.readlink(os.fsencode(path))
            if path.is_symlink()
            else path.read_bytes()
            for path in top.rglob("*")
            if path.is_symlink() or path.is_file()
        }

    def staged(self) -> list[str]:
        directory = self.tree / ".syncgraph" / "staging"
        return os.listdir(directory) if directory.exists() else []


@pytest.fixture(params=["exchange", "link"])
def renaming(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """File systems that can swap names and make nameless files, and those that can do neither."""
    if request.param == "link":
        monkeypatch.setattr(syscalls, "_renameat2", None)
        monkeypatch.setattr(publish, "_DESCRIPTORS", "/nowhere")
    return str(request.param)


@pytest.fixture
def bench(tree: Path, root: Root, index: Index, rescan: Scan, renaming: str) -> Bench:
    return Bench(tree, root, index, rescan)


def assert_settled(bench: Bench, applied: Applied) -> None:
    """The row that came back is exactly what a scan would have found: put it, and nothing is news."""
    assert applied.outcome is Outcome.DONE, applied.reason
    assert applied.row is not None
    bench.index.put([applied.row])
    others = bench.rescan()
    assert (others.hashed_bytes, others.problems) == (0, [])
    assert bench.index.get([applied.row.entry.path])[applied.row.entry.path].entry == applied.row.entry


def test_a_new_file(bench: Bench) -> None:
    applied = bench.place(b"f", b"text")
    status = (bench.tree / "f").stat()
    assert (bench.tree / "f").read_bytes() == b"text"
    assert (status.st_mtime_ns, status.st_mode & 0o7777) == (MTIME_NS, 0o640)
    assert_settled(bench, applied)
    assert (bench.staged(), bench.kept()) == ([], {})


def test_a_file_system_without_nameless_files_is_found_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refusing(path: str | bytes, flags: int, *args: int, **kwargs: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", refusing)
    assert_settled(bench, bench.place(b"f", b"text"))
    assert ((bench.tree / "f").read_bytes(), bench.staged()) == (b"text", [])


def test_a_save_while_a_new_file_is_being_made_is_not_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = publish.dress

    def after_a_save(file: int | bytes, entry: Entry, directory_fd: int | None = None) -> Stamp:
        (bench.tree / "f").write_bytes(b"saved an instant ago")
        return real(file, entry, directory_fd)

    monkeypatch.setattr(publish, "dress", after_a_save)
    monkeypatch.setattr(applier, "dress", after_a_save)
    assert bench.place(b"f", b"new").outcome is Outcome.MOVED
    assert (bench.tree / "f").read_bytes() == b"saved an instant ago"
    assert bench.staged() == []


def test_a_batch_notices_that_its_directory_was_removed(bench: Bench) -> None:
    with bench.applier.batch():
        assert bench.place(b"d/one", b"1").outcome is Outcome.DONE
        shutil.rmtree(bench.tree / "d")
        assert bench.place(b"d/two", b"2").outcome is Outcome.MOVED
        assert bench.place(b"d/two", b"2").outcome is Outcome.DONE
        assert bench.place(b"e/three", b"3").outcome is Outcome.DONE
    assert (bench.tree / "d/two").read_bytes() == b"2"
    assert (bench.tree / "e/three").read_bytes() == b"3"


def test_a_batch_leaves_no_directory_open_and_none_writable(bench: Bench) -> None:
    (bench.tree / "d").mkdir(mode=0o555)
    assert bench.applier.make_directory(directory_entry(b"before"), None).outcome is Outcome.DONE
    before = len(os.listdir("/proc/self/fd"))
    with bench.applier.batch():
        assert bench.place(b"d/one", b"1").outcome is Outcome.DONE
        assert bench.applier.make_directory(directory_entry(b"d/e"), None).outcome is Outcome.DONE
        assert bench.place(b"d/e/two", b"2").outcome is Outcome.DONE
        assert bench.place(b"d/../three", b"3").outcome is Outcome.FAILED
        assert bench.place(b"d/e/../four", b"4").outcome is Outcome.FAILED
    assert (len(os.listdir("/proc/self/fd")), (bench.tree / "d").stat().st_mode & 0o777) == (before, 0o555)


def test_missing_parents_are_made(bench: Bench) -> None:
    assert bench.place(b"a/b/c/f", b"text").outcome is Outcome.DONE
    assert (bench.tree / "a/b/c/f").read_bytes() == b"text"
    assert (bench.tree / "a").stat().st_mode & 0o777 == 0o777 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_replaced_file_is_kept(bench: Bench) -> None:
    (bench.tree / "d").mkdir()
    (bench.tree / "d" / "f").write_bytes(b"old")
    applied = bench.place(b"d/f", b"new", bench.row(b"d/f"))
    assert (bench.tree / "d/f").read_bytes() == b"new"
    assert bench.kept() == {"d/f": b"old"}
    assert_settled(bench, applied)
    assert bench.staged() == []


def test_without_kept_versions_the_old_content_goes(
    tree: Path, root: Root, index: Index, rescan: Scan
) -> None:
    bench = Bench(tree, root, index, rescan, keep_versions=False)
    (tree / "f").write_bytes(b"old")
    assert bench.place(b"f", b"new", bench.row(b"f")).outcome is Outcome.DONE
    row = bench.row(b"f")
    assert bench.applier.remove(tombstone(row.entry), row).outcome is Outcome.DONE
    assert (bench.kept(), bench.staged(), os.listdir(tree)) == ({}, [], [".syncgraph"])


def test_an_unexpected_file_is_left_alone(bench: Bench) -> None:
    (bench.tree / "f").write_bytes(b"the user's")
    staged = bench.stage(b"new")
    applied = bench.applier.place_file(file_entry(b"f", b"new"), staged, None)
    assert applied.outcome is Outcome.MOVED
    assert (bench.tree / "f").read_bytes() == b"the user's"
    again = bench.applier.place_file(file_entry(b"g", b"new"), staged, None)
    assert again.outcome is Outcome.DONE


@pytest.mark.parametrize("edit", ["write", "replace", "delete", "chmod"])
def test_a_target_edited_since_is_left_alone(bench: Bench, edit: str) -> None:
    (bench.tree / "f").write_bytes(b"old")
    row = bench.row(b"f")
    if edit == "write":
        (bench.tree / "f").write_bytes(b"edited")
    elif edit == "replace":
        (bench.tree / "g").write_bytes(b"old")
        (bench.tree / "g").rename(bench.tree / "f")
    elif edit == "delete":
        (bench.tree / "f").unlink()
    else:
        (bench.tree / "f").chmod(0o604)
    before = (bench.tree / "f").read_bytes() if edit != "delete" else None
    entry = file_entry(b"f", b"new")
    assert bench.applier.place_file(entry, bench.stage(b"new"), row).outcome is Outcome.MOVED
    assert bench.applier.set_metadata(entry, row).outcome is Outcome.MOVED
    assert bench.applier.remove(tombstone(entry), row).outcome is Outcome.MOVED
    assert bench.applier.make_symlink(link_entry(b"f", b"x"), row).outcome is Outcome.MOVED
    assert bench.applier.keep_aside(row, b"copy").outcome is Outcome.MOVED
    after = (bench.tree / "f").read_bytes() if edit != "delete" else None
    assert (before, bench.kept()) == (after, {})
    assert sorted(os.listdir(bench.tree)) == sorted(
        [".syncgraph", "f"] if edit != "delete" else [".syncgraph"]
    )


Edit = Callable[[Path], None]


def _save(path: Path) -> None:
    """How editors save: a new file, renamed over the old one."""
    path.with_name("editor-temporary").write_bytes(b"saved an instant ago")
    path.with_name("editor-temporary").rename(path)


def _write(path: Path) -> None:
    path.write_bytes(b"saved an instant ago")


def save_before(
    monkeypatch: pytest.MonkeyPatch, renaming: str, save: Callable[[int], object]
) -> list[tuple[int | bytes, ...]]:
    """Have a user save just before each call of a rename, told which one it is; the calls so far."""
    real, calls = getattr(syscalls, renaming), []

    def after_a_save(*names: int | bytes) -> None:
        calls.append(names)
        save(len(calls))
        real(*names)

    monkeypatch.setattr(syscalls, renaming, after_a_save)
    return calls


@pytest.mark.parametrize("edit", [_save, _write])
def test_a_save_between_the_look_and_the_rename_is_not_lost(
    tree: Path, root: Root, index: Index, rescan: Scan, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tree, root, index, rescan)
    (tree / "f").write_bytes(b"old")
    row = bench.row(b"f")
    save_before(monkeypatch, "rename_exchange", lambda call: call == 1 and edit(tree / "f"))
    staged = bench.stage(b"new")
    applied = bench.applier.place_file(file_entry(b"f", b"new"), staged, row)
    assert applied.outcome is Outcome.MOVED
    assert (tree / "f").read_bytes() == b"saved an instant ago"
    assert bench.applier.place_file(file_entry(b"g", b"new"), staged, None).outcome is Outcome.DONE


def test_two_saves_in_a_row_while_a_file_is_replaced_are_not_lost(
    tree: Path, root: Root, index: Index, rescan: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tree, root, index, rescan)
    (tree / "f").write_bytes(b"old")
    row = bench.row(b"f")

    def save(call: int) -> None:
        (tree / "new").write_bytes(b"save %d" % call)
        os.rename(tree / "new", tree / "f")

    calls = save_before(monkeypatch, "rename_exchange", save)
    applied = bench.applier.place_file(file_entry(b"f", b"new"), bench.stage(b"new"), row)
    assert (applied.outcome, len(calls)) == (Outcome.MOVED, 2)
    assert (tree / "f").read_bytes() == b"save 1"
    assert set(bench.kept().values()) == {b"save 2"}


def test_a_file_that_comes_into_a_directory_as_it_is_replaced_is_not_lost(
    tree: Path, root: Root, index: Index, rescan: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tree, root, index, rescan)
    (tree / "d").mkdir()
    row = bench.row(b"d")
    save_before(monkeypatch, "rename_exchange", lambda call: call == 1 and _write(tree / "d" / "new"))
    applied = bench.place(b"d", b"a file now", row)
    assert (applied.outcome, applied.reason) == (Outcome.FAILED, NOT_EMPTY)
    assert (tree / "d" / "new").read_bytes() == b"saved an instant ago"
    assert bench.staged() == []


@pytest.mark.parametrize("edit", [_save, _write])
def test_a_save_just_before_a_removal_is_not_lost(
    tree: Path, root: Root, index: Index, rescan: Scan, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tree, root, index, rescan)
    (tree / "f").write_bytes(b"old")
    row = bench.row(b"f")
    save_before(monkeypatch, "rename_new", lambda call: call == 1 and edit(tree / "f"))
    assert bench.applier.remove(tombstone(row.entry), row).outcome is Outcome.MOVED
    assert (tree / "f").read_bytes() == b"saved an instant ago"


def test_removing_keeps_files_and_links(bench: Bench) -> None:
    (bench.tree / "f").write_bytes(b"old")
    (bench.tree / "l").symlink_to("somewhere")
    for path in (b"f", b"l"):
        row = bench.row(path)
        applied = bench.applier.remove(tombstone(row.entry), row)
        assert applied == Applied(Outcome.DONE, Row(tombstone(row.entry), None))
    assert os.listdir(bench.tree) == [".syncgraph"]
    assert bench.kept() == {"f": b"old", "l": b"somewhere"}


def test_a_directory_is_removed_only_when_empty(bench: Bench) -> None:
    (bench.tree / "d").mkdir()
    (bench.tree / "other").write_bytes(b"")
    row = bench.row(b"d")
    (bench.tree / "d" / "unknown").write_bytes(b"1")
    refused = bench.applier.remove(tombstone(row.entry), row)
    assert (refused.outcome, refused.reason) == (Outcome.FAILED, NOT_EMPTY)
    (bench.tree / "d" / "unknown").unlink()
    assert bench.applier.remove(tombstone(row.entry), row).outcome is Outcome.DONE
    assert not (bench.tree / "d").exists()


def test_file_directory_and_link_take_each_others_place(bench: Bench) -> None:
    (bench.tree / "x").write_bytes(b"a file")
    applied = bench.applier.make_directory(directory_entry(b"x", 0o711), bench.row(b"x"))
    assert_settled(bench, applied)
    assert (bench.tree / "x").stat().st_mode & 0o777 == 0o711
    assert_settled(bench, bench.applier.make_symlink(link_entry(b"x", b"y"), applied.row))
    assert os.readlink(bench.tree / "x") == "y"
    assert (bench.tree / "x").lstat().st_mtime_ns == MTIME_NS
    assert_settled(bench, bench.place(b"x", b"again a file", bench.row(b"x")))
    assert bench.kept() == {"x": b"y"} or set(bench.kept()) == {"x"}
    assert len(list((bench.tree / ".syncgraph" / "versions").iterdir())) == 2


def test_a_directory_is_never_seen_with_fewer_rights_than_it_gets(bench: Bench) -> None:
    seen = set()

    def look(step: str, call: Call) -> Any:
        made = call()
        if (bench.tree / "d").exists():
            seen.add((bench.tree / "d").stat().st_mode & 0o777)
        return made

    with stepping(look):
        assert_settled(bench, bench.applier.make_directory(directory_entry(b"d", 0o572), None))
    assert seen == {0o772, 0o572}


def test_a_directory_with_content_isnt_replaced(bench: Bench) -> None:
    (bench.tree / "d").mkdir()
    (bench.tree / "d" / "f").write_bytes(b"1")
    applied = bench.place(b"d", b"now a file", bench.row(b"d"))
    assert (applied.outcome, applied.reason) == (Outcome.FAILED, NOT_EMPTY)
    assert (bench.tree / "d" / "f").read_bytes() == b"1"


def test_a_directory_that_is_there_is_taken_over(bench: Bench) -> None:
    (bench.tree / "d").mkdir(mode=0o700)
    (bench.tree / "d" / "f").write_bytes(b"1")
    assert bench.applier.make_directory(directory_entry(b"d", 0o750), None).outcome is Outcome.DONE
    assert (bench.tree / "d").stat().st_mode & 0o777 == 0o750


def test_metadata_alone(bench: Bench) -> None:
    for name in ("f", "l", "d"):
        _make(bench.tree / name)
    for name in (b"f", b"l", b"d"):
        row = bench.row(name)
        mode = 0 if name == b"l" else 0o700
        mtime_ns = 0 if name == b"d" else MTIME_NS
        entry = replace(row.entry, mode=mode, mtime_ns=mtime_ns, metadata_version=((9, 9),))
        assert_settled(bench, bench.applier.set_metadata(entry, row))
    assert (bench.tree / "f").stat().st_mode & 0o777 == 0o700
    assert (bench.tree / "f").stat().st_mtime_ns == (bench.tree / "l").lstat().st_mtime_ns == MTIME_NS


def _make(path: Path) -> None:
    if path.name == "f":
        path.write_bytes(b"text")
    elif path.name == "l":
        path.symlink_to("f")
    else:
        path.mkdir()


def test_a_file_moves_with_its_content(bench: Bench) -> None:
    (bench.tree / "old").write_bytes(b"text")
    row = bench.row(b"old")
    inode = (bench.tree / "old").stat().st_ino
    applied = bench.applier.move(file_entry(b"d/new", b"text", 0o600), row, None)
    bench.index.forget([b"old"])
    assert_settled(bench, applied)
    status = (bench.tree / "d/new").stat()
    assert (status.st_ino, status.st_mode & 0o777, status.st_mtime_ns) == (inode, 0o600, MTIME_NS)
    assert not (bench.tree / "old").exists()


def test_a_move_over_a_file_keeps_that(bench: Bench) -> None:
    (bench.tree / "old").write_bytes(b"text")
    (bench.tree / "new").write_bytes(b"replaced")
    applied = bench.applier.move(file_entry(b"new", b"text"), bench.row(b"old"), bench.row(b"new"))
    assert applied.outcome is Outcome.DONE
    assert (bench.tree / "new").read_bytes() == b"text"
    assert bench.kept() == {"new": b"replaced"}
    assert sorted(os.listdir(bench.tree)) == [".syncgraph", "new"]


def test_a_move_never_replaces_the_unexpected(bench: Bench) -> None:
    (bench.tree / "old").write_bytes(b"text")
    row = bench.row(b"old")
    (bench.tree / "new").write_bytes(b"the user's")
    assert bench.applier.move(file_entry(b"new", b"text"), row, None).outcome is Outcome.MOVED
    assert bench.applier.move(file_entry(b"other", b"other content"), row, None).outcome is Outcome.MOVED
    (bench.tree / "old").write_bytes(b"edited")
    assert bench.applier.move(file_entry(b"third", b"text"), row, None).outcome is Outcome.MOVED
    assert (bench.tree / "new").read_bytes() == b"the user's"
    assert (bench.tree / "old").read_bytes() == b"edited"


def test_a_tree_moves_in_one_step(bench: Bench) -> None:
    (bench.tree / "a" / "b").mkdir(parents=True)
    (bench.tree / "a" / "b" / "f").write_bytes(b"1")
    (bench.tree / "taken").mkdir()
    assert bench.applier.move_tree(b"a", b"taken").outcome is Outcome.MOVED
    assert bench.applier.move_tree(b"missing", b"free").outcome is Outcome.MOVED
    assert bench.applier.move_tree(b"a", b"a/b/inside").outcome is Outcome.FAILED
    assert bench.applier.move_tree(b"a", b"x/y") == Applied(Outcome.DONE)
    assert (bench.tree / "x/y/b/f").read_bytes() == b"1"


@pytest.mark.parametrize("size", [0, 5, 3_000_000])
def test_a_copy_of_local_content(bench: Bench, size: int) -> None:
    content = os.urandom(size)
    (bench.tree / "one").write_bytes(content)
    bench.rescan()
    assert_settled(bench, bench.applier.copy_file(file_entry(b"two", content), b"one", None))
    assert (bench.tree / "two").read_bytes() == content
    (bench.tree / "one").write_bytes(b"edited")
    refused = bench.applier.copy_file(file_entry(b"three", content), b"one", None)
    assert (refused.outcome, "fetch it" in refused.reason) == (Outcome.FAILED, True)
    taken = bench.applier.copy_file(file_entry(b"two", content), b"two", None)
    assert (taken.outcome, bench.staged()) == (Outcome.MOVED, [])


def test_a_copy_of_what_was_placed_just_now(bench: Bench) -> None:
    assert bench.place(b"one", b"text").outcome is Outcome.DONE  # and its row isn't in the index yet
    assert bench.applier.copy_file(file_entry(b"two", b"text"), b"one", None).outcome is Outcome.DONE
    assert (bench.tree / "two").read_bytes() == b"text"
    (bench.tree / "one").write_bytes(b"else")
    for missing in (b"one", b"gone"):
        refused = bench.applier.copy_file(file_entry(b"three", b"text"), missing, None)
        assert (refused.outcome, "fetch it" in refused.reason) == (Outcome.FAILED, True)
    assert not (bench.tree / "three").exists()


def test_a_copy_of_what_has_just_taken_the_place_of_something_else(bench: Bench) -> None:
    (bench.tree / "one").write_bytes(b"before")
    row = bench.row(b"one")  # it stays on record until the new one takes its place
    assert bench.place(b"one", b"text", row).outcome is Outcome.DONE
    assert bench.applier.copy_file(file_entry(b"two", b"text"), b"one", None).outcome is Outcome.DONE
    assert (bench.tree / "two").read_bytes() == b"text"


def test_a_loser_is_kept_aside(bench: Bench) -> None:
    (bench.tree / "f.txt").write_bytes(b"loser")
    row = bench.row(b"f.txt")
    applied = bench.applier.keep_aside(row, b"f.sync-conflict.txt")
    assert applied.row is not None
    assert applied.row.entry == replace(row.entry, path=b"f.sync-conflict.txt")
    bench.index.forget([b"f.txt"])
    assert_settled(bench, applied)
    assert not (bench.tree / "f.txt").exists()


def test_an_equal_conflict_copy_is_made_once(bench: Bench) -> None:
    for name in ("f", "copy"):
        (bench.tree / name).write_bytes(b"loser")
    applied = bench.applier.keep_aside(bench.row(b"f"), b"copy")
    assert applied.row is not None
    assert (applied.outcome, applied.row.entry.path) == (Outcome.DONE, b"copy")
    assert bench.kept() == {"f": b"loser"}
    (bench.tree / "f").write_bytes(b"another loser")
    refused = bench.applier.keep_aside(bench.row(b"f"), b"copy")
    assert (refused.outcome, "rename that file" in refused.reason) == (Outcome.FAILED, True)
    assert (bench.tree / "f").read_bytes() == b"another loser"


@pytest.mark.parametrize(
    "path", [b"../out", b"/etc/x", b"a/../../out", b"", b"a\0b", b".syncgraph/staging/x", b"a//b", b"n" * 256]
)
def test_unsafe_paths_are_refused(bench: Bench, path: bytes) -> None:
    before = sorted(os.listdir(bench.tree.parent))
    assert bench.place(path, b"1").outcome is Outcome.FAILED
    assert bench.applier.make_directory(directory_entry(path), None).outcome is Outcome.FAILED
    assert bench.applier.make_symlink(link_entry(path, b"x"), None).outcome is Outcome.FAILED
    assert bench.applier.move_tree(b"a", path).outcome is Outcome.FAILED
    assert sorted(os.listdir(bench.tree.parent)) == before


@pytest.mark.parametrize("lookup", ["one call", "name by name"])
def test_a_link_swapped_in_under_a_parent_leads_nowhere(
    bench: Bench, tmp_path: Path, lookup: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lookup == "name by name":
        monkeypatch.setattr(syscalls, "_SYS_OPENAT2", 99_999)
    outside = tmp_path / "outside"
    outside.mkdir()
    (bench.tree / "d" / "e").mkdir(parents=True)
    (bench.tree / "d" / "e" / "f").write_bytes(b"1")
    (outside / "e").mkdir()
    os.link(bench.tree / "d/e/f", outside / "e" / "f")
    row = bench.row(b"d/e/f")
    assert bench.place(b"d/e/g", b"inside").outcome is Outcome.DONE
    shutil.rmtree(bench.tree / "d")
    (bench.tree / "d").symlink_to(outside)
    before = row.entry
    for applied in (
        bench.place(b"d/e/new", b"1"),
        bench.place(b"d/e/f", b"2", row),
        bench.applier.remove(tombstone(before), row),
        bench.applier.make_directory(directory_entry(b"d/new"), None),
        bench.applier.set_metadata(before, row),
        bench.applier.move_tree(b"d/e", b"stolen"),
    ):
        assert applied.outcome in (Outcome.FAILED, Outcome.MOVED)
    assert sorted(os.listdir(outside)) == ["e"]
    assert os.listdir(outside / "e") == ["f"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "small"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", path]
    if os.geteuid() != 0 or subprocess.run(command, check=False).returncode:
        pytest.skip("mounting needs privileges")
    yield path
    subprocess.run(["umount", path], check=True)


def test_a_full_disk_is_told_and_harms_nothing(small_disk: Path, index: Index) -> None:
    (small_disk / "f").write_bytes(b"old")
    root = Root.open(str(small_disk), create=False)
    staging = Staging(root)
    big = os.urandom(1_000_000)
    digest = blake3(big).digest()
    with pytest.raises(DiskError, match="no space left on device; free space"):
        staging.stage(verified(digest, big))
    with pytest.raises(DiskError, match="no space left on device; free space"):
        staging.begin(digest, len(big))
    source = small_disk.parent / "source"
    source.write_bytes(big)
    fd = os.open(source, os.O_RDONLY)
    with pytest.raises(DiskError, match="no space left on device; free space"):
        staging.copy(fd, digest, len(big))
    os.close(fd)
    assert (small_disk / "f").read_bytes() == b"old"
    staging.close()
    root.close()


def test_a_name_the_disk_cannot_hold_is_told(bench: Bench) -> None:
    (bench.tree / "x").write_bytes(b"")
    below_a_file = bench.place(b"x/f", b"1")
    assert (below_a_file.outcome, "no directory" in below_a_file.reason) == (Outcome.FAILED, True)


def test_a_long_name_can_be_kept(bench: Bench) -> None:
    name = b"n" * 255
    (bench.tree / os.fsdecode(name)).write_bytes(b"old")
    assert bench.place(name, b"new", bench.row(name)).outcome is Outcome.DONE
    assert list(bench.kept().values()) == [b"old"]


def calls_until_killed(bench: Bench, row: Row, allowed: int) -> int:
    """Place a file in a child that is killed at the system call after `allowed` ones; its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    left = [allowed]

    def fragile(call: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object, **keywords: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)
            return call(*arguments, **keywords)

        return counted

    try:
        for name in ("open", "pwrite", "chmod", "utime", "link", "rename", "unlink", "mkdir", "rmdir"):
            setattr(os, name, fragile(getattr(os, name)))
        for name in ("_rename", "open_beneath"):
            setattr(syscalls, name, fragile(getattr(syscalls, name)))
        applied = bench.place(b"d/f", b"new" * 1000, row)
        os._exit(0 if applied.outcome is Outcome.DONE else 1)
    finally:
        os._exit(2)


def test_killed_before_any_call_nothing_is_lost(bench: Bench) -> None:
    (bench.tree / "d").mkdir()
    for allowed in range(60):
        (bench.tree / "d" / "f").unlink(missing_ok=True)
        shutil.rmtree(bench.tree / ".syncgraph" / "versions", ignore_errors=True)
        (bench.tree / "d" / "f").write_bytes(b"old")
        code = calls_until_killed(bench, bench.row(b"d/f"), allowed)
        published = (bench.tree / "d" / "f").read_bytes()
        everything = [path.read_bytes() for path in bench.tree.rglob("*") if path.is_file()]
        assert code in (0, 9)
        assert published in (b"old", b"new" * 1000)
        assert b"old" in everything
        if code == 0:
            assert published == b"new" * 1000
            assert allowed > 5
            return
    pytest.fail("the operation never came to its end")


READ_ONLY = """
import os, sys
from pathlib import Path
from blake3 import blake3
from node_runtime.disk.applier import Applier, Outcome
from node_runtime.disk.index import Index
from node_runtime.disk.root import Root
from node_runtime.disk.staging import Staging, verified
from node_runtime.disk.versions import Versions
from node_runtime.replica.entry import Entry, Kind
tree, state = sys.argv[1:]
os.setgroups([]); os.setgid(65534); os.setuid(65534)
root = Root.open(tree, create=False)
with Index.open(Path(state) / "i.db", 1, "b") as index:
    staging = Staging(root)
    applier = Applier(root, index, staging, Versions(root))
    def place(path):
        entry = Entry(path, Kind.FILE, False, 1, 5, 0o600, blake3(b"1").digest(), ((1, 9),), ((1, 9),), "p")
        return applier.place_file(entry, staging.stage(verified(entry.content, b"1")), None)
    mine, theirs = place(b"mine/f"), place(b"theirs/f")
    assert mine.outcome is Outcome.DONE, mine
    assert theirs.outcome is Outcome.FAILED and "permission denied; give the account" in theirs.reason, theirs
    assert os.stat(tree + "/mine").st_mode & 0o777 == 0o555
"""


def test_read_only_directories_open_for_their_owner_alone() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become an account that is refused")
    base = Path(tempfile.mkdtemp(dir="/tmp"))  # pytest's own directories are closed to other accounts
    try:
        (base / "tree" / "mine").mkdir(parents=True)
        (base / "tree" / "theirs").mkdir()
        (base / "state").mkdir()
        for path in (base, base / "tree", base / "state", base / "tree" / "mine"):
            os.chown(path, 65534, 65534)
        (base / "tree" / "mine").chmod(0o555)
        command = [sys.executable, "-c", READ_ONLY, str(base / "tree"), str(base / "state")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0, done.stderr
    finally:
        shutil.rmtree(base)


def test_a_working_directory_that_was_removed_is_made_again(bench: Bench) -> None:
    assert bench.place(b"one", b"1").outcome is Outcome.DONE
    shutil.rmtree(bench.tree / ".syncgraph", ignore_errors=True)  # it isn't there before it is needed
    two = bench.place(b"two", b"2")
    assert two.outcome is Outcome.DONE
    assert bench.place(b"two", b"3", two.row).outcome is Outcome.DONE
    assert bench.kept() == {"two": b"2"}
