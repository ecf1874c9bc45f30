"""System calls that the standard library lacks, by ctypes: safe lookup, atomic renames, birth time, holes.

Linux only; where a kernel, C library or file system lacks one, the function says so (`OSError` with ENOSYS
or EINVAL, or None) and the caller has a slower or weaker way. Paths here are names relative to a descriptor.
Sources: openat2(2), renameat2(2), statx(2), fallocate(2), syncfs(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_SYS_OPENAT2 = 437  # the same on every architecture
_RESOLVE_SAFELY = 0x01 | 0x04 | 0x08  # NO_XDEV, NO_SYMLINKS, BENEATH
_FALLOC_FL_KEEP_SIZE = 1
_FALLOC_FL_PUNCH_HOLE = 2
_STATX_BTIME = 0x800
_STATX_BYTES = 256
_STATX_BTIME_OFFSET = 80  # struct statx: stx_btime {int64 seconds; uint32 nanoseconds}

_libc = ctypes.CDLL(None, use_errno=True)
_renameat2 = getattr(_libc, "renameat2", None)
_statx = getattr(_libc, "statx", None)


def _failed(name: bytes = b"") -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), name)


def open_beneath(directory_fd: int, path: bytes, flags: int) -> int:
    """Open `path` below a directory in one call, through no symlink and into no other mount."""
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, 0, _RESOLVE_SAFELY)
    descriptor = _libc.syscall(_SYS_OPENAT2, directory_fd, path, how, ctypes.c_size_t(len(how)))
    if descriptor < 0:
        raise _failed(path)
    return int(descriptor)


def rename_new(from_fd: int, from_name: bytes, to_fd: int, to_name: bytes) -> None:
    """Rename; `FileExistsError` where the new name is taken. Never replaces."""
    _rename(from_fd, from_name, to_fd, to_name, _RENAME_NOREPLACE)


def rename_exchange(one_fd: int, one_name: bytes, other_fd: int, other_name: bytes) -> None:
    """Swap two names in one step: neither is missing at any moment, and nothing is replaced."""
    _rename(one_fd, one_name, other_fd, other_name, _RENAME_EXCHANGE)


def lacks_rename_flags(error: OSError) -> bool:
    """Whether a rename above failed because the kernel or this file system doesn't know its flag."""
    return error.errno in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


def _rename(from_fd: int, from_name: bytes, to_fd: int, to_name: bytes, flag: int) -> None:
    if _renameat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if _renameat2(from_fd, from_name, to_fd, to_name, ctypes.c_uint(flag)) != 0:
        raise _failed(to_name)


def birth_ns(directory_fd: int, name: bytes) -> int | None:
    """When the inode behind a name was made, where the file system records it. A link is not followed."""
    if _statx is None:
        return None
    result = ctypes.create_string_buffer(_STATX_BYTES)
    if _statx(directory_fd, name, _AT_SYMLINK_NOFOLLOW, ctypes.c_uint(_STATX_BTIME), result) != 0:
        raise _failed(name)
    (mask,) = struct.unpack_from("I", result, 0)
    if not mask & _STATX_BTIME:
        return None
    seconds, nanoseconds = struct.unpack_from("qI", result, _STATX_BTIME_OFFSET)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def punch_hole(descriptor: int, offset: int, length: int) -> None:
    """Turn a part of a file into zeros that occupy nothing. Source: fallocate(2)."""
    mode = _FALLOC_FL_KEEP_SIZE | _FALLOC_FL_PUNCH_HOLE
    if _libc.fallocate(descriptor, mode, ctypes.c_int64(offset), ctypes.c_int64(length)) != 0:
        raise _failed()


def flush_file_system(descriptor: int) -> None:
    """Write all of a file system's dirty content and metadata to its disk."""
    if _libc.syncfs(descriptor) != 0:
        raise _failed()
