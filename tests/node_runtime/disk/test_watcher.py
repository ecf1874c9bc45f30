"""The watcher on real directories. Every wait is for a condition, with a deadline."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, InotifyFD

from node_runtime.disk.errors import DiskError
from node_runtime.disk.index import Index
from node_runtime.disk.root import Root
from node_runtime.disk.watcher import Watcher
from tests.node_runtime.disk.conftest import Scan
from tests.node_runtime.disk.test_applier import Bench

DEADLINE_S = 10


class Ears:
    """What a watcher reported."""

    def __init__(self, tree: Path) -> None:
        self._heard = threading.Condition()
        self.paths: set[bytes] = set()
        self.overflows = 0
        self.watcher = Watcher(str(tree), self._on_paths, self._on_overflow)

    def _on_paths(self, paths: set[bytes]) -> None:
        with self._heard:
            self.paths |= paths
            self._heard.notify_all()

    def _on_overflow(self) -> None:
        with self._heard:
            self.overflows += 1
            self._heard.notify_all()

    def wait(self, condition: Callable[[], bool]) -> None:
        with self._heard:
            assert self._heard.wait_for(condition, DEADLINE_S), (self.paths, self.overflows)

    def wait_for(self, *paths: bytes) -> None:
        self.wait(lambda: set(paths) <= self.paths)

    def forget(self) -> None:
        with self._heard:
            self.paths.clear()


@pytest.fixture
def ears(tree: Path) -> Iterator[Ears]:
    (tree / "d").mkdir()
    (tree / "d" / "old").write_bytes(b"1")
    (tree / ".syncgraph" / "staging").mkdir(parents=True)
    ears = Ears(tree)
    ears.watcher.start()
    yield ears
    ears.watcher.stop()


def test_creations_writes_attributes_and_deletions(tree: Path, ears: Ears) -> None:
    (tree / "new").write_bytes(b"1")
    (tree / "d" / "l").symlink_to("x")
    ears.wait_for(b"new", b"d/l")
    ears.forget()
    (tree / "new").chmod(0o600)
    (tree / "d").chmod(0o700)
    ears.wait_for(b"new", b"d")
    ears.forget()
    (tree / "d" / "old").unlink()
    with (tree / "new").open("ab") as writer:
        writer.write(b"2")
    ears.wait_for(b"d/old", b"new")


def test_both_ends_of_a_move(tree: Path, ears: Ears, tmp_path: Path) -> None:
    (tree / "d" / "old").rename(tree / "moved")
    ears.wait_for(b"d/old", b"moved")
    ears.forget()
    (tree / "d").rename(tree / "e")
    ears.wait_for(b"d", b"e")
    ears.forget()
    (tree / "e" / "later").write_bytes(b"1")
    ears.wait_for(b"e/later")
    (tree / "e").rename(tmp_path / "outside")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside").rename(tree / "from-outside")
    ears.wait_for(b"e", b"from-outside")


def test_new_directories_are_watched(tree: Path, ears: Ears) -> None:
    (tree / "a" / "b" / "c").mkdir(parents=True)
    ears.wait_for(b"a")
    ears.wait(lambda: _is_watched(ears, tree / "a/b/c"))
    (tree / "a" / "b" / "c" / "f").write_bytes(b"1")
    ears.wait_for(b"a/b/c/f")


def _is_watched(ears: Ears, path: Path) -> bool:
    group = ears.watcher._group
    return group is not None and os.fsencode(path) in group._active_callbacks_by_path


def test_names_are_bytes(tree: Path, ears: Ears) -> None:
    os.close(os.open(os.fsencode(tree) + b"/\xff\n", os.O_CREAT | os.O_WRONLY))
    ears.wait_for(b"\xff\n")


def test_our_own_work_is_heard_at_its_target_alone(
    tree: Path, root: Root, index: Index, rescan: Scan, ears: Ears
) -> None:
    bench = Bench(tree, root, index, rescan)
    bench.place(b"placed", b"1")
    bench.place(b"d/old", b"2", bench.row(b"d/old"))
    ears.wait_for(b"placed", b"d/old")
    assert not any(path.startswith(b".syncgraph") for path in ears.paths)


def test_an_overflow_asks_for_a_scan(ears: Ears) -> None:
    descriptor = ears.watcher._descriptor
    assert isinstance(descriptor, InotifyFD)
    overflow = InotifyEvent(-1, InotifyConstants.IN_Q_OVERFLOW, 0, b"")  # type: ignore[arg-type]
    descriptor.handle_event(overflow)
    ears.wait(lambda: ears.overflows == 1)


def test_it_goes_on_after_an_overflow(tree: Path, ears: Ears) -> None:
    descriptor = ears.watcher._descriptor
    assert isinstance(descriptor, InotifyFD)
    descriptor.handle_event(InotifyEvent(-1, InotifyConstants.IN_Q_OVERFLOW, 0, b""))  # type: ignore[arg-type]
    (tree / "d" / "after").write_bytes(b"1")
    ears.wait_for(b"d/after")


def test_a_root_that_goes_away_asks_for_a_scan(tree: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    ears = Ears(empty)
    ears.watcher.start()
    empty.rmdir()
    ears.wait(lambda: ears.overflows > 0)
    ears.watcher.stop()


def test_no_callback_after_stop(tree: Path) -> None:
    ears = Ears(tree)
    ears.watcher.start()
    ears.watcher.stop()
    (tree / "late").write_bytes(b"1")
    assert ears.paths == set()
    ears.watcher.stop()


def test_too_many_directories_is_told(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    (tree / "a" / "b").mkdir(parents=True)
    real = InotifyFD.add_callback

    def full(self: InotifyFD, path: bytes, *rest: object) -> object:
        if path.endswith(b"b"):
            raise OSError(errno.ENOSPC, "inotify watch limit reached")
        return real(self, path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(InotifyFD, "add_callback", full)
    ears = Ears(tree)
    with pytest.raises(DiskError, match="max_user_watches"):
        ears.watcher.start()
    (tree / "a" / "b").rmdir()
    ears = Ears(tree)
    ears.watcher.start()
    (tree / "a" / "b").mkdir()
    ears.wait(lambda: ears.overflows > 0)
    ears.watcher.stop()
