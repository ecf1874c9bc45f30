"""Which content to ask for next: one request per distinct content, many under way, never too many.

The queue keeps requests in the order in which they were wanted and holds the amount under way below a
number of bytes and of files, so that a slow disk at this end slows the peer and memory stays bounded. A
single file larger than the window is let through alone. Paths that want the same content share one
request: it crosses once, and is copied here. Where an older version of a large file is here, its chunks are
asked for first (`next_describe`), and then only what differs (`narrow`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from node_runtime.exchange.messages import Describe, Want, Wanted
from node_runtime.replica.entry import Entry

WINDOW_BYTES = 64 * 1024 * 1024
WINDOW_FILES = 4_096
WANT_FILES = 512  # per message

Tag = TypeVar("Tag")


Range = tuple[int, int]  # offset and length
DESCRIBED_FILES = 2  # under way at a time: their lists of chunks are held in memory


@dataclass(slots=True)
class Request(Generic[Tag]):
    """One content on its way here, and every entry that waits for it."""

    number: int
    content: bytes
    size: int
    ranges: list[Range]  # what isn't here yet
    wanted_by: list[tuple[Entry, Tag]]
    received: int = 0
    missing: int = field(init=False)  # bytes in `ranges`

    def __post_init__(self) -> None:
        self.missing = sum(length for _, length in self.ranges)

    @property
    def whole(self) -> bool:
        """Whether all that was missing has come."""
        return self.received >= self.missing


@dataclass(slots=True)
class Fetch(Generic[Tag]):
    """The requests of one end. `Tag` is whatever the caller keeps with an entry (its batch)."""

    window_bytes: int = WINDOW_BYTES
    window_files: int = WINDOW_FILES
    _next: int = 1
    _queue: deque[Request[Tag]] = field(default_factory=deque)
    _to_describe: deque[Request[Tag]] = field(default_factory=deque)
    _described: dict[int, Request[Tag]] = field(default_factory=dict)
    _by_content: dict[bytes, Request[Tag]] = field(default_factory=dict)
    _under_way: dict[int, Request[Tag]] = field(default_factory=dict)
    _under_way_bytes: int = 0
    pending_files: int = 0
    pending_bytes: int = 0

    def add(self, entry: Entry, tag: Tag, offset: int = 0, *, describe: bool = False) -> None:
        """Want the content of `entry`; the first `offset` bytes are already here.

        With `describe` much of it may be here: its chunks are asked for first, and `narrow` follows.
        """
        self.pending_files += 1
        request = self._by_content.get(entry.content)
        if request is not None:
            request.wanted_by.append((entry, tag))
            return
        first = 0 if describe else offset
        request = Request(
            self._next, entry.content, entry.size, [(first, entry.size - first)], [(entry, tag)]
        )
        self._next += 1
        self._by_content[entry.content] = request
        (self._to_describe if describe else self._queue).append(request)
        self.pending_bytes += request.missing

    def next_describe(self) -> Describe | None:
        """The next question to send, or None where there is none or enough is described at the time."""
        if not self._to_describe or len(self._described) >= DESCRIBED_FILES:
            return None
        request = self._to_describe.popleft()
        self._described[request.number] = request
        return Describe(request.number, request.wanted_by[0][0].path, request.content, request.size)

    def described(self, number: int) -> Request[Tag] | None:
        """A request whose chunks were asked for and that isn't narrowed or ended yet."""
        return self._described.get(number)

    def narrow(self, number: int, ranges: list[Range]) -> Request[Tag] | None:
        """Only these ranges of a described content are missing. None where its request was ended."""
        request = self._described.pop(number, None)
        if request is None:
            return None
        self.pending_bytes -= request.missing
        request.ranges = ranges
        request.missing = sum(length for _, length in ranges)
        self.pending_bytes += request.missing
        if ranges:
            self._queue.appendleft(request)
        else:
            self._under_way[number] = request
        return request

    def next_want(self) -> Want | None:
        """The next message to send, or None while the window is full or nothing is wanted."""
        files: list[Wanted] = []
        while self._queue and len(files) < WANT_FILES:
            request = self._queue[0]
            full = (
                self._under_way_bytes + request.missing > self.window_bytes
                or len(self._under_way) >= self.window_files
            )
            if full and self._under_way:
                break
            self._queue.popleft()
            self._under_way[request.number] = request
            self._under_way_bytes += request.missing
            path = request.wanted_by[0][0].path
            files.append(Wanted(request.number, path, request.content, request.size, request.ranges))
        return Want(files) if files else None

    def arrived(self, number: int, count: int) -> Request[Tag] | None:
        """`count` more bytes came for a request; None where it isn't under way (ended, or never asked)."""
        request = self._under_way.get(number)
        if request is not None:
            request.received += count
            self.pending_bytes -= count
        return request

    def end(self, number: int) -> Request[Tag] | None:
        """A request is over, whole or failed; None where it already was."""
        request = self._described.pop(number, None)
        if request is None:
            request = self._under_way.pop(number, None)
            if request is None:
                return None
            self._under_way_bytes -= request.missing
        self.pending_bytes -= request.missing - request.received
        self.pending_files -= len(request.wanted_by)
        del self._by_content[request.content]
        return request

    @property
    def idle(self) -> bool:
        """Whether nothing is wanted or under way."""
        return not (self._queue or self._to_describe or self._described or self._under_way)
