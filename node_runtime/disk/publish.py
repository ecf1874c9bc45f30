"""How one name in the replica is changed: in one step, and never onto something nobody has looked at.

Decides the order of system calls for `applier`. The rule: at no moment is the path missing or half-written,
and whatever stood at it, even what a user put there an instant ago, is in the tree or a kept version.

Looking at a target and then renaming over it leaves a gap in which a user's save would be lost. So a
replacement is *swapped* (renameat2 RENAME_EXCHANGE): the new content is first put into the kept versions
under the name that the old content will have, then the two names are exchanged, and only then is the old
content looked at again. If it isn't what was expected they are swapped back. A crash in between leaves either
the old or the new content at the path, and the other one among the kept versions. Where a file system can't
swap, the old content is linked into the versions before the rename.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress

from node_runtime.disk import syscalls
from node_runtime.disk.errors import DiskError
from node_runtime.disk.root import Root, stamp_of
from node_runtime.disk.staging import Loose, Staging, copy_bytes, write_all
from node_runtime.disk.versions import Versions
from node_runtime.replica.entry import Entry, Row, Stamp
from node_runtime.replica.path import parent, unsafe_because
from schemas.kept import Why

_NO_SUCH_METADATA = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
_DESCRIPTORS = "/proc/self/fd"
_NO_NAMELESS = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS)
_NO_LINK = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EACCES, errno.ENOSYS)


class Moved(Exception):
    """The target isn't what the caller believes: nothing was changed."""


class Place:
    """A name in an open directory."""

    __slots__ = ("fd", "name", "path")

    def __init__(self, fd: int, name: bytes, path: bytes) -> None:
        self.fd = fd
        self.name = name
        self.path = path  # relative to the root

    def status(self) -> os.stat_result | None:
        """What is there now, or None."""
        try:
            return os.stat(self.name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def expect(self, expected: Row | None) -> None:
        """`Moved` unless what is there is what the caller last saw there."""
        status = self.status()
        if expected is None or expected.entry.deleted:
            if status is not None:
                raise Moved("something is there that wasn't before")
        elif status is None:
            raise Moved("it is no longer there")
        elif stamp_of(status) != expected.stamp:
            raise Moved("it has changed")

    def stamp_after(self, made: Stamp) -> Stamp:
        """The stamp to record for what was just put here and looked like `made` before.

        A rename changes ctime, so it is read again; but where anything else differs a user has edited it
        already, and the old stamp makes the next scan see that.
        """
        status = self.status()
        return made if status is None else _stamp_now(made, status)


class Publisher:
    """Changes names below one root."""

    def __init__(self, root: Root, staging: Staging, versions: Versions, *, keep_versions: bool) -> None:
        self._root = root
        self._staging = staging
        self._versions = versions
        self._keep_versions = keep_versions
        self._nameless = os.path.isdir(_DESCRIPTORS)  # until the file system says that it has none
        self._batch: ExitStack | None = None  # holds the open directory
        self._open: tuple[bytes, int] | None = None  # its path and descriptor

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Within it, `place_next` leaves a file's directory open for the next file in it."""
        with ExitStack() as self._batch:
            try:
                yield
            finally:
                self._batch = self._open = None

    @contextmanager
    def place(self, path: bytes, *, make_parents: bool = True) -> Iterator[Place]:
        """The place of a path; its directory can be changed meanwhile, even if its own mode forbids it."""
        self.leave()
        with self._directory(path, make_parents) as fd:
            yield Place(fd, path.rpartition(b"/")[2], path)

    def place_next(self, path: bytes) -> AbstractContextManager[Place]:
        """The same, for one file after the other in one directory, where there is a batch."""
        if self._batch is None:
            return self.place(path)
        directory, _, name = path.rpartition(b"/")
        if self._open is None or self._open[0] != directory:
            self.leave()
            self._open = directory, self._batch.enter_context(self._directory(path, make_parents=True))
        else:
            _require_safe(path)
        return nullcontext(Place(self._open[1], name, path))

    def leave(self) -> None:
        """Look a batch's directory up anew the next time."""
        if self._batch is not None:
            self._open = None
            self._batch.close()

    @contextmanager
    def _directory(self, path: bytes, make_parents: bool) -> Iterator[int]:
        _require_safe(path)
        with self._parent_fd(path, make_parents) as fd, _writable(fd):
            yield fd

    def create(self, loose: Loose, entry: Entry, target: Place) -> Stamp | None:
        """Make a new file whole: it has no name until its content and metadata are there.

        It is made in its own directory, so that the file system puts it near its neighbours; ext4 also takes
        several times as long for a file that is made where many others were. None, with nothing done,
        where the file system lacks nameless files (open(2), O_TMPFILE): stage and install it instead.
        """
        if not self._nameless:
            return None
        try:
            fd = os.open(".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=target.fd)
        except OSError as error:
            if not os.fstat(target.fd).st_nlink:  # on ext4 "not permitted" in a directory that was removed
                raise Moved("its directory is no longer there") from None
            if error.errno not in _NO_NAMELESS:
                raise
            self._nameless = False
            return None
        try:
            write_all(fd, loose.data, 0)
            made = dress(fd, entry)
            try:
                os.link(f"{_DESCRIPTORS}/{fd}", target.name, dst_dir_fd=target.fd, follow_symlinks=True)
            except FileExistsError:
                raise Moved("something is there that wasn't before") from None
            return _stamp_now(made, os.fstat(fd))
        finally:
            os.close(fd)

    def install(self, source: Place, target: Place, expected: Row | None) -> None:
        """Move `source` to `target`. What is expected there goes to the kept versions."""
        self.exchange(
            source, target, None if expected is None or expected.entry.deleted else _stamp(expected)
        )

    def exchange(self, source: Place, target: Place, expected: Stamp | None) -> None:
        """The same, by the look of what is expected at `target`; None: nothing."""
        if expected is None:
            rename_new(source, target)
        elif stat.S_ISDIR(expected.mode):
            _replace_directory(source, target)
        else:
            with self._slot(target.path, "replaced") as slot:
                self._swap(source, target, slot, expected)
                self._drop(slot)

    def take_away(self, target: Place, expected: Stamp, why: Why = "deleted") -> None:
        """Move a file or symlink out of the replica, into the kept versions."""
        with self._slot(target.path, why) as slot:
            rename_new(target, slot)
            status = slot.status()
            if status is None or not same_but_ctime(stamp_of(status), expected):
                with suppress(Moved):  # the user made the path anew: both are kept, one among the versions
                    rename_new(slot, target)
                raise Moved("it has changed")
            self._drop(slot)

    def _swap(self, source: Place, target: Place, slot: Place, expected: Stamp) -> None:
        """Exchange by way of the slot, which holds the old content afterwards."""
        ours = source.status()
        rename_new(source, slot)
        try:
            syscalls.rename_exchange(slot.fd, slot.name, target.fd, target.name)
        except OSError as error:
            rename_new(slot, source)
            if isinstance(error, FileNotFoundError):
                raise Moved("it is no longer there") from error
            if not syscalls.lacks_rename_flags(error):
                raise
            self._replace(source, target, slot)
            return
        status = slot.status()
        if status is None or not same_but_ctime(stamp_of(status), expected):
            syscalls.rename_exchange(slot.fd, slot.name, target.fd, target.name)
            back = slot.status()
            if ours is not None and back is not None and back.st_ino == ours.st_ino:
                rename_new(slot, source)  # else somebody has saved once more: that stays in the slot
            raise Moved("it has changed")

    def _replace(self, source: Place, target: Place, slot: Place) -> None:
        """For file systems that can't exchange: the old content gets a second name first."""
        status = source.status()
        if status is not None and stat.S_ISDIR(status.st_mode):
            rename_new(target, slot)  # a directory can't be renamed over a file
            rename_new(source, target)
            return
        try:
            os.link(target.name, slot.name, src_dir_fd=target.fd, dst_dir_fd=slot.fd, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            _copy_content(target, slot)
        os.rename(source.name, target.name, src_dir_fd=source.fd, dst_dir_fd=target.fd)

    def _drop(self, slot: Place) -> None:
        if not self._keep_versions:
            os.unlink(slot.name, dir_fd=slot.fd)

    @contextmanager
    def _slot(self, path: bytes, why: Why) -> Iterator[Place]:
        """Where old content goes: a kept version's name, or a passing one."""
        if not self._keep_versions:
            yield Place(self._staging.fd, self._staging.temporary(b"replaced"), path)
            return
        with self._versions.slot(path, why) as (fd, name):
            yield Place(fd, name, path)

    @contextmanager
    def _parent_fd(self, path: bytes, make_parents: bool) -> Iterator[int]:
        directory = parent(path)
        if not directory:
            yield self._root.fd
            return
        try:
            fd = self._root.open_directory(directory, os.O_PATH)
        except FileNotFoundError:
            if not make_parents:
                raise Moved("its directory is no longer there") from None
            self._root.make_directories(directory)
            fd = self._root.open_directory(directory, os.O_PATH)
        try:
            yield fd
        finally:
            os.close(fd)


def _require_safe(path: bytes) -> None:
    reason = unsafe_because(path)
    if reason:
        raise DiskError(f"refused: {reason}")


def _replace_directory(source: Place, target: Place) -> None:
    """Put something in the place of a directory, which must be empty, without a moment of neither."""
    fd = os.open(target.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=target.fd)
    try:
        if os.listdir(fd):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
    finally:
        os.close(fd)
    try:
        syscalls.rename_exchange(source.fd, source.name, target.fd, target.name)
    except OSError as error:
        if not syscalls.lacks_rename_flags(error):
            raise
        os.rmdir(target.name, dir_fd=target.fd)
        rename_new(source, target)
        return
    try:
        os.rmdir(source.name, dir_fd=source.fd)
    except OSError:  # somebody has put something in meanwhile
        syscalls.rename_exchange(source.fd, source.name, target.fd, target.name)
        raise


def rename_new(source: Place, target: Place) -> None:
    """Rename to a name that must be free; `Moved` where it isn't, or where the source is gone."""
    try:
        try:
            syscalls.rename_new(source.fd, source.name, target.fd, target.name)
        except OSError as error:
            if not syscalls.lacks_rename_flags(error):
                raise
            _rename_new_without_flag(source, target)
    except FileExistsError:
        raise Moved("something is there that wasn't before") from None
    except FileNotFoundError:
        raise Moved("it is no longer there") from None


def _rename_new_without_flag(source: Place, target: Place) -> None:
    try:
        os.link(source.name, target.name, src_dir_fd=source.fd, dst_dir_fd=target.fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
    else:
        os.unlink(source.name, dir_fd=source.fd)
        return
    if target.status() is not None:  # a directory, or a file system without links: look, then rename
        raise FileExistsError
    os.rename(source.name, target.name, src_dir_fd=source.fd, dst_dir_fd=target.fd)


def set_mode(place: Place, mode: int) -> None:
    """Set permission bits of what is at a place, following no link. Ignored where a file system has none."""
    fd = os.open(place.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.fd)
    try:
        if not stat.S_ISLNK(os.fstat(fd).st_mode):
            os.chmod(f"/proc/self/fd/{fd}", mode)
    except OSError as error:
        if error.errno not in _NO_SUCH_METADATA:
            raise
    finally:
        os.close(fd)


def set_mtime(place: Place, mtime_ns: int) -> None:
    """Set the modification time of what is at a place, of a link itself. Ignored where it can't be set."""
    try:
        os.utime(place.name, ns=(mtime_ns, mtime_ns), dir_fd=place.fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_SUCH_METADATA:
            raise


def dress(file: int | bytes, entry: Entry, directory_fd: int | None = None) -> Stamp:
    """Give a file that nobody else can see yet its entry's metadata, by descriptor or by name."""
    try:
        os.chmod(file, entry.mode, dir_fd=directory_fd)
    except OSError as error:
        if error.errno not in _NO_SUCH_METADATA:
            raise
    try:
        os.utime(file, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=directory_fd)
    except OSError as error:
        if error.errno not in _NO_SUCH_METADATA:
            raise
    return stamp_of(os.stat(file, dir_fd=directory_fd))


def _stamp_now(made: Stamp, status: os.stat_result) -> Stamp:
    now = stamp_of(status)
    return now if same_but_ctime(now, made) else made


@contextmanager
def _writable(directory_fd: int) -> Iterator[None]:
    """Let the owner change a directory that its own mode forbids to, for as long as it takes."""
    status = os.fstat(directory_fd)
    mode = stat.S_IMODE(status.st_mode)
    user = os.geteuid()
    if user == 0 or status.st_uid != user or mode & 0o300 == 0o300:
        yield
        return
    link = f"/proc/self/fd/{directory_fd}"  # the descriptor is O_PATH, which fchmod doesn't take
    os.chmod(link, mode | 0o300)
    try:
        yield
    finally:
        os.chmod(link, mode)


def _copy_content(source: Place, target: Place) -> None:
    source_fd = os.open(source.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=source.fd)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        target_fd = os.open(target.name, flags, 0o600, dir_fd=target.fd)
        try:
            copy_bytes(source_fd, target_fd, os.fstat(source_fd).st_size)
        finally:
            os.close(target_fd)
    finally:
        os.close(source_fd)


def _stamp(row: Row) -> Stamp:
    if row.stamp is None:
        raise Moved("its look isn't on record")
    return row.stamp


def same_but_ctime(one: Stamp, other: Stamp) -> bool:
    """Whether two looks differ in nothing but ctime, which every rename and link changes."""
    return (one.size, one.mtime_ns, one.inode, one.mode) == (
        other.size,
        other.mtime_ns,
        other.inode,
        other.mode,
    )
