"""A depth-first walk of a replica's tree, in the index's order, a descriptor at a time.

Decides what is seen at all: regular files, symlinks and directories of the root's own file system. What
can't be read, and what isn't one of these, is a remark for the scan to judge. Each file costs one
status call and one tuple; nothing else may, for unchanged files are most files.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from node_runtime.disk.errors import explain
from node_runtime.disk.root import Root
from node_runtime.replica.path import RESERVED, from_key, key, show

MAX_OPEN_DIRECTORIES = 32  # a walk's descriptors; below that depth paths are looked up from the root
_FORMAT = 0o170000
_CODEC = sys.getfilesystemencoding()

Found = tuple[bytes, os.stat_result, int]  # sort key, status, the parent's descriptor (-1: none kept)


@dataclass
class Remarks:
    """What a walk has to say besides what it found."""

    problems: list[tuple[bytes, str]] = field(default_factory=list)
    unread: str = ""  # the first path whose content the walk couldn't see, with the reason; "" where none
    mounts: list[bytes] = field(default_factory=list)  # keys of directories with another file system

    def unreadable(self, path: bytes, error: OSError) -> None:
        """A directory can't be listed or looked into: what lies below it is unknown, not gone."""
        reason = f"can't be read: {explain(error)}"
        self.problems.append((path, reason))
        self.unread = self.unread or f"{show(path) or 'the root directory'} {reason}"


@dataclass(slots=True)
class _Level:
    fd: int  # -1 when too deep to keep
    prefix: bytes  # what the keys of its names start with
    names: Iterator[bytes]


def walk(
    root: Root, under: bytes, excludes_directory: Callable[[bytes], bool] | None, remarks: Remarks
) -> Iterator[Found]:
    """Everything below the directory `under`, each directory before what it holds, names in byte order."""
    levels: list[_Level] = []
    try:
        _, first = _enter(root, under, -1, levels, remarks)
        if first is not None:
            levels.append(first)
        while levels:
            for found in _look(root, levels[-1], remarks):
                if found[1].st_mode & _FORMAT != stat.S_IFDIR:
                    yield found
                    continue
                is_there, child = _descend(root, found, excludes_directory, levels, remarks)
                if is_there:
                    yield found
                if child is not None:
                    levels.append(child)
                    break
            else:
                _leave(levels.pop())
    finally:
        for level in levels:
            _leave(level)


def _look(root: Root, level: _Level, remarks: Remarks) -> Iterator[Found]:
    """What a level's remaining names are. Its names are used up as it goes, so it can be taken up again."""
    fd, prefix, names, status_of = level.fd, level.prefix, level.names, os.stat
    for name in names:
        try:
            if fd >= 0:
                status = status_of(name, dir_fd=fd, follow_symlinks=False)
            else:
                status = root.lstat(from_key(prefix + name))
        except FileNotFoundError:
            continue  # deleted since it was listed
        except OSError as error:
            remarks.unreadable(from_key(prefix[:-1]), error)
            return
        kind = status.st_mode & _FORMAT
        if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
            remarks.problems.append(
                (from_key(prefix + name), f"is {_special(kind)}; these aren't replicated")
            )
            continue
        yield prefix + name, status, fd


def _descend(
    root: Root,
    found: Found,
    excludes_directory: Callable[[bytes], bool] | None,
    levels: list[_Level],
    remarks: Remarks,
) -> tuple[bool, _Level | None]:
    """Whether a directory is part of the replica, and its level where it can be listed."""
    sort_key, status, fd = found
    if sort_key == RESERVED:
        return False, None
    path = from_key(sort_key)
    if excludes_directory is not None and excludes_directory(path):
        return False, None
    if status.st_dev != root.device:
        _mounted(path, remarks)
        return False, None
    return _enter(root, path, fd, levels, remarks)


def _enter(
    root: Root, path: bytes, parent_fd: int, levels: list[_Level], remarks: Remarks
) -> tuple[bool, _Level | None]:
    """Whether the directory is there, and its level where it can be listed."""
    try:
        if parent_fd >= 0:
            fd = root.open_below(parent_fd, path.rpartition(b"/")[2])
        else:
            fd = root.open_directory(path)
        try:
            names = sorted([found.encode(_CODEC, "surrogateescape") for found in os.listdir(fd)])
        except OSError:
            os.close(fd)
            raise
    except (FileNotFoundError, NotADirectoryError):
        return False, None  # moved away or replaced since it was listed
    except OSError as error:
        if error.errno == errno.EXDEV:
            _mounted(path, remarks)
            return False, None
        remarks.unreadable(path, error)
        return True, None
    if len(levels) >= MAX_OPEN_DIRECTORIES:
        os.close(fd)
        fd = -1
    return True, _Level(fd, key(path) + b"\0" if path else b"", iter(names))


def _leave(level: _Level) -> None:
    if level.fd >= 0:
        os.close(level.fd)


def _mounted(path: bytes, remarks: Remarks) -> None:
    remarks.mounts.append(key(path))
    remarks.problems.append(
        (
            path,
            "another file system is mounted here; it isn't replicated. Declare a replica of its own for it",
        )
    )


def _special(kind: int) -> str:
    names = {
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return names.get(kind, "of an unknown kind")
