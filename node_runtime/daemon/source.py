"""The giving end: reads the content that a peer asked for. Runs in the replica's reader thread.

A peer may ask for anything, so a path is held against the same rules as one that is written, and
against the edge's filters: what an edge excludes, no peer of that edge may read. Whether a file still
has the content that was asked for is for the asker to verify, by its hash; the size is checked here, to
say so early.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Generator, Sequence

from node_runtime.disk.chunks import average_for, cut
from node_runtime.disk.root import Root
from node_runtime.exchange.messages import (
    BLOCK_BYTES,
    DESCRIBED_CHUNKS,
    HOLE_BYTES,
    MAX_RANGES,
    PACK_BYTES,
    PACK_FILES,
    Block,
    Chunks,
    Describe,
    Unavailable,
    Wanted,
)
from node_runtime.replica.filters import Filters
from node_runtime.replica.path import unsafe_because

BLOCK_UNIT = 512  # of st_blocks, see stat(2)


class Source:
    """Reads for one peer of one edge, one file after the other, in blocks."""

    def __init__(self, root: Root, filters: Filters) -> None:
        self._root = root
        self._filters = filters
        self._fd = -1
        self._file: Wanted | None = None
        self._todo: deque[tuple[int, int]] = deque()  # ranges of the file in hand
        self._sparse = False  # the file in hand occupies less than its size

    def read_pack(self, todo: deque[Wanted]) -> tuple[list[Block], list[Unavailable]]:
        """Enough blocks for one message. Files that are read to their end leave `todo`."""
        blocks: list[Block] = []
        unavailable: list[Unavailable] = []
        size = 0
        while todo and size < PACK_BYTES and len(blocks) < PACK_FILES:
            piece = self._read(todo[0])
            if isinstance(piece, Block):
                blocks.append(piece)
                size += len(piece.content) + piece.zeros * PACK_BYTES // HOLE_BYTES
            else:
                unavailable.append(piece)
            if self._file is None:
                todo.popleft()
        return blocks, unavailable

    def describe(self, asked: Describe) -> Generator[Chunks | Unavailable, None, None]:
        """The chunks of a file, a message of them at a time, or at any time why it can't be read."""
        fd = self._open(asked.request, asked.path, asked.size)
        if isinstance(fd, Unavailable):
            yield fd
            return
        try:
            lengths: list[int] = []
            digests = bytearray()
            listed = 0
            for chunk in cut(fd, average_for(asked.size)):
                if len(lengths) == DESCRIBED_CHUNKS:
                    yield Chunks(asked.request, lengths, bytes(digests), last=False)
                    lengths, digests = [], bytearray()
                lengths.append(chunk.length)
                digests += chunk.digest
                listed += chunk.length
                if listed > asked.size:  # it grows: a log, say
                    break
            if listed == asked.size:
                yield Chunks(asked.request, lengths, bytes(digests), last=True)
            else:
                yield Unavailable(asked.request, "it changed while it was read", gone=True)
        except OSError as error:
            yield Unavailable(asked.request, error.strerror or str(error), gone=False)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Let go of the file in hand."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self._file = None

    def _read(self, wanted: Wanted) -> Block | Unavailable:
        if self._file is not wanted:
            self.close()
            refused = self._start(wanted)
            if refused is not None:
                return refused
        offset, length = self._todo.popleft()
        try:
            hole, until = self._extent(offset, offset + length)
            content = b"" if hole else os.pread(self._fd, min(BLOCK_BYTES, until - offset), offset)
        except OSError as error:
            self.close()
            shorter = error.errno == errno.ENXIO  # lseek(2): behind the end
            return Unavailable(wanted.request, error.strerror or str(error), gone=shorter)
        if not content and length and not hole:
            self.close()
            return Unavailable(wanted.request, "it became shorter while it was read", gone=True)
        block = Block(wanted.request, offset, content, hole)
        if block.length < length:
            self._todo.appendleft((offset + block.length, length - block.length))
        if not self._todo:
            self.close()
        return block

    def _extent(self, offset: int, end: int) -> tuple[int, int]:
        """How many bytes of hole are at an offset; where there are none, up to where content goes on."""
        if not self._sparse:
            return 0, end
        try:
            start = os.lseek(self._fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # "no data behind this"
                raise
            start = os.fstat(self._fd).st_size
        hole = min(start, end, offset + HOLE_BYTES) - offset
        return (hole, end) if hole > 0 else (0, min(end, os.lseek(self._fd, offset, os.SEEK_HOLE)))

    def _start(self, wanted: Wanted) -> Unavailable | None:
        if not _lie_within(wanted.ranges, wanted.size):
            return Unavailable(wanted.request, "ranges outside the file", gone=False)
        fd = self._open(wanted.request, wanted.path, wanted.size)
        if isinstance(fd, Unavailable):
            return fd
        self._fd = fd
        self._file = wanted
        self._todo = deque(wanted.ranges)
        status = os.fstat(fd)
        self._sparse = status.st_blocks * BLOCK_UNIT < status.st_size
        return None

    def _open(self, request: int, path: bytes, size: int) -> int | Unavailable:
        reason = unsafe_because(path)
        if reason is not None:
            return Unavailable(request, reason, gone=False)
        if self._filters.excludes(path, is_directory=False):
            return Unavailable(request, "the edge's filters exclude it", gone=False)
        try:
            fd = self._root.open_read(path)
        except FileNotFoundError:
            return Unavailable(request, "it is gone", gone=True)
        except OSError as error:
            return Unavailable(request, error.strerror or str(error), gone=False)
        if os.fstat(fd).st_size != size:
            os.close(fd)
            return Unavailable(request, "it changed", gone=True)
        return fd


def _lie_within(ranges: Sequence[tuple[int, int]], size: int) -> bool:
    """Whether ranges are ascending, apart and inside a file. There is always one; it may be empty."""
    end = 0
    for offset, length in ranges:
        if offset < end or length < 0:
            return False
        end = offset + length
    return 0 < len(ranges) <= MAX_RANGES and end <= size
