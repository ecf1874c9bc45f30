"""A root: how it is opened, and that nothing leads out of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from node_runtime.disk import syscalls
from node_runtime.disk.errors import DiskError
from node_runtime.disk.root import Root


def test_a_missing_root_is_told_or_made(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="doesn't exist; create it"):
        Root.open(str(tmp_path / "a" / "b"), create=False)
    root = Root.open(str(tmp_path / "a" / "b"), create=True)
    assert (tmp_path / "a" / "b").is_dir()
    root.close()


@pytest.mark.parametrize("create", [True, False])
def test_a_file_is_no_root(tmp_path: Path, create: bool) -> None:
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(DiskError, match="is not a directory"):
        Root.open(str(tmp_path / "f"), create=create)


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "~").mkdir()
    root = Root.open("~/", create=False)
    assert root.path == str(tmp_path)
    root.close()


def test_emptiness_ignores_our_own_directory(tree: Path, root: Root) -> None:
    assert root.is_empty()
    os.close(root.reserved(b"staging"))
    assert root.is_empty()
    (tree / "f").write_bytes(b"")
    assert not root.is_empty()


@pytest.mark.parametrize("lookup", ["one call", "name by name"])
def test_no_link_is_followed_and_nothing_above_is_reached(
    tree: Path, root: Root, tmp_path: Path, lookup: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lookup == "name by name":
        monkeypatch.setattr(syscalls, "_SYS_OPENAT2", 99_999)
    (tmp_path / "secret").write_bytes(b"1")
    (tree / "up").symlink_to("..")
    (tree / "file").symlink_to(tmp_path / "secret")
    (tree / "d" / "e").mkdir(parents=True)
    (tree / "d" / "e" / "f").write_bytes(b"inside")
    fd = root.open_read(b"d/e/f")
    assert os.read(fd, 10) == b"inside"
    os.close(fd)
    for path in (b"up/secret", b"file"):
        with pytest.raises(OSError):
            root.open_read(path)
    assert root.stamp(b"up/secret") is None
    assert root.stamp(b"d/e/missing") is None
    assert root.readlink(b"up") == b".."


def test_only_regular_files_are_opened(tree: Path, root: Root) -> None:
    os.mkfifo(tree / "pipe")
    (tree / "d").mkdir()
    for path in (b"pipe", b"d"):
        with pytest.raises(OSError, match="regular") as caught:
            root.open_read(path)
        assert caught.value.errno == errno.EINVAL
    with pytest.raises(FileNotFoundError):
        root.open_read(b"missing")


def test_no_descriptor_is_left_open(tree: Path, root: Root) -> None:
    (tree / "d" / "e").mkdir(parents=True)
    (tree / "d" / "e" / "f").write_bytes(b"1")
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(20):
        root.lstat(b"d/e/f")
        root.stamp(b"d/x/f")
        root.make_directories(b"d/e/g/h")
        os.close(root.open_read(b"d/e/f"))
    assert sorted(os.listdir("/proc/self/fd")) == before
