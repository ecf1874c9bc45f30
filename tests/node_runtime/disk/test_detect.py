"""What an observation means, case by case."""

from __future__ import annotations

from msgspec.structs import replace

from node_runtime.disk.detect import RACY_NS, Seen, deletion, detect
from node_runtime.replica.entry import Entry, Kind, Row, Stamp
from node_runtime.replica.version import Order, compare

NOW_NS = 1_763_800_000_000_000_000
PEER = ((5, 100),)
ENTRY = Entry(b"f", Kind.FILE, False, 3, 1_000, 0o644, b"c" * 32, PEER, PEER, "there")
STAMP = Stamp(3, 1_000, 7_000, 42, 0o100644)


def seen(content: bytes = b"c" * 32, mtime_ns: int = 1_000, mode: int = 0o644, ctime_ns: int = 8_000) -> Seen:
    stamp = Stamp(3, mtime_ns, ctime_ns, 42, 0o100000 | mode)
    return Seen(b"f", Kind.FILE, 3, mtime_ns, mode, content, stamp)


def test_a_new_path_starts_its_vectors() -> None:
    found = detect(None, seen(), 9, "here", NOW_NS)
    assert found.is_change
    assert found.row.entry.version == found.row.entry.metadata_version == ((9, NOW_NS // 10**9),)
    assert (found.row.entry.origin, found.row.learned_from) == ("here", 0)


def test_another_content_is_an_edit_of_the_old_one() -> None:
    found = detect(Row(ENTRY, STAMP, learned_from=5), seen(b"d" * 32), 9, "here", NOW_NS)
    assert found.is_change
    assert compare(found.row.entry.version, PEER) is Order.AFTER
    assert (found.row.entry.origin, found.row.learned_from) == ("here", 0)


def test_an_equal_look_is_no_change_and_stays_learned() -> None:
    found = detect(Row(ENTRY, STAMP, learned_from=5), seen(), 9, "here", NOW_NS)
    assert not found.is_change
    assert (found.row.entry, found.row.learned_from) == (ENTRY, 5)
    assert found.row.stamp == replace(STAMP, ctime_ns=8_000)


def test_what_the_disk_could_not_hold_is_no_edit() -> None:
    """A file system with whole seconds and one mode for all, after a peer's file was placed."""
    placed = Row(replace(ENTRY, mtime_ns=1_234, mode=0o600), STAMP)
    found = detect(placed, seen(), 9, "here", NOW_NS)
    assert not found.is_change
    assert found.row.entry == placed.entry


def test_an_edit_of_one_leaves_what_the_disk_could_not_hold_of_the_other() -> None:
    placed = Row(replace(ENTRY, mtime_ns=1_234, mode=0o600), STAMP)
    touched = detect(placed, seen(mtime_ns=9_000), 9, "here", NOW_NS).row.entry
    assert (touched.mtime_ns, touched.mode, touched.version) == (9_000, 0o600, PEER)
    assert compare(touched.metadata_version, PEER) is Order.AFTER
    changed = detect(placed, seen(mode=0o755), 9, "here", NOW_NS).row.entry
    assert (changed.mtime_ns, changed.mode) == (1_234, 0o755)


def test_metadata_that_now_equals_the_entry_is_no_edit() -> None:
    placed = Row(replace(ENTRY, mode=0o600), STAMP)
    assert not detect(placed, seen(mode=0o600), 9, "here", NOW_NS).is_change


def test_a_fresh_look_is_recorded_as_one_that_never_recurs() -> None:
    fresh = detect(None, seen(ctime_ns=NOW_NS - RACY_NS + 1), 9, "here", NOW_NS).row.stamp
    settled = detect(None, seen(ctime_ns=NOW_NS - RACY_NS), 9, "here", NOW_NS).row.stamp
    assert fresh is not None
    assert settled is not None
    assert (fresh.ctime_ns, settled.ctime_ns) == (0, NOW_NS - RACY_NS)


def test_a_deletion_contains_what_it_deletes() -> None:
    tombstone = deletion(Row(ENTRY, STAMP), 9, "here", NOW_NS)
    assert tombstone.stamp is None
    assert (tombstone.entry.deleted, tombstone.entry.mtime_ns, tombstone.entry.content) == (True, NOW_NS, b"")
    assert compare(tombstone.entry.version, PEER) is Order.AFTER
    assert compare(tombstone.entry.metadata_version, PEER) is Order.AFTER
