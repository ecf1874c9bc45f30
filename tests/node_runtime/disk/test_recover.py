"""What a power failure leaves behind, and what is made of it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from node_runtime.disk.applier import Outcome
from node_runtime.disk.index import Index
from node_runtime.disk.recover import verify_unsettled
from node_runtime.disk.root import Root
from node_runtime.disk.scanner import scan
from node_runtime.replica.filters import Filters
from tests.node_runtime.disk.conftest import LOCAL, Scan, later
from tests.node_runtime.disk.test_applier import Bench, directory_entry, file_entry, link_entry

PEER = 5


@pytest.fixture
def received(tree: Path, root: Root, index: Index, rescan: Scan) -> Bench:
    """A replica that has received files, of which only `settled` has been flushed."""
    bench = Bench(tree, root, index, rescan)

    def put(*paths: bytes) -> None:
        for path in paths:
            applied = bench.place(path, b"content of " + path)
            assert applied.outcome is Outcome.DONE
            assert applied.row is not None
            index.put([replace(applied.row, learned_from=PEER)])

    put(b"settled")
    root.flush()
    index.settle()
    put(b"intact", b"short", b"zeros", b"lost", b"edited")
    for applied in (
        bench.applier.make_directory(directory_entry(b"lost-directory"), None),
        bench.applier.make_symlink(link_entry(b"lost-link", b"x"), None),
    ):
        assert applied.row is not None
        index.put([replace(applied.row, learned_from=PEER)])
    index.set_cursor("edge", b"peer", 41)
    return bench


def power_failure(tree: Path) -> None:
    """What delayed allocation leaves: the right name and time, the wrong bytes."""
    for name, content in (("settled", b""), ("short", b"con"), ("zeros", bytes(len(b"content of zeros")))):
        times = (tree / name).stat()
        (tree / name).write_bytes(content)
        os.utime(tree / name, ns=(times.st_atime_ns, times.st_mtime_ns))
    (tree / "edited").write_bytes(b"by the user, after all")
    (tree / "lost").unlink()
    (tree / "lost-directory").rmdir()
    (tree / "lost-link").unlink()


def test_damaged_content_is_asked_for_again(received: Bench, tmp_path: Path) -> None:
    received.index.close()
    power_failure(received.tree)
    with Index.open(tmp_path / "replica.db", LOCAL, "boot-2") as index:
        damaged = verify_unsettled(received.root, index)
        assert sorted(damaged) == [b"lost", b"lost-directory", b"lost-link", b"short", b"zeros"]
        assert index.get(damaged) == {}
        assert index.cursor("edge", b"peer") == 0
        assert received.kept() == {"short": b"con", "zeros": bytes(len(b"content of zeros"))}
        assert set(index.get([b"intact", b"settled", b"edited"])) == {b"intact", b"settled", b"edited"}
        assert verify_unsettled(received.root, index) == []
        scan(received.root, index, Filters(()), local_id=LOCAL, node="here", now_ns=later)
        assert not any(row.entry.deleted for row in index.walk())
        assert index.get([b"edited"])[b"edited"].entry.origin == "here"


def test_without_a_reboot_nothing_is_compared(received: Bench, tmp_path: Path) -> None:
    received.index.close()
    power_failure(received.tree)
    with Index.open(tmp_path / "replica.db", LOCAL, "boot-1") as index:
        assert verify_unsettled(received.root, index) == []
        assert index.cursor("edge", b"peer") == 41


def test_intact_content_keeps_the_cursors(received: Bench, tmp_path: Path) -> None:
    received.index.close()
    with Index.open(tmp_path / "replica.db", LOCAL, "boot-2") as index:
        assert verify_unsettled(received.root, index) == []
        assert index.cursor("edge", b"peer") == 41


def test_a_peer_whose_clock_is_ahead_hides_no_damage(
    tree: Path, root: Root, index: Index, rescan: Scan, tmp_path: Path
) -> None:
    bench = Bench(tree, root, index, rescan)
    ahead = replace(file_entry(b"ahead", b"content"), mtime_ns=time.time_ns() + 60_000_000_000)
    placed = bench.applier.place_file(ahead, bench.stage(b"content"), None)
    assert placed.row is not None
    index.put([replace(placed.row, learned_from=PEER)])
    index.close()
    (tree / "ahead").write_bytes(bytes(len(b"content")))
    os.utime(tree / "ahead", ns=(ahead.mtime_ns, ahead.mtime_ns))
    with Index.open(tmp_path / "replica.db", LOCAL, "boot-2") as reopened:
        assert verify_unsettled(root, reopened) == [b"ahead"]
