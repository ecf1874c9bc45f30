"""Content in chunks whose ends the content itself decides, so that an insertion leaves most as they are.

Decides where a file is cut and how a chunk is named; not what is done with the chunks. Both ends of a session
must cut alike, so the average size follows from the file's size alone (of the version that is listed).

Source: Xia et al., "The Design of Fast Content-Defined Chunking for Data Deduplication Based Storage
Systems", IEEE TPDS 31(9), 2020 (FastCDC).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from blake3 import blake3

from node_runtime.replica.entry import CHUNK_DIGEST_BYTES

MIN_AVERAGE_BYTES = 16 * 1024
MAX_AVERAGE_BYTES = 4 * 1024 * 1024
_CHUNKS_A_FILE = 64 * 1024  # about; larger files are cut into larger chunks


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of a file's bytes. `content` is good until the next chunk is taken."""

    offset: int
    length: int
    digest: bytes
    content: memoryview


def average_for(size: int) -> int:
    """The average chunk size for a file of `size` bytes: a power of two."""
    fitting = 1 << max(0, (size // _CHUNKS_A_FILE - 1).bit_length())
    return min(max(fitting, MIN_AVERAGE_BYTES), MAX_AVERAGE_BYTES)


def shortest(average_bytes: int) -> int:
    """How short a chunk may be that isn't a file's last."""
    return average_bytes // 4


def longest(average_bytes: int) -> int:
    """How long a chunk may be."""
    return 4 * average_bytes


def cut(fd: int, average_bytes: int) -> Iterator[Chunk]:
    """The chunks of an open file, one after the other. `OSError` where it can't be read."""
    from pyfastcdc import FastCDC

    cutter = FastCDC(average_bytes, min_size=shortest(average_bytes), max_size=longest(average_bytes))
    for found in cutter.cut_stream(_Reading(fd)):
        content = found.data
        yield Chunk(found.offset, len(content), blake3(content).digest(length=CHUNK_DIGEST_BYTES), content)


class _Reading:
    """A file read by plain reads: one that is truncated under a memory map would kill this program."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._offset = 0

    def readinto(self, buffer: memoryview) -> int:
        count = os.preadv(self._fd, [buffer], self._offset)
        self._offset += count
        return count
