"""Content on its way in: from blocks in any order to whole, verified files. Runs in the replica's
worker thread.

A small file comes in one block and goes straight to its place. A larger one is written where its blocks
belong, into a part file that survives a crash, and is verified whole before anything trusts it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from node_runtime.daemon.assembly import Assembly
from node_runtime.daemon.replica import Replica
from node_runtime.daemon.target import Target
from node_runtime.disk.applier import Arrived
from node_runtime.disk.errors import ContentMismatch, DiskError, explain
from node_runtime.disk.staging import PartFile, verified
from node_runtime.exchange.conversation import Batch
from node_runtime.exchange.fetch import Request
from node_runtime.exchange.messages import Block


@dataclass(frozen=True, slots=True)
class Piece:
    """One block of a request, and whether it is the last that was missing."""

    request: Request[Batch]
    block: Block
    last: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request can't be completed, and whether that is because the content changed at its source."""

    reason: str
    changed: bool


class Arrivals:
    """The part files of one session."""

    def __init__(self, replica: Replica, target: Target) -> None:
        self._root = replica.root
        self._staging = replica.staging
        self._batch = replica.applier.batch
        self._target = target
        self._parts: dict[int, PartFile] = {}

    def take(self, pieces: Sequence[Piece]) -> dict[int, Failure]:
        """Write blocks, and place each file whose last block it was. Returns failures by request number."""
        failures: dict[int, Failure] = {}
        self._target.look_ahead(
            entry.path for each in pieces if each.last for entry, _ in each.request.wanted_by
        )
        with self._batch():
            for piece in pieces:
                number = piece.request.number
                if number in failures:
                    continue
                failure = self._take(piece)
                if failure is not None:
                    failures[number] = failure
                    self.drop(number)
        self._target.flush()
        return failures

    def _take(self, piece: Piece) -> Failure | None:
        try:
            arrived = self._complete(piece)
        except ContentMismatch as error:
            return Failure(str(error), changed=True)
        except (DiskError, OSError) as error:
            return Failure(explain(error), changed=False)
        if arrived is not None:
            self._target.place([entry for entry, _ in piece.request.wanted_by], arrived)
        return None

    def assemble(self, request: Request[Batch], assembly: Assembly) -> Iterator[None]:
        """Write what is here of a content to its part, a step at a time."""
        part = self._parts[request.number] = self._staging.begin(request.content, request.size)
        yield from assembly.fill(part, self._root, request.wanted_by[0][0].path)

    def close(self) -> None:
        """Leave what is unfinished for the next session to go on from."""
        for number in list(self._parts):
            self.drop(number)

    def drop(self, number: int) -> None:
        """Leave what has come of a request for another try."""
        part = self._parts.pop(number, None)
        if part is not None:
            part.abandon()

    def _complete(self, piece: Piece) -> Arrived | None:
        request, block = piece.request, piece.block
        self._target.counts.bytes_on_wire += len(block.content)
        part = self._parts.get(request.number)
        if part is None:
            if piece.last and not block.offset and len(block.content) == request.size:
                return verified(request.content, block.content)
            part = self._parts[request.number] = self._staging.begin(request.content, request.size)
        if block.zeros:
            part.skip(block.offset, block.zeros)
        elif block.content:
            part.write(block.offset, block.content)
        if not piece.last:
            return None
        return self._parts.pop(request.number).finish()
