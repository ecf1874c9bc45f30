"""The BLAKE3 of a file's bytes, and whether the file kept still while it was read.

Read by plain reads: a file that another program truncates under a memory map would kill this one.
"""

from __future__ import annotations

import os
import threading

from blake3 import blake3

SMALL_BYTES = 128 * 1024  # read in one go
_CHUNK_BYTES = 1024 * 1024
_local = threading.local()  # one buffer a thread, so that a large read doesn't map fresh pages each time


def _buffer() -> memoryview:
    if not hasattr(_local, "buffer"):
        _local.buffer = memoryview(bytearray(_CHUNK_BYTES))
    buffer: memoryview = _local.buffer
    return buffer


def hash_from(fd: int, hasher: blake3, offset: int, limit: int | None = None) -> int:
    """Feed a file's bytes from `offset` to its end (or `limit` bytes) to a hasher; how many there were."""
    buffer, start = _buffer(), offset
    while limit is None or offset - start < limit:
        wanted = _CHUNK_BYTES if limit is None else min(_CHUNK_BYTES, limit - (offset - start))
        count = os.preadv(fd, [buffer[:wanted]], offset)
        if count == 0:
            break
        hasher.update(buffer[:count])
        offset += count
    return offset - start


def hash_still(fd: int) -> tuple[bytes, os.stat_result] | None:
    """The hash of an open file and its status, or None where it changed while it was read."""
    before = os.fstat(fd)
    if before.st_size < SMALL_BYTES:
        content = os.pread(fd, before.st_size + 1, 0)
        count, digest = len(content), blake3(content).digest()
    else:
        hasher = blake3()
        count = hash_from(fd, hasher, 0)
        digest = hasher.digest()
    after = os.fstat(fd)
    if count != before.st_size or _times(before) != _times(after):
        return None
    return digest, after


def _times(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
