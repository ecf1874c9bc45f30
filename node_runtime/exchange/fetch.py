"""Which content to ask for next: one request per distinct content, many under way, never too many.

The queue keeps requests in the order in which they were wanted and holds the amount under way below a
number of bytes and of files, so that a slow disk at this end slows the peer and memory stays bounded. A
single file larger than the window is let through alone. Paths that want the same content share one
request: it crosses once, and is copied here.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from node_runtime.exchange.messages import Want, Wanted
from node_runtime.replica.entry import Entry

WINDOW_BYTES = 64 * 1024 * 1024
WINDOW_FILES = 4_096
WANT_FILES = 512  # per message

Tag = TypeVar("Tag")


@dataclass(slots=True)
class Request(Generic[Tag]):
    """One content on its way here, and every entry that waits for it."""

    number: int
    content: bytes
    size: int
    offset: int  # where the content that is already here ends
    wanted_by: list[tuple[Entry, Tag]]
    received: int = 0


@dataclass(slots=True)
class Fetch(Generic[Tag]):
    """The requests of one end. `Tag` is whatever the caller keeps with an entry (its batch)."""

    window_bytes: int = WINDOW_BYTES
    window_files: int = WINDOW_FILES
    _next: int = 1
    _queue: deque[Request[Tag]] = field(default_factory=deque)
    _by_content: dict[bytes, Request[Tag]] = field(default_factory=dict)
    _under_way: dict[int, Request[Tag]] = field(default_factory=dict)
    _under_way_bytes: int = 0
    pending_files: int = 0
    pending_bytes: int = 0

    def add(self, entry: Entry, tag: Tag, offset: int = 0) -> None:
        """Want the content of `entry`; the first `offset` bytes are already here."""
        self.pending_files += 1
        request = self._by_content.get(entry.content)
        if request is not None:
            request.wanted_by.append((entry, tag))
            return
        request = Request(self._next, entry.content, entry.size, offset, [(entry, tag)])
        self._next += 1
        self._by_content[entry.content] = request
        self._queue.append(request)
        self.pending_bytes += entry.size - offset

    def next_want(self) -> Want | None:
        """The next message to send, or None while the window is full or nothing is wanted."""
        files: list[Wanted] = []
        while self._queue and len(files) < WANT_FILES:
            request = self._queue[0]
            size = request.size - request.offset
            full = (
                self._under_way_bytes + size > self.window_bytes or len(self._under_way) >= self.window_files
            )
            if full and self._under_way:
                break
            self._queue.popleft()
            self._under_way[request.number] = request
            self._under_way_bytes += size
            path = request.wanted_by[0][0].path
            files.append(Wanted(request.number, path, request.content, request.size, request.offset))
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
        request = self._under_way.pop(number, None)
        if request is None:
            return None
        self._under_way_bytes -= request.size - request.offset
        self.pending_bytes -= request.size - request.offset - request.received
        self.pending_files -= len(request.wanted_by)
        del self._by_content[request.content]
        return request

    @property
    def idle(self) -> bool:
        """Whether nothing is wanted or under way."""
        return not self._queue and not self._under_way
