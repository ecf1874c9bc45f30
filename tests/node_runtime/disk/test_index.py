"""The index on a real database file."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_runtime.disk.contents import ASKED_AT_ONCE, RECENT_ROWS
from node_runtime.disk.errors import DiskError
from node_runtime.disk.index import PAGE_ROWS, REBOOT_GAP, Index, _check_schema
from node_runtime.disk.reading import LOOKUP_ROWS
from node_runtime.replica.entry import Entry, Kind, Row, Stamp
from node_runtime.replica.path import key

LOCAL = 77


def row(
    path: bytes, content: bytes = b"", *, kind: Kind = Kind.FILE, deleted: bool = False, peer: int = 0
) -> Row:
    inode = int.from_bytes(hashlib.sha256(path).digest()[:6], "big")
    is_file = kind is Kind.FILE and not deleted
    digest = hashlib.sha256(content).digest() if is_file else b""
    size = len(content) if is_file else 0
    entry = Entry(path, kind, deleted, size, 5, 0o644, digest, ((LOCAL, 3),), ((LOCAL, 3),), "hub")
    stamp = None if deleted else Stamp(size, 5, 6, inode, 0o100644)
    return Row(entry, stamp, peer)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path / "replica.db", LOCAL, "boot-1") as opened:
        yield opened


def reopen(index: Index, tmp_path: Path, boot_id: str = "boot-1") -> Index:
    index.close()
    return Index.open(tmp_path / "replica.db", LOCAL, boot_id)


def test_what_is_put_is_read_back_whole(index: Index) -> None:
    path, vectors = b"caf\xc3\xa9/\xff\n.txt", (((1, 2), (2**62, 9)), ((1, 5), (2**62, 9)))
    entry = Entry(path, Kind.FILE, False, 9, -1, 0o4755, b"h" * 32, *vectors, "nœud")
    stamp = Stamp(10, 11, 12, 13, 0o104755)
    index.put([Row(entry, stamp, 2**62, 0)])
    assert index.get([entry.path]) == {entry.path: Row(entry, stamp, 2**62, 1)}


def test_a_tombstone_has_no_stamp(index: Index) -> None:
    index.put([row(b"gone", deleted=True)])
    assert index.get([b"gone"])[b"gone"].stamp is None
    assert index.count() == (0, 0, 0)


def test_each_put_is_the_newest_change(index: Index) -> None:
    index.put([row(b"a"), row(b"b")])
    index.put([row(b"a", b"new")])
    assert [(r.entry.path, r.seq) for r in index.changes(0, 10)] == [(b"b", 2), (b"a", 3)]
    assert [r.seq for r in index.changes(2, 10)] == [3]
    assert [r.seq for r in index.changes(0, 1)] == [2]
    assert index.max_seq == 3


def in_memory() -> Index:
    db = apsw.Connection(":memory:")
    _check_schema(Path("memory"), db)
    return Index(Path("memory"), db, -1)


names = st.sampled_from([b"a", b"a-b", b"b", b"a\x01", b"\xff", b"Z"])
paths_of_names = st.lists(names, min_size=1, max_size=4).map(b"/".join)


@settings(max_examples=40, deadline=None)
@given(st.sets(paths_of_names, max_size=30), st.sampled_from([b"", b"a", b"a/b", b"\xff"]))
def test_walk_goes_depth_first_and_stays_below(paths: set[bytes], under: bytes) -> None:
    with in_memory() as index:
        index.put([row(path) for path in paths])
        below = [path for path in paths if not under or path.startswith(under + b"/")]
        assert [r.entry.path for r in index.walk(under)] == sorted(below, key=key)


def test_walk_reads_on_while_rows_are_put(index: Index) -> None:
    paths = [b"d/%05d" % number for number in range(PAGE_ROWS + 500)]
    index.put([row(path) for path in paths])
    seen = []
    for found in index.walk():
        if found.entry.path == paths[10]:
            index.put([row(paths[3], b"changed"), row(b"e")])
        seen.append(found.entry.path)
    assert seen == [*paths, b"e"]


def test_get_asks_for_many_paths_at_once(index: Index) -> None:
    paths = [b"f%d" % number for number in range(2 * LOOKUP_ROWS + 1)]
    index.put([row(path) for path in paths])
    assert set(index.get([*paths, b"missing"])) == set(paths)
    assert index.get([]) == {}


def test_forgotten_rows_are_gone_and_their_numbers_are_not_given_again(index: Index, tmp_path: Path) -> None:
    index.put([row(b"a"), row(b"b")])
    index.forget([b"b"])
    again = reopen(index, tmp_path)
    again.put([row(b"c")])
    assert [(r.entry.path, r.seq) for r in again.changes(0, 9)] == [(b"a", 1), (b"c", 3)]
    again.close()


def test_count_and_children(index: Index) -> None:
    index.put(
        [
            row(b"d", kind=Kind.DIRECTORY),
            row(b"d/f", b"12345"),
            row(b"d-f", b"1"),
            row(b"e", kind=Kind.DIRECTORY),
        ]
    )
    assert index.count() == (2, 2, 6)
    assert index.has_children(b"d")
    assert not index.has_children(b"e")
    index.put([row(b"d/f", deleted=True)])
    assert not index.has_children(b"d")


def test_holding_names_live_files_only(index: Index) -> None:
    wanted = hashlib.sha256(b"same").digest()
    other = hashlib.sha256(b"other").digest()
    index.put([row(b"a", b"same"), row(b"b", b"same"), row(b"c", b"same"), row(b"d", b"other")])
    assert {k: set(v) for k, v in index.holding([wanted, other, b"n" * 32]).items()} == {
        wanted: {b"a", b"b", b"c"},
        other: {b"d"},
    }
    index.put([row(b"a", b"edited"), row(b"b", deleted=True), row(b"e", b"same")])
    assert sorted(index.holding([wanted])[wanted]) == [b"c", b"e"]


def test_holding_finds_rows_of_every_age(index: Index, tmp_path: Path) -> None:
    index.put([row(b"old", b"old")])
    assert index.holding([hashlib.sha256(b"old").digest()])
    index.put([row(b"%d" % number, b"%d" % number) for number in range(RECENT_ROWS + 1)])
    index.put([row(b"new", b"new")])
    contents = [hashlib.sha256(text).digest() for text in (b"old", b"7", b"new")]
    assert list(index.holding(contents).values()) == [[b"old"], [b"7"], [b"new"]]
    again = reopen(index, tmp_path)
    assert len(again.holding(contents)) == 3
    again.close()


def test_holding_finds_the_few_that_are_here_among_many_that_are_not(index: Index) -> None:
    names = [b"%d" % number for number in range(2 * ASKED_AT_ONCE + 1)]
    here = [names[0], names[ASKED_AT_ONCE - 1], names[ASKED_AT_ONCE], names[-1]]
    index.put([row(name, name) for name in here])
    found = index.holding([hashlib.sha256(name).digest() for name in names])
    assert found == {hashlib.sha256(name).digest(): [name] for name in here}
    assert index.holding([]) == {}


def test_by_inode_finds_the_live_file(index: Index) -> None:
    there = row(b"a", b"x")
    assert there.stamp is not None
    index.put([there])
    found = index.by_inode(there.stamp.inode)
    assert found is not None
    assert found.entry.path == b"a"
    index.put([row(b"a", deleted=True)])
    assert index.by_inode(there.stamp.inode) is None


def test_restamp_is_no_change(index: Index) -> None:
    index.put([row(b"a", b"x")])
    before = index.get([b"a"])[b"a"]
    index.restamp([Row(before.entry, Stamp(1, 8, 9, 10, 0o100600))])
    after = index.get([b"a"])[b"a"]
    assert (after.entry, after.seq, after.stamp) == (before.entry, 1, Stamp(1, 8, 9, 10, 0o100600))
    assert index.max_seq == 1


def test_cursors_hold_for_one_index_of_the_peer(index: Index, tmp_path: Path) -> None:
    assert index.cursor("edge", b"one") == 0
    index.set_cursor("edge", b"one", 41)
    again = reopen(index, tmp_path)
    assert again.cursor("edge", b"one") == 41
    assert again.cursor("edge", b"two") == 0
    again.reset_cursors()
    assert again.cursor("edge", b"one") == 0
    again.close()


def test_retries_and_meta(index: Index) -> None:
    index.set_retries("edge", [b"a", b"\xff", b"a"])
    assert sorted(index.retries("edge")) == [b"a", b"\xff"]
    index.set_retries("edge", [])
    assert index.retries("edge") == []
    assert index.meta("x") is None
    index.set_meta("x", b"\0y")
    assert index.meta("x") == b"\0y"


def test_identity_is_kept(index: Index, tmp_path: Path) -> None:
    identity = index.index_id
    assert len(identity) == 16
    again = reopen(index, tmp_path)
    assert again.index_id == identity
    again.close()


def test_a_reader_in_another_thread_sees_whole_puts(index: Index) -> None:
    index.put([row(b"a")])
    reader = index.reader()
    found: list[object] = []
    thread = threading.Thread(
        target=lambda: found.append((reader.changes(0, 9), reader.max_seq, reader.count()))
    )
    thread.start()
    thread.join(10)
    assert found == [([row_with_seq(row(b"a"), 1)], 1, (1, 0, 0))]
    index.put([row(b"b")])
    assert reader.max_seq == 2
    assert set(reader.get([b"a", b"b"])) == {b"a", b"b"}
    reader.close()


def row_with_seq(original: Row, seq: int) -> Row:
    return Row(original.entry, original.stamp, original.learned_from, seq)


def test_only_one_writer(index: Index, tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="another syncgraph works on this replica"):
        Index.open(tmp_path / "replica.db", LOCAL, "boot-1")


def test_an_index_of_another_replica_is_refused(index: Index, tmp_path: Path) -> None:
    index.close()
    with pytest.raises(DiskError, match="belongs to another replica"):
        Index.open(tmp_path / "replica.db", LOCAL + 1, "boot-1")
    index = Index.open(tmp_path / "replica.db", LOCAL, "boot-1")  # the refusal left no lock behind
    index.close()


def test_a_newer_schema_is_refused(index: Index, tmp_path: Path) -> None:
    index.close()
    db = apsw.Connection(str(tmp_path / "replica.db"))
    db.pragma("user_version", 99)
    db.close()
    with pytest.raises(DiskError, match="newer syncgraph"):
        Index.open(tmp_path / "replica.db", LOCAL, "boot-1")


def test_a_damaged_file_is_told_not_thrown(tmp_path: Path) -> None:
    (tmp_path / "replica.db").write_bytes(b"not a database, but long enough to be read as one" * 40)
    with pytest.raises(DiskError, match="damaged"):
        Index.open(tmp_path / "replica.db", LOCAL, "boot-1")


def test_after_a_reboot_numbers_jump_ahead(index: Index, tmp_path: Path) -> None:
    index.put([row(b"a")])
    again = reopen(index, tmp_path, "boot-2")
    again.put([row(b"b")])
    assert again.get([b"b"])[b"b"].seq == REBOOT_GAP + 2
    third = reopen(again, tmp_path, "boot-2")
    third.put([row(b"c")])
    assert third.get([b"c"])[b"c"].seq == REBOOT_GAP + 3
    third.close()


def test_peers_content_is_unsettled_until_a_flush(index: Index, tmp_path: Path) -> None:
    index.put([row(b"settled", b"1", peer=5)])
    index.settle()
    index.put([row(b"mine", b"2"), row(b"theirs", b"3", peer=5), row(b"edited", b"4", peer=5)])
    index.put([row(b"merged", b"5", peer=5)])
    merged = index.get([b"merged"])[b"merged"]
    index.put([Row(merged.entry, merged.stamp, 0), row(b"edited", b"by the user")])
    assert list(index.unsettled_rows()) == []  # the machine is still up
    rebooted = reopen(index, tmp_path, "boot-2")
    assert [r.entry.path for r in rebooted.unsettled_rows()] == [b"merged", b"theirs"]
    interrupted = reopen(rebooted, tmp_path, "boot-2")
    assert [r.entry.path for r in interrupted.unsettled_rows()] == [b"merged", b"theirs"]
    interrupted.settle()
    assert list(interrupted.unsettled_rows()) == []
    interrupted.close()


def test_the_log_is_flushed_when_content_arrives(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    real = os.fdatasync

    def counted(fd: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{fd}"))
        real(fd)

    monkeypatch.setattr(os, "fdatasync", counted)
    index.put([row(b"mine")])
    assert flushed == []
    for number in range(20):
        index.put([row(b"theirs%d" % number, peer=5)])
    assert flushed
    assert all(path.endswith("replica.db-wal") for path in flushed)
    assert len(flushed) < 20  # now and then, not each time


def test_bytes_a_file_stay_few(index: Index, tmp_path: Path) -> None:
    number = 20_000
    rows = [row(b"projects/alpha-%02d/src/file-%06d.txt" % (n % 50, n), b"%d" % n) for n in range(number)]
    index.put(sorted(rows, key=lambda r: key(r.entry.path)))
    index.holding([b"x" * 32])
    index.close()
    assert (tmp_path / "replica.db").stat().st_size / number <= 400
    Index.open(tmp_path / "replica.db", LOCAL, "boot-1").close()
