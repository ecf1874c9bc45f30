"""An open replica root, and the only way to a path below it.

Decides how a relative path becomes a descriptor: from the root's own descriptor, through directories only,
following no symlink and entering no other mount. So a name from a peer, or a link that someone swaps in
under a parent, can't lead outside. Nothing is cached between calls: a directory that was moved out of the
root must not be written to through a descriptor that was opened before.

Knows nothing of entries' meaning. Read next: `scanner`, `applier`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from node_runtime.disk import syscalls
from node_runtime.disk.errors import DiskError, explain
from node_runtime.replica.entry import Stamp
from node_runtime.replica.path import RESERVED
from node_runtime.replica.reconcile import MAX_MTIME_NS

_DIRECTORY = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_FOLLOW_OPEN_UNSUPPORTED = (errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.ENAMETOOLONG, errno.E2BIG)
_INODE_MASK = 2**63 - 1  # inode numbers are unsigned, the index's integers aren't
_MAX_TIME_NS = MAX_MTIME_NS - 1  # in the year 2262
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # lookups of a path that isn't there (or is behind a link)
REPLACED = (errno.EINVAL, errno.ELOOP)  # what opening a file as one says when it has become something else


def stamp_of(status: os.stat_result) -> Stamp:
    """How a path looks. A directory's size and times say nothing of its own entry, so they are zero."""
    if stat.S_ISDIR(status.st_mode):
        return Stamp(0, 0, 0, status.st_ino & _INODE_MASK, status.st_mode)
    return Stamp(
        status.st_size,
        mtime_of(status),
        min(status.st_ctime_ns, _MAX_TIME_NS),
        status.st_ino & _INODE_MASK,
        status.st_mode,
    )


def mtime_of(status: os.stat_result) -> int:
    """When a path was modified. File systems know times that neither the index nor an entry can hold."""
    return max(-_MAX_TIME_NS, min(status.st_mtime_ns, _MAX_TIME_NS))


class Root:
    """One replica's directory. `OSError` from its methods concerns one path, `DiskError` the whole root."""

    def __init__(self, path: str, fd: int) -> None:
        """Used by `open` alone."""
        status = os.fstat(fd)
        self.path = path
        self.fd = fd
        self.device = status.st_dev
        self.inode = status.st_ino

    @classmethod
    def open(cls, path: str, create: bool) -> Root:
        """Open the root at `path` ("~/" is the account's home), making it first if `create`."""
        expanded = os.path.abspath(os.path.expanduser(path) if path.startswith("~") else path)
        try:
            if create:
                os.makedirs(expanded, exist_ok=True)
            return cls(expanded, os.open(expanded, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except FileNotFoundError:
            raise DiskError(
                f"the directory {expanded} doesn't exist; create it, mount it or correct the path"
                " (nothing was deleted anywhere)"
            ) from None
        except (NotADirectoryError, FileExistsError):
            raise DiskError(f"{expanded} is not a directory; a replica must be one") from None
        except OSError as error:
            raise DiskError(f"the directory {expanded} can't be opened: {explain(error)}") from error

    def check(self) -> None:
        """`DiskError` unless the root's path still leads to the directory that was opened."""
        try:
            status = os.stat(self.path)
        except OSError as error:
            raise DiskError(
                f"the directory {self.path} has gone ({explain(error)}); put it back or mount it"
                " (nothing was deleted anywhere)"
            ) from error
        if (status.st_dev, status.st_ino) != (self.device, self.inode):
            raise DiskError(
                f"the directory {self.path} is not the one that was opened (replaced, mounted or unmounted);"
                " put it back, or start again to take the new one"
            )

    def lstat(self, path: bytes) -> os.stat_result:
        """The status of a path itself, never of what a link points to; the root's own for b""."""
        if not path:
            return os.fstat(self.fd)
        with self.parent(path) as (directory_fd, name):
            return os.stat(name, dir_fd=directory_fd, follow_symlinks=False)

    def stamp(self, path: bytes) -> Stamp | None:
        """How a path looks now, or None where nothing is there."""
        try:
            return stamp_of(self.lstat(path))
        except OSError as error:
            if error.errno in GONE:
                return None
            raise

    def open_read(self, path: bytes) -> int:
        """A descriptor to read a regular file; anything else is an `OSError`, a pipe never blocks."""
        with self.parent(path) as (directory_fd, name):
            return open_regular(directory_fd, name)

    def readlink(self, path: bytes) -> bytes:
        """The target of a symlink, as it is written in it."""
        with self.parent(path) as (directory_fd, name):
            return os.readlink(name, dir_fd=directory_fd)

    def open_directory(self, path: bytes, flags: int = os.O_RDONLY) -> int:
        """A descriptor of a directory below the root (or of the root for b""). The caller closes it."""
        if not path:
            return os.open(".", flags | _DIRECTORY, dir_fd=self.fd)
        return self.open_below(self.fd, path, flags)

    def open_below(self, directory_fd: int, path: bytes, flags: int = os.O_RDONLY) -> int:
        """As `open_directory`, for a path below a directory of the root that is open already."""
        try:
            return syscalls.open_beneath(directory_fd, path, flags | _DIRECTORY)
        except OSError as error:
            if error.errno not in _NO_FOLLOW_OPEN_UNSUPPORTED:
                raise
        return self._open_by_name(directory_fd, path, flags)

    @contextmanager
    def parent(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """The directory that holds `path`, as a descriptor for *at calls, and the path's last name."""
        directory, _, name = path.rpartition(b"/")
        if not directory:
            yield self.fd, name
            return
        directory_fd = self.open_directory(directory, os.O_PATH)
        try:
            yield directory_fd, name
        finally:
            os.close(directory_fd)

    def make_directories(self, path: bytes, mode: int = 0o777) -> None:
        """Make a directory and those above it that are missing."""
        names = path.split(b"/")
        for depth in range(1, len(names) + 1):
            with self.parent(b"/".join(names[:depth])) as (directory_fd, name):
                try:
                    os.mkdir(name, mode, dir_fd=directory_fd)
                except FileExistsError:
                    continue  # whether it is a directory shows at the next name

    def reserved(self, name: bytes) -> int:
        """A descriptor of a directory of our own inside `.syncgraph`, made if missing (mode 0700)."""
        path = RESERVED + b"/" + name
        try:
            self.make_directories(path, 0o700)
            return self.open_directory(path)
        except OSError as error:
            shown = os.path.join(self.path, os.fsdecode(path))
            raise DiskError(f"the working directory {shown} can't be used: {explain(error)}") from error

    def is_empty(self) -> bool:
        """Whether nothing but our own directory is in the root."""
        try:
            with os.scandir(self.fd) as names:
                return all(os.fsencode(found.name) == RESERVED for found in names)
        except OSError as error:
            raise DiskError(f"the directory {self.path} can't be read: {explain(error)}") from error

    def free_bytes(self) -> int:
        """What an ordinary account may still write to the root's file system."""
        status = os.fstatvfs(self.fd)
        return status.f_bavail * status.f_frsize

    def flush(self) -> None:
        """Have everything that was written reach the disk. Call `Index.settle` after it."""
        try:
            syscalls.flush_file_system(self.fd)
        except OSError as error:
            raise DiskError(f"the file system of {self.path} can't be flushed: {explain(error)}") from error

    def close(self) -> None:
        """Let go of the root."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _open_by_name(self, directory_fd: int, path: bytes, flags: int) -> int:
        """As the one safe call, for kernels and sandboxes without it, and for paths too long for it."""
        current = os.open(".", os.O_PATH | _DIRECTORY, dir_fd=directory_fd)
        names = path.split(b"/")
        for level, name in enumerate(names, 1):
            try:
                following = os.open(
                    name, (flags if level == len(names) else os.O_PATH) | _DIRECTORY, dir_fd=current
                )
            finally:
                os.close(current)
            current = following
            if os.fstat(current).st_dev != self.device:
                os.close(current)
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
        return current


def open_regular(directory_fd: int, name: bytes | str) -> int:
    """Open a regular file for reading. A device isn't even opened, for that alone may do something."""
    if not stat.S_ISREG(os.stat(name, dir_fd=directory_fd, follow_symlinks=False).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", name)
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory_fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", name)
    return fd
