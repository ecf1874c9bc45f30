"""The giving end: reads the content that a peer asked for. Runs in the replica's reader thread.

A peer may ask for anything, so a path is held against the same rules as one that is written, and
against the edge's filters: what an edge excludes, no peer of that edge may read. Whether a file still
has the content that was asked for is for the asker to verify, by its hash; the size is checked here, to
say so early.
"""

from __future__ import annotations

import os
import stat
from collections import deque

from node_runtime.disk.root import Root
from node_runtime.exchange.messages import BLOCK_BYTES, PACK_BYTES, PACK_FILES, Block, Unavailable, Wanted
from node_runtime.replica.filters import Filters
from node_runtime.replica.path import unsafe_because


class Source:
    """Reads for one peer of one edge, one file after the other, in blocks."""

    def __init__(self, root: Root, filters: Filters) -> None:
        self._root = root
        self._filters = filters
        self._fd = -1
        self._file: Wanted | None = None
        self._offset = 0

    def read_pack(self, todo: deque[Wanted]) -> tuple[list[Block], list[Unavailable]]:
        """Enough blocks for one message. Files that are read to their end leave `todo`."""
        blocks: list[Block] = []
        unavailable: list[Unavailable] = []
        size = 0
        while todo and size < PACK_BYTES and len(blocks) < PACK_FILES:
            piece = self._read(todo[0])
            if isinstance(piece, Block):
                blocks.append(piece)
                size += len(piece.content)
            else:
                unavailable.append(piece)
            if self._file is None:
                todo.popleft()
        return blocks, unavailable

    def _read(self, wanted: Wanted) -> Block | Unavailable:
        if self._file is not wanted:
            self.close()
            refused = self._start(wanted)
            if refused is not None:
                return refused
        try:
            content = os.pread(self._fd, min(BLOCK_BYTES, wanted.size - self._offset), self._offset)
        except OSError as error:
            self.close()
            return Unavailable(wanted.request, error.strerror or str(error), gone=False)
        if not content and self._offset < wanted.size:
            self.close()
            return Unavailable(wanted.request, "it became shorter while it was read", gone=True)
        block = Block(wanted.request, self._offset, content)
        self._offset += len(content)
        if self._offset >= wanted.size:
            self.close()
        return block

    def close(self) -> None:
        """Let go of the file in hand."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self._file = None

    def _start(self, wanted: Wanted) -> Unavailable | None:
        reason = unsafe_because(wanted.path)
        if reason is not None:
            return Unavailable(wanted.request, reason, gone=False)
        if self._filters.excludes(wanted.path, is_directory=False):
            return Unavailable(wanted.request, "the edge's filters exclude it", gone=False)
        try:
            self._fd = self._root.open_read(wanted.path)
        except FileNotFoundError:
            return Unavailable(wanted.request, "it is gone", gone=True)
        except OSError as error:
            return Unavailable(wanted.request, error.strerror or str(error), gone=False)
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size != wanted.size:
            self.close()
            return Unavailable(wanted.request, "it changed", gone=True)
        if not 0 <= wanted.offset <= wanted.size:
            self.close()
            return Unavailable(wanted.request, "an offset outside the file", gone=False)
        self._file = wanted
        self._offset = wanted.offset
        return None
