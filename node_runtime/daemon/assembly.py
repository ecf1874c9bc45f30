"""A large file put together from what is here already and what differs. Runs in the replica's worker thread.

Its chunks, as the source lists them, are looked for in the part that an earlier try left and in the older
version at the same path. What is found is written to its place at once; what isn't is left to be fetched.
Nothing here is trusted: the hash of the whole decides when the last range has come.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from itertools import accumulate

from node_runtime.disk.chunks import MAX_AVERAGE_BYTES, average_for, cut, longest, shortest
from node_runtime.disk.root import Root
from node_runtime.disk.staging import PartFile
from node_runtime.exchange.fetch import Range
from node_runtime.exchange.messages import MAX_RANGES, Chunks
from node_runtime.replica.entry import CHUNK_DIGEST_BYTES

_ZEROS = bytes(longest(MAX_AVERAGE_BYTES))
STEP_BYTES = 16 * 1024 * 1024  # looked through in one go, before others have their turn


class Impossible(Exception):
    """The peer listed chunks that no file of that size has."""


class Assembly:
    """The chunks of one content, and which of them are here."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._average_bytes = average_for(size)
        self._lengths: list[int] = []
        self._digests = bytearray()
        self._listed_bytes = 0
        self._missing: bytearray = bytearray()  # one byte a chunk

    def listed(self, chunks: Chunks) -> None:
        """Take the next chunks of the list. Raises Impossible."""
        if len(chunks.digests) != len(chunks.lengths) * CHUNK_DIGEST_BYTES:
            raise Impossible
        least, most = shortest(self._average_bytes), longest(self._average_bytes)
        last = chunks.lengths[-1:] if chunks.last else []
        if any(not least <= length <= most for length in chunks.lengths[: len(chunks.lengths) - len(last)]):
            raise Impossible  # so a list is no longer than the file's size allows
        if any(not 0 < length <= most for length in last):
            raise Impossible
        self._lengths += chunks.lengths
        self._digests += chunks.digests
        self._listed_bytes += sum(chunks.lengths)
        if self._listed_bytes > self._size:
            raise Impossible
        if chunks.last and self._listed_bytes != self._size:
            raise Impossible

    def fill(self, part: PartFile, root: Root, path: bytes) -> Iterator[None]:
        """Look for the chunks here, a step at a time. `DiskError` where the part can't be written."""
        offsets = [0, *accumulate(self._lengths)]
        wanted: dict[bytes, list[int]] = defaultdict(list)
        self._missing = bytearray(b"\1" * len(self._lengths))
        for number in range(len(self._lengths)):
            at = number * CHUNK_DIGEST_BYTES
            wanted[bytes(self._digests[at : at + CHUNK_DIGEST_BYTES])].append(number)
        looked = 0
        for chunk in cut(
            part.fd, self._average_bytes
        ):  # what an earlier try left is where it belongs, or nowhere
            for number in wanted.get(chunk.digest, ()):
                if offsets[number] == chunk.offset and self._lengths[number] == chunk.length:
                    self._missing[number] = 0
            looked += chunk.length
            if looked > STEP_BYTES:
                looked = 0
                yield
        with suppress(OSError):  # gone, or unreadable: then it is fetched
            fd = root.open_read(path)
            try:
                for chunk in cut(fd, self._average_bytes):
                    for number in wanted.pop(chunk.digest, ()):
                        if self._missing[number] and self._lengths[number] == chunk.length:
                            _put(part, offsets[number], chunk.content)
                            self._missing[number] = 0
                    looked += chunk.length
                    if looked > STEP_BYTES:
                        looked = 0
                        yield
            finally:
                os.close(fd)

    def ranges(self) -> list[Range]:
        """What must be fetched: few enough for one request, so that what lies between may come along."""
        found: list[Range] = []
        offset = 0
        for length, missing in zip(self._lengths, self._missing, strict=True):
            if missing:
                _append(found, (offset, length), gap=0)
            offset += length
        gap = self._average_bytes
        while len(found) > MAX_RANGES:
            fewer: list[Range] = []
            for each in found:
                _append(fewer, each, gap)
            found, gap = fewer, gap * 2
        return found


def _put(part: PartFile, offset: int, content: memoryview) -> None:
    """Write what is here already; zeros as a hole, or a sparse file would fill up with each change."""
    if bytes(content) == _ZEROS[: len(content)]:
        part.skip(offset, len(content))
    else:
        part.write(offset, content)


def _append(ranges: list[Range], following: Range, gap: int) -> None:
    """Add a range to the ascending ones, joined to the last where at most `gap` bytes are between them."""
    offset, length = following
    if ranges and offset - sum(ranges[-1]) <= gap:
        first = ranges[-1][0]
        ranges[-1] = (first, offset + length - first)
    else:
        ranges.append(following)
