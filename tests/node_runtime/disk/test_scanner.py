"""Scans of real trees: what becomes a row, and what must not."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from node_runtime.disk import marker, syscalls
from node_runtime.disk import walk as walking
from node_runtime.disk.errors import DiskError
from node_runtime.disk.index import Index
from node_runtime.disk.root import Root
from node_runtime.disk.scanner import BATCH_ROWS, ScanResult, scan, scan_paths
from node_runtime.replica.entry import Entry, Kind, Row
from node_runtime.replica.filters import Filters
from node_runtime.replica.path import key
from node_runtime.replica.reconcile import check_peer_entry
from node_runtime.replica.version import Order, compare
from schemas.plans import FilterRule
from tests.node_runtime.disk.conftest import LOCAL, Scan, later
from tests.node_runtime.disk.test_applier import Bench


def entries(index: Index) -> dict[bytes, Entry]:
    return {row.entry.path: row.entry for row in index.walk()}


def live(index: Index) -> set[bytes]:
    return {path for path, entry in entries(index).items() if not entry.deleted}


def scan_these(
    root: Root, index: Index, paths: Iterable[bytes], filters: Filters | None = None
) -> ScanResult:
    filters = filters or Filters(())
    return scan_paths(root, index, filters, paths, local_id=LOCAL, node="here", now_ns=later)


def filtered(root: Root, index: Index, *patterns: str) -> ScanResult:
    rules = tuple(FilterRule("exclude", pattern) for pattern in patterns)
    return scan(root, index, Filters(rules), local_id=LOCAL, node="here", now_ns=later)


def test_a_first_scan_records_files_directories_and_links(tree: Path, index: Index, rescan: Scan) -> None:
    (tree / "d").mkdir(mode=0o750)
    (tree / "d" / "f").write_bytes(b"text")
    (tree / "d" / "f").chmod(0o640)
    os.utime(tree / "d" / "f", ns=(1, 1_234_567_891_234_567_891))
    (tree / "l").symlink_to("/nowhere/at all")
    result = rescan()
    found = entries(index)
    assert (result.changed, result.hashed_bytes, result.problems, result.complete) == (3, 4, [], True)
    file = found[b"d/f"]
    assert (file.kind, file.size, file.mtime_ns, file.mode) == (
        Kind.FILE,
        4,
        1_234_567_891_234_567_891,
        0o640,
    )
    assert (file.content, file.origin, len(file.version)) == (blake3(b"text").digest(), "here", 1)
    assert (found[b"d"].kind, found[b"d"].mtime_ns, found[b"d"].mode) == (Kind.DIRECTORY, 0, 0o750)
    assert (found[b"l"].kind, found[b"l"].content, found[b"l"].mode) == (Kind.SYMLINK, b"/nowhere/at all", 0)


def test_a_second_scan_finds_nothing(tree: Path, index: Index, rescan: Scan) -> None:
    (tree / "d" / "e").mkdir(parents=True)
    (tree / "d" / "f").write_bytes(b"text")
    (tree / "l").symlink_to("d")
    rescan()
    before = list(index.walk())
    result = rescan()
    assert (result.changed, result.hashed_bytes, result.problems) == (0, 0, [])
    assert list(index.walk()) == before


def test_an_edit_raises_both_vectors(tree: Path, index: Index, rescan: Scan) -> None:
    (tree / "f").write_bytes(b"one")
    rescan()
    before = entries(index)[b"f"]
    (tree / "f").write_bytes(b"two!")
    assert rescan().changed == 1
    after = entries(index)[b"f"]
    assert after.content == blake3(b"two!").digest()
    assert compare(after.version, before.version) is Order.AFTER
    assert compare(after.metadata_version, before.metadata_version) is Order.AFTER


@pytest.mark.parametrize("edit", ["chmod", "touch"])
def test_metadata_alone_leaves_the_version(tree: Path, index: Index, rescan: Scan, edit: str) -> None:
    (tree / "f").write_bytes(b"one")
    rescan()
    before = entries(index)[b"f"]
    if edit == "chmod":
        (tree / "f").chmod(0o600)
    else:
        os.utime(tree / "f", ns=(5, 5))
    assert rescan().changed == 1
    after = entries(index)[b"f"]
    assert (after.version, after.content) == (before.version, before.content)
    assert compare(after.metadata_version, before.metadata_version) is Order.AFTER
    assert (after.mode, after.mtime_ns) == ((0o600, before.mtime_ns) if edit == "chmod" else (before.mode, 5))


def test_a_directory_is_not_edited_by_what_is_put_in_it(tree: Path, index: Index, rescan: Scan) -> None:
    (tree / "d").mkdir()
    rescan()
    (tree / "d" / "new").write_bytes(b"")
    assert rescan().changed == 1
    (tree / "d").chmod(0o700)
    assert rescan().changed == 1
    assert entries(index)[b"d"].mode == 0o700


def test_a_new_link_count_is_no_news(tree: Path, index: Index, rescan: Scan, tmp_path: Path) -> None:
    (tree / "f").write_bytes(b"one")
    rescan()
    os.link(tree / "f", tmp_path / "outside")
    result = rescan()
    assert (result.changed, result.hashed_bytes) == (0, 3)
    assert rescan().hashed_bytes == 0


def test_what_vanished_becomes_tombstones(tree: Path, index: Index, rescan: Scan) -> None:
    (tree / "stays").write_bytes(b"")
    (tree / "d").mkdir()
    (tree / "d" / "f").write_bytes(b"x")
    rescan()
    before = entries(index)
    (tree / "d" / "f").unlink()
    (tree / "d").rmdir()
    assert rescan().changed == 2
    after = entries(index)
    assert live(index) == {b"stays"}
    assert (after[b"d/f"].kind, after[b"d/f"].size, after[b"d/f"].content) == (Kind.FILE, 0, b"")
    assert after[b"d"].kind is Kind.DIRECTORY
    assert compare(after[b"d/f"].version, before[b"d/f"].version) is Order.AFTER
    (tree / "d").mkdir()
    rescan()
    again = entries(index)[b"d"]
    assert not again.deleted
    assert compare(again.version, after[b"d"].version) is Order.AFTER


def test_a_changed_kind_is_an_edit(tree: Path, index: Index, rescan: Scan) -> None:
    (tree / "x").write_bytes(b"1")
    (tree / "y").mkdir()
    (tree / "y" / "below").write_bytes(b"1")
    rescan()
    before = entries(index)
    (tree / "x").unlink()
    (tree / "x").mkdir()
    (tree / "y" / "below").unlink()
    (tree / "y").rmdir()
    (tree / "y").symlink_to("x")
    rescan()
    after = entries(index)
    assert (after[b"x"].kind, after[b"y"].kind) == (Kind.DIRECTORY, Kind.SYMLINK)
    assert after[b"y/below"].deleted
    assert compare(after[b"x"].version, before[b"x"].version) is Order.AFTER


def test_a_rename_reads_nothing(tree: Path, index: Index, rescan: Scan) -> None:
    (tree / "old").write_bytes(b"a large file, say")
    rescan()
    (tree / "old").rename(tree / "new")
    result = rescan()
    assert (result.changed, result.hashed_bytes) == (2, 0)
    assert entries(index)[b"new"].content == blake3(b"a large file, say").digest()


def test_a_reused_inode_number_is_not_taken_for_a_rename(tree: Path, index: Index, rescan: Scan) -> None:
    (tree / "keep").write_bytes(b"")
    for attempt in range(50):  # a file system gives the number again soon, not always at once
        (tree / f"old{attempt}").write_bytes(b"AAAA")
        os.utime(tree / f"old{attempt}", ns=(7, 7))
        inode = (tree / f"old{attempt}").stat().st_ino
        rescan()
        (tree / f"old{attempt}").unlink()
        (tree / f"new{attempt}").write_bytes(b"BBBB")
        os.utime(tree / f"new{attempt}", ns=(7, 7))
        reused = (tree / f"new{attempt}").stat().st_ino == inode
        rescan()
        assert entries(index)[f"new{attempt}".encode()].content == blake3(b"BBBB").digest()
        if reused:
            return
    pytest.skip("this file system didn't give an inode number twice")


def test_a_file_that_changed_just_now_is_read_again(tree: Path, root: Root, index: Index) -> None:
    (tree / "f").write_bytes(b"one")
    fresh = (tree / "f").stat().st_ctime_ns + 1

    def run(now_ns: int) -> ScanResult:
        return scan(root, index, Filters(()), local_id=LOCAL, node="here", now_ns=lambda: now_ns)

    assert (run(fresh).changed, index.max_seq) == (1, 1)
    again = run(fresh + 10**9)
    assert (again.changed, again.hashed_bytes) == (0, 3)
    assert run(fresh + 10**9).hashed_bytes == 0


def test_a_file_that_is_being_written_waits(
    tree: Path, index: Index, rescan: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "f").write_bytes(b"one")
    (tree / "g").write_bytes(b"still")
    real_pread = os.pread

    def growing(fd: int, count: int, offset: int) -> bytes:
        content = real_pread(fd, count, offset)
        if content == b"one":
            with (tree / "f").open("ab") as writer:
                writer.write(b" more")
        return content

    monkeypatch.setattr(os, "pread", growing)
    result = rescan()
    assert live(index) == {b"g"}
    assert [path for path, _ in result.problems] == [b"f"]
    assert "still being written" in result.problems[0][1]
    monkeypatch.undo()
    assert rescan().changed == 1


def test_sockets_pipes_and_devices_are_told_not_taken(tree: Path, index: Index, rescan: Scan) -> None:
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tree / "socket"))
        result = rescan()
    assert live(index) == set()
    assert sorted(result.problems) == [
        (b"pipe", "is a pipe; these aren't replicated"),
        (b"socket", "is a socket; these aren't replicated"),
    ]


HOSTILE = [
    b"\xff\xfe",
    b"a\nb",
    b" ",
    b"-rf",
    b"caf\xc3\xa9",
    b"cafe\xcc\x81",
    b"\\",
    b"*",
    b"~",
    b"...",
    b"n" * 255,
]


def test_every_name_a_disk_can_hold(tree: Path, index: Index, rescan: Scan) -> None:
    for name in HOSTILE:
        directory = os.path.join(os.fsencode(tree), name)
        os.mkdir(directory)
        with open(os.path.join(directory, name), "wb") as file:
            file.write(name)
    rescan()
    assert live(index) == set(HOSTILE) | {name + b"/" + name for name in HOSTILE}
    assert rescan().changed == 0


def test_our_own_directory_is_not_replicated(tree: Path, index: Index, rescan: Scan) -> None:
    (tree / ".syncgraph" / "staging").mkdir(parents=True)
    (tree / "d" / ".syncgraph").mkdir(parents=True)
    rescan()
    assert live(index) == {b"d", b"d/.syncgraph"}


def test_a_deep_tree_needs_few_descriptors(tree: Path, index: Index, rescan: Scan) -> None:
    depth = walking.MAX_OPEN_DIRECTORIES + 20
    current = tree
    for level in range(depth):
        current = current / "d"
        current.mkdir()
        (current / "z").write_bytes(b"%d" % level)
    assert rescan().changed == 2 * depth
    assert rescan().changed == 0


def test_paths_longer_than_a_call_takes(tree: Path, root: Root, index: Index, rescan: Scan) -> None:
    fd = os.open(tree, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("n" * 250, dir_fd=fd)
        deeper = os.open("n" * 250, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    assert rescan().changed == 21
    leaf = max(live(index), key=len)
    assert len(leaf) > 4096
    assert root.stamp(leaf) is not None
    assert rescan().changed == 0


def test_an_emptied_root_deletes_nothing(tree: Path, index: Index, rescan: Scan) -> None:
    (tree / "f").write_bytes(b"1")
    (tree / ".syncgraph").mkdir()
    rescan()
    (tree / "f").unlink()
    result = rescan()
    assert "is empty but 1 paths are on record" in result.deletes_suppressed
    assert live(index) == {b"f"}
    (tree / "other").write_bytes(b"")
    assert rescan().deletes_suppressed == ""
    assert live(index) == {b"other"}


def test_a_root_without_its_marker_deletes_nothing(
    tree: Path, root: Root, index: Index, rescan: Scan
) -> None:
    (tree / "f").write_bytes(b"1")
    (tree / "g").write_bytes(b"2")
    rescan()
    marker.make(root, index)  # not asked for
    assert not (tree / ".syncgraph" / "marker").exists()
    marker.require(index, True)
    marker.make(root, index)
    (tree / ".syncgraph" / "marker").unlink()
    (tree / "f").unlink()
    marker.make(root, index)  # it is made once
    assert ".syncgraph/marker is missing" in rescan().deletes_suppressed
    assert ".syncgraph/marker is missing" in scan_these(root, index, [b"f"]).deletes_suppressed
    assert live(index) == {b"f", b"g"}
    (tree / ".syncgraph" / "marker").write_bytes(b"")
    assert rescan().deletes_suppressed == ""
    assert live(index) == {b"g"}
    (tree / ".syncgraph" / "marker").unlink()
    (tree / "g").rename(tree / "h")
    marker.require(index, False)
    assert rescan().deletes_suppressed == ""


def test_what_peers_put_into_an_emptied_root_deletes_nothing_either(
    tree: Path, root: Root, index: Index, rescan: Scan
) -> None:
    bench = Bench(tree, root, index, rescan)
    (tree / "f").write_bytes(b"1")
    (tree / "g").write_bytes(b"2")
    rescan()
    (tree / "f").unlink()
    (tree / "g").rename(tree.parent / "elsewhere")
    rescan()
    placed = bench.place(b"from a peer", b"3")
    assert placed.row is not None
    index.put([replace(placed.row, learned_from=9)])
    assert "is empty but 2 paths are on record" in rescan().deletes_suppressed
    assert live(index) == {b"f", b"g", b"from a peer"}
    (tree.parent / "elsewhere").rename(tree / "g")  # what was there is back, so what is missing was deleted
    assert rescan().deletes_suppressed == ""
    assert live(index) == {b"g", b"from a peer"}


def test_another_directory_that_is_empty_stops_the_pass(tree: Path, index: Index) -> None:
    def pass_over(path: Path) -> ScanResult:
        opened = Root.open(str(path), create=True)
        try:
            return scan(opened, index, Filters(()), local_id=LOCAL, node="here", now_ns=later)
        finally:
            opened.close()

    pass_over(tree)  # recorded even while there is nothing in it
    (tree / "f").write_bytes(b"1")
    pass_over(tree)
    stranger = tree.with_name("mount point")
    with pytest.raises(DiskError, match="not the directory that was synced before"):
        pass_over(stranger)
    assert live(index) == {b"f"}
    (stranger / "of one's own").write_bytes(b"")
    assert pass_over(stranger).deletes_suppressed == ""
    assert live(index) == {b"of one's own"}


def test_a_replaced_root_is_refused(tree: Path, index: Index, rescan: Scan) -> None:
    (tree / "f").write_bytes(b"1")
    rescan()
    tree.rename(tree.with_name("moved"))
    with pytest.raises(DiskError, match="has gone"):
        rescan()
    tree.mkdir()
    with pytest.raises(DiskError, match="not the one that was opened"):
        rescan()
    assert live(index) == {b"f"}


def test_a_stopped_scan_deletes_nothing(tree: Path, root: Root, index: Index, rescan: Scan) -> None:
    for number in range(600):
        (tree / f"{number:03d}").write_bytes(b"")
    rescan()
    (tree / "000").unlink()
    answers = iter([True])
    result = scan(
        root, index, Filters(()), local_id=LOCAL, node="here", now_ns=later, stop=lambda: next(answers, False)
    )
    assert not result.complete
    assert b"000" in live(index)


def test_batches_are_handed_on_once_they_are_on_record(tree: Path, root: Root, index: Index) -> None:
    for number in range(BATCH_ROWS + 5):
        (tree / f"{number:05d}").write_bytes(b"")
    batches: list[int] = []

    def on_batch(rows: list[Row]) -> None:
        assert set(index.get([rows[-1].entry.path])) == {rows[-1].entry.path}
        batches.append(len(rows))

    scan(root, index, Filters(()), local_id=LOCAL, node="here", now_ns=later, on_batch=on_batch)
    assert batches == [BATCH_ROWS, 5]


def test_excluded_paths_are_forgotten_never_deleted(
    tree: Path, root: Root, index: Index, rescan: Scan
) -> None:
    for path in ("a.tmp", "d/x", "d/y.tmp", "keep"):
        (tree / path).parent.mkdir(exist_ok=True)
        (tree / path).write_bytes(b"1")
    rescan()
    filtered(root, index, "*.tmp")
    assert set(entries(index)) == {b"d", b"d/x", b"keep"}
    filtered(root, index, "*.tmp", "d/")
    assert set(entries(index)) == {b"keep"}
    (tree / "d" / "x").unlink()
    (tree / "d" / "new").write_bytes(b"")
    scan_these(root, index, [b"d/new", b"d/x", b"d"], Filters((FilterRule("exclude", "d/"),)))
    assert set(entries(index)) == {b"keep"}
    filtered(root, index)
    assert live(index) == {b"a.tmp", b"d", b"d/new", b"d/y.tmp", b"keep"}


def test_the_same_filters_are_not_asked_again_of_known_files(tree: Path, root: Root, index: Index) -> None:
    (tree / "a").write_bytes(b"1")
    filtered(root, index, "*.tmp")
    rules = Filters((FilterRule("exclude", "*.tmp"),))
    asked: list[bytes] = []

    class Counting(Filters):
        def excludes(self, path: bytes, is_directory: bool) -> bool:
            asked.append(path)
            return super().excludes(path, is_directory)

    scan(root, index, Counting(rules.rules), local_id=LOCAL, node="here", now_ns=later)
    assert asked == []


def test_exactly_these_paths(tree: Path, root: Root, index: Index, rescan: Scan) -> None:
    (tree / "d").mkdir()
    for name in ("a", "b", "d/c", "d/e"):
        (tree / name).write_bytes(b"1")
    rescan()
    for name in ("a", "b", "d/c"):
        (tree / name).write_bytes(b"22")
    (tree / "d" / "e").unlink()
    assert scan_these(root, index, [b"a", b"missing", b".syncgraph/x"]).changed == 1
    found = entries(index)
    assert (found[b"a"].size, found[b"b"].size, found[b"d/c"].size) == (2, 1, 1)
    assert scan_these(root, index, [b"d", b"d/c"]).changed == 2
    found = entries(index)
    assert found[b"d/e"].deleted
    assert found[b"d/c"].size == 2


def test_a_path_in_an_unknown_directory_brings_the_directory(tree: Path, root: Root, index: Index) -> None:
    (tree / "d" / "e").mkdir(parents=True)
    (tree / "d" / "e" / "f").write_bytes(b"1")
    (tree / "d" / "other").write_bytes(b"1")
    scan_these(root, index, [b"d/e/f"])
    assert live(index) == {b"d", b"d/e", b"d/e/f"}


def test_a_vanished_directory_takes_what_was_below_it(
    tree: Path, root: Root, index: Index, rescan: Scan
) -> None:
    (tree / "d" / "e").mkdir(parents=True)
    (tree / "d" / "e" / "f").write_bytes(b"1")
    (tree / "d-sibling").write_bytes(b"1")
    rescan()
    (tree / "d").rename(tree.with_name("outside"))
    scan_these(root, index, [b"d"])
    assert live(index) == {b"d-sibling"}


def test_a_link_in_place_of_a_directory_is_not_followed(
    tree: Path, root: Root, index: Index, rescan: Scan, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"1")
    (tree / "d").symlink_to(tmp_path / "outside")
    rescan()
    scan_these(root, index, [b"d/secret"])
    assert live(index) == {b"d"}


def test_scan_under_one_directory(tree: Path, root: Root, index: Index, rescan: Scan) -> None:
    for path in ("a/x", "b/x"):
        (tree / path).parent.mkdir()
        (tree / path).write_bytes(b"1")
    rescan()
    (tree / "a" / "x").unlink()
    (tree / "b" / "x").unlink()
    scan(root, index, Filters(()), local_id=LOCAL, node="here", now_ns=later, under=b"a")
    assert live(index) == {b"a", b"b", b"b/x"}


@pytest.fixture
def mount(tree: Path) -> Iterator[Path]:
    target = tree / "mounted"
    target.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "tmpfs", target], check=False).returncode:
        pytest.skip("mounting needs privileges")
    yield target
    subprocess.run(["umount", target], check=True)


def test_another_file_system_is_left_alone(tree: Path, index: Index, rescan: Scan, mount: Path) -> None:
    subprocess.run(["umount", mount], check=True)
    (mount / "below").write_bytes(b"hidden later")
    rescan()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", mount], check=True)
    (mount / "theirs").write_bytes(b"1")
    (tree / "new").write_bytes(b"1")
    result = rescan()
    assert live(index) == {b"mounted", b"mounted/below", b"new"}
    assert [(path, "another file" in reason) for path, reason in result.problems] == [(b"mounted", True)]


@pytest.mark.parametrize("lookup", ["one call", "name by name"])
def test_nothing_is_looked_up_in_another_file_system(
    root: Root, mount: Path, lookup: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lookup == "name by name":
        monkeypatch.setattr(syscalls, "_SYS_OPENAT2", 99_999)
    (mount / "theirs").write_bytes(b"1")
    with pytest.raises(OSError) as caught:
        root.lstat(b"mounted/theirs")
    assert caught.value.errno == errno.EXDEV


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from node_runtime.disk.index import Index
from node_runtime.disk.root import Root
from node_runtime.disk.scanner import scan
from node_runtime.replica.filters import Filters
tree, state = sys.argv[1:]
os.setgroups([]); os.setgid(65534); os.setuid(65534)
with Index.open(Path(state) / "i.db", 1, "b") as index:
    root = Root.open(tree, create=False)
    run = lambda: scan(root, index, Filters(()), local_id=1, node="n", now_ns=lambda: 2**61)
    run()
    os.chmod(tree + "/locked", 0)
    os.chmod(tree + "/unreadable", 0)
    os.unlink(tree + "/vanishes")
    result = run()
    assert "locked can't be read: permission denied" in result.deletes_suppressed, result
    assert sorted(p for p, _ in result.problems) == [b"locked", b"unreadable"], result
    live = {row.entry.path for row in index.walk() if not row.entry.deleted}
    assert live == {b"locked", b"locked/below", b"unreadable", b"vanishes"}, live
    os.chmod(tree + "/locked", 0o700)
    result = run()
    live = {row.entry.path for row in index.walk() if not row.entry.deleted}
    assert live == {b"locked", b"locked/below", b"unreadable"}, (live, result)
"""


def test_an_unreadable_directory_suppresses_every_delete(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become an account that is refused")
    base = Path(tempfile.mkdtemp(dir="/tmp"))  # pytest's own directories are closed to other accounts
    try:
        tree, state = base / "tree", base / "state"
        (tree / "locked").mkdir(parents=True)
        state.mkdir()
        for name in ("locked/below", "unreadable", "vanishes"):
            (tree / name).write_bytes(b"1")
        for path in (base, tree, state, *tree.rglob("*")):
            os.chown(path, 65534, 65534)
        command = [sys.executable, "-c", UNPRIVILEGED, str(tree), str(state)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0, done.stderr
    finally:
        shutil.rmtree(base)


@pytest.mark.parametrize("year_s", [13_569_465_600, -13_569_465_600])
def test_a_time_beyond_what_can_be_recorded_stops_nothing(
    tree: Path, index: Index, rescan: Scan, year_s: int
) -> None:
    (tree / "odd").write_bytes(b"x")
    os.utime(tree / "odd", (year_s, year_s))
    (tree / "link").symlink_to("odd")
    os.utime(tree / "link", (year_s, year_s), follow_symlinks=False)
    (tree / "other").write_bytes(b"y")
    assert rescan().problems == []
    assert live(index) == {b"odd", b"link", b"other"}
    assert all(check_peer_entry(row.entry) is None for row in index.walk())
    assert rescan().changed == 0


steps_of_users = st.tuples(
    st.sampled_from(["file", "dir", "link", "remove", "rename", "chmod"]),
    st.integers(0, 8),
    st.integers(0, 8),
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(steps_of_users, max_size=25))
def test_a_rescan_equals_a_first_scan(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    tree = tmp_path_factory.mktemp("law")
    (tree / "anchor").write_bytes(b"")
    names = ["a", "b", "a-b", "a/x", "a/y", "a/x/z", "b/\u00e9", "b/\u00e9/q", "\x01"]
    places = [tree / name for name in names]
    root = Root.open(str(tree), create=False)
    state = tmp_path_factory.mktemp("state")
    with (
        Index.open(state / "kept.db", LOCAL, "b") as kept,
        Index.open(state / "fresh.db", LOCAL, "b") as fresh,
    ):
        for number, (what, one, other) in enumerate(steps):
            _step(what, places[one], places[other], number)
            if number % 3 == 0:
                scan(root, kept, Filters(()), local_id=LOCAL, node="here", now_ns=time.time_ns)
        scan(root, kept, Filters(()), local_id=LOCAL, node="here", now_ns=later)
        scan(root, fresh, Filters(()), local_id=LOCAL, node="here", now_ns=later)

        def shape(index: Index) -> list[tuple[bytes, Kind, int, int, int, bytes]]:
            rows = [row.entry for row in index.walk() if not row.entry.deleted]
            return [(e.path, e.kind, e.size, e.mtime_ns, e.mode, e.content) for e in rows]

        assert shape(kept) == shape(fresh)
        assert [e[0] for e in shape(fresh)] == sorted((e[0] for e in shape(fresh)), key=key)
        assert scan(root, kept, Filters(()), local_id=LOCAL, node="here", now_ns=later).changed == 0
    root.close()


def _step(what: str, place: Path, other: Path, number: int) -> None:
    try:
        if what == "file":
            place.write_bytes(b"%d" % (number % 4))
        elif what == "dir":
            place.mkdir()
        elif what == "link":
            place.symlink_to(f"to{number % 2}")
        elif what == "remove" and stat.S_ISDIR(place.lstat().st_mode):
            place.rmdir()
        elif what == "remove":
            place.unlink()
        elif what == "rename":
            place.rename(other)
        else:
            place.chmod(0o700 + number % 8)
    except OSError:
        return  # an impossible step is no step
