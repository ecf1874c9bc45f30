"""Content on its way in: files under `.syncgraph/staging`, named by their hash, checked before they are used.

Decides when bytes may be trusted: `Staged` exists only for content that hashed to what was announced. A part
that a crash left behind is continued where its unbroken beginning ends; the final hash covers that
beginning too. Blocks may come in any order. Nothing here is visible in the replica; `applier` moves it there.

Staging lies on the root's own file system, so that a rename can publish it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from blake3 import blake3

from node_runtime.disk import syscalls
from node_runtime.disk.errors import ContentMismatch, DiskError, explain
from node_runtime.disk.hashing import hash_from
from node_runtime.disk.root import Root
from node_runtime.replica.path import RESERVED

_TOP = RESERVED + b"/staging"
_CREATE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_PAGE_BYTES = 4096  # holes are told apart by pages, so that is how exactly a part's beginning is known
_FICLONE = 0x40049409  # ioctl_ficlone(2)
# A call of pwrite. For a larger one the kernel's cache takes memory in larger pieces, which it finds less
# often among what was used a moment ago: on ext4 in a virtual machine 1 MiB a call wrote at half the rate.
_WRITE_BYTES = 128 * 1024
_ZEROS = memoryview(bytes(1024 * 1024))
_COPY_BYTES = 64 * 1024 * 1024  # a call of copy_file_range


@dataclass(frozen=True, slots=True)
class Staged:
    """Whole and verified content, waiting to be placed."""

    name: bytes
    content: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Loose:
    """Whole and verified content in memory, small enough to be written straight to its place."""

    content: bytes
    data: bytes | memoryview


def verified(content: bytes, data: bytes | memoryview) -> Loose:
    """Content that came in one piece. Raises ContentMismatch."""
    if blake3(data).digest() != content:
        raise ContentMismatch("the bytes don't match their announced hash", resumed=False)
    return Loose(content, data)


class Staging:
    """The staging directory of one root, used by one thread."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._fd = -1
        self._taken: set[bytes] = set()  # names in use: parts that are open and content that waits
        self._waiting: dict[bytes, Staged] = {}
        self._counter = 0
        self._run = os.urandom(4).hex().encode()

    @property
    def fd(self) -> int:
        """The directory, made when something is first put in: a tree that is only read stays untouched.

        Made again where somebody has removed it.
        """
        if self._fd >= 0 and not os.fstat(self._fd).st_nlink:
            self.close()
        if self._fd < 0:
            self._fd = self._root.reserved(b"staging")
        return self._fd

    def stage(self, loose: Loose) -> Staged:
        """Give content from memory a name here."""
        name = self._take(loose.content)
        with self._reported(name):
            try:
                fd = os.open(name, _CREATE | os.O_EXCL, 0o600, dir_fd=self.fd)
            except FileExistsError:  # an earlier run left it
                os.unlink(name, dir_fd=self.fd)
                fd = os.open(name, _CREATE | os.O_EXCL, 0o600, dir_fd=self.fd)
            try:
                write_all(fd, loose.data, 0)
            finally:
                os.close(fd)
        return self._ready(Staged(name, loose.content, len(loose.data)))

    def begin(self, content: bytes, size: int) -> PartFile:
        """Start, or go on with, content that comes in blocks."""
        name = self._take(content)
        with self._reported(name):
            fd = self._open_part(name)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # another program works on the same content in the same root
                os.close(fd)
                name = self._retake(name)
                fd = os.open(name, _CREATE | os.O_EXCL, 0o600, dir_fd=self.fd)
            part = PartFile(self, name, fd, content, size)
            missing = size - part.have
            if missing > self._root.free_bytes():
                part.abandon()
                raise OSError(errno.ENOSPC, f"{missing} bytes are needed")
        return part

    def have(self, content: bytes) -> int:
        """How many bytes of this content an earlier run left here, from offset 0 on.

        None where somebody else is at work on it: `begin` will give another part.
        """
        if content.hex().encode() in self._taken or not self._is_there():
            return 0
        try:
            fd = os.open(content.hex().encode(), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
        except OSError:
            return 0
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return unbroken_beginning(fd)
        except BlockingIOError:
            return 0
        finally:
            os.close(fd)

    def copy(self, source_fd: int, content: bytes, size: int) -> Staged:
        """Stage what another file of the root holds: shared blocks where possible, else copied."""
        part = self.begin(content, size)
        try:
            if part.have < size:
                part.fill_from(source_fd)
        except OSError as error:
            part.discard()
            raise DiskError(self._sentence(error)) from error
        return part.finish()

    def temporary(self, prefix: bytes) -> bytes:
        """A name in the staging directory that nothing else has or had."""
        self._counter += 1
        return b"%s.%s.%d" % (prefix, self._run, self._counter)

    def discard(self, staged: Staged) -> None:
        """Remove staged content that isn't wanted any more; nothing happens if it was placed already."""
        if self._waiting.get(staged.name) is staged:
            del self._waiting[staged.name]
            self._remove(staged.name)

    def release(self, staged: Staged) -> None:
        """Staged content has been moved to its place."""
        if self._waiting.get(staged.name) is staged:
            del self._waiting[staged.name]
            self._taken.discard(staged.name)

    def sweep(self, older_than_s: float) -> int:
        """Remove what nobody has touched for so long, such as a fetch that never went on; how many."""
        oldest, removed = time.time() - older_than_s, 0
        names: list[str] = []
        with suppress(OSError):  # whoever puts something in will say why that can't be
            names = os.listdir(self.fd) if self._is_there() else names
        for found in names:
            name = os.fsencode(found)
            if name in self._taken:
                continue
            with suppress(OSError):  # in use by another program, or gone: the next sweep sees it again
                status = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
                if status.st_ctime < oldest:
                    remove = os.rmdir if stat.S_ISDIR(status.st_mode) else os.unlink
                    remove(name, dir_fd=self.fd)
                    removed += 1
        return removed

    def close(self) -> None:
        """Let go of the directory."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _is_there(self) -> bool:
        """Whether the directory was made already, by this run or an earlier one."""
        return self._fd >= 0 or self._root.stamp(_TOP) is not None

    def _open_part(self, name: bytes) -> int:
        try:
            return os.open(name, _CREATE, 0o600, dir_fd=self.fd)
        except PermissionError:  # a crash left it with its final mode
            os.unlink(name, dir_fd=self.fd)
            return os.open(name, _CREATE | os.O_EXCL, 0o600, dir_fd=self.fd)

    def _take(self, content: bytes) -> bytes:
        name = content.hex().encode()
        if name in self._taken:
            return self._retake(name)
        self._taken.add(name)
        return name

    def _retake(self, name: bytes) -> bytes:
        name = self.temporary(name)
        self._taken.add(name)
        return name

    def _ready(self, staged: Staged) -> Staged:
        self._waiting[staged.name] = staged
        return staged

    def _remove(self, name: bytes) -> None:
        self._taken.discard(name)
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.fd)

    @contextmanager
    def _reported(self, name: bytes) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._taken.discard(name)
            raise DiskError(self._sentence(error)) from error

    def _sentence(self, error: OSError) -> str:
        return f"the staging directory of {self._root.path} can't be written: {explain(error)}"


class PartFile:
    """Content that is arriving in blocks. Ends with `finish`, `abandon` or `discard`."""

    def __init__(self, staging: Staging, name: bytes, fd: int, content: bytes, size: int) -> None:
        """Used by `Staging.begin` alone."""
        self._staging = staging
        self._name = name
        self._fd = fd
        self._content = content
        self._size = size
        self._hasher = blake3()
        if os.fstat(fd).st_size > size:
            os.ftruncate(fd, 0)  # it can't be this content's beginning
        self.have = unbroken_beginning(fd)  # bytes from offset 0 that needn't be asked for
        self._resumed = self.have > 0
        self._hashed_to = hash_from(fd, self._hasher, 0, self.have)

    @property
    def fd(self) -> int:
        """The file itself, to look at what it holds."""
        return self._fd

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Put a block where it belongs. Blocks may come in any order, and again."""
        if offset < 0 or offset + len(data) > self._size:
            self.discard()
            raise ContentMismatch("a block lies beyond the file's announced size", resumed=False)
        with self._staging._reported(self._name):
            write_all(self._fd, data, offset)
        self._hash(offset, (data,))

    def skip(self, offset: int, count: int) -> None:
        """Leave a hole where it belongs: zeros that occupy nothing."""
        if offset < 0 or count < 0 or offset + count > self._size:
            self.discard()
            raise ContentMismatch("a hole lies beyond the file's announced size", resumed=False)
        with self._staging._reported(self._name):
            end = os.fstat(self._fd).st_size
            if offset + count > end:
                os.ftruncate(self._fd, offset + count)
            if offset < end:  # blocks further on came first, or an earlier try left something there
                _clear(self._fd, offset, min(count, end - offset))
        self._hash(offset, _zeros(count))

    def _hash(self, offset: int, pieces: Iterable[bytes | memoryview]) -> None:
        """Go on hashing with what was just put at `offset`, if that is how far it has come."""
        if offset == self._hashed_to:
            for piece in pieces:
                self._hasher.update(piece)
                self._hashed_to += len(piece)
        elif offset < self._hashed_to:  # what was hashed isn't there any more
            self._hasher, self._hashed_to = blake3(), 0

    def fill_from(self, source_fd: int) -> None:
        """Take everything from another file of the same file system."""
        self._hasher, self._hashed_to = blake3(), 0
        clone_or_copy(source_fd, self._fd, self._size)

    def finish(self) -> Staged:
        """All blocks are written: check them against the announced hash."""
        with self._staging._reported(self._name):
            if os.fstat(self._fd).st_size == self._size:
                self._hashed_to += hash_from(self._fd, self._hasher, self._hashed_to)
        if self._hashed_to != self._size or self._hasher.digest() != self._content:
            self.discard()
            raise ContentMismatch("the bytes don't match their announced hash", resumed=self._resumed)
        self._close()
        return self._staging._ready(Staged(self._name, self._content, self._size))

    def abandon(self) -> None:
        """Stop here, keeping what has come for another time."""
        self._close()
        self._staging._taken.discard(self._name)

    def discard(self) -> None:
        """Stop here and remove what has come."""
        self._close()
        self._staging._remove(self._name)

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def unbroken_beginning(fd: int) -> int:
    """How far an earlier run's blocks reach without a gap: up to the file's first hole."""
    size = os.fstat(fd).st_size
    if size == 0:
        return 0
    hole = os.lseek(fd, 0, os.SEEK_HOLE)
    return size if hole == size else hole - hole % _PAGE_BYTES


def _zeros(count: int) -> Iterator[memoryview]:
    """So many zeros, in pieces."""
    for at in range(0, count, len(_ZEROS)):
        yield _ZEROS[: count - at]


def _clear(fd: int, offset: int, count: int) -> None:
    try:
        syscalls.punch_hole(fd, offset, count)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        for piece in _zeros(count):
            write_all(fd, piece, offset)
            offset += len(piece)


def write_all(fd: int, data: bytes | memoryview, offset: int) -> None:
    """Write until everything is written."""
    remaining = memoryview(data)
    while remaining:
        written = os.pwrite(fd, remaining[:_WRITE_BYTES], offset)
        remaining, offset = remaining[written:], offset + written


def clone_or_copy(source_fd: int, target_fd: int, size: int) -> None:
    """Give a file another one's content: shared blocks where the file system can, else copied."""
    try:
        fcntl.ioctl(target_fd, _FICLONE, source_fd)
    except OSError:  # no shared blocks here: any of several errors, and copying will tell a real one
        copy_bytes(source_fd, target_fd, size)


def copy_bytes(source_fd: int, target_fd: int, size: int) -> None:
    """Copy a file's data, leaving its holes holes. Where it is shorter than `size`, its hash will tell."""
    os.ftruncate(target_fd, 0)
    os.ftruncate(target_fd, size)
    offset = 0
    while offset < size:
        try:
            start = os.lseek(source_fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # "no data behind this"
                raise
            return
        offset = min(os.lseek(source_fd, start, os.SEEK_HOLE), size)
        _copy_range(source_fd, target_fd, start, offset)


def _copy_range(source_fd: int, target_fd: int, offset: int, end: int) -> None:
    """Copy bytes inside the kernel, or through memory where it can't."""
    try:
        while offset < end:
            count = os.copy_file_range(
                source_fd, target_fd, min(_COPY_BYTES, end - offset), offset_src=offset, offset_dst=offset
            )
            if count == 0:
                return
            offset += count
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM):
            raise
    while offset < end:
        content = os.pread(source_fd, min(1024 * 1024, end - offset), offset)
        if not content:
            return
        write_all(target_fd, content, offset)
        offset += len(content)
