"""Changed files of which an older version is here: takes the lists of their chunks, has the rest fetched.

    request ──Describe──▶ peer ──Chunks──▶ assemble ──▶ request ──Want──▶ …

Part of the taking half of a session; `assembly` does the work of one file, in the replica's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from node_runtime.daemon.arrivals import Arrivals, Piece
from node_runtime.daemon.assembly import Assembly, Impossible
from node_runtime.daemon.talk import Talk, require
from node_runtime.disk.errors import DiskError, explain
from node_runtime.exchange import messages as m
from node_runtime.exchange.conversation import Batch
from node_runtime.exchange.fetch import Fetch, Request


class Assembling:
    """The described files of one session. `put` places pieces; `give_up` ends a request that failed."""

    def __init__(
        self,
        talk: Talk,
        fetch: Fetch[Batch],
        arrivals: Arrivals,
        put: Callable[[Sequence[Piece]], Awaitable[None]],
        give_up: Callable[[Request[Batch], str, bool], None],
    ) -> None:
        self._talk = talk
        self._fetch = fetch
        self._arrivals = arrivals
        self._put = put
        self._give_up = give_up
        self._assemblies: dict[int, Assembly] = {}  # by request: contents whose chunks are being listed
        self._listed = asyncio.Queue[tuple[Request[Batch], Assembly]]()

    def on_chunks(self, chunks: m.Chunks) -> None:
        """The peer lists chunks of a file."""
        request = self._fetch.described(chunks.request)
        if request is None:
            return  # given up meanwhile
        assembly = self._assemblies.setdefault(request.number, Assembly(request.size))
        try:
            assembly.listed(chunks)
        except Impossible:
            require(False, "listed chunks that no file of that size has")
        if chunks.last:
            self._listed.put_nowait((request, self._assemblies.pop(request.number)))

    def forget(self, number: int) -> None:
        """A request has ended before its chunks were listed."""
        self._assemblies.pop(number, None)

    async def run(self) -> None:
        """Use what is here of each file, a step at a time between other work."""
        work, arrivals = self._talk.replica.work, self._arrivals
        while True:
            request, assembly = await self._listed.get()
            number, steps = request.number, arrivals.assemble(request, assembly)
            try:
                while await work(lambda: next(steps, request)) is not request:  # noqa: B023
                    pass
            except (DiskError, OSError) as error:
                if self._fetch.end(number) is not None:
                    self._give_up(request, explain(error), False)
            if self._fetch.narrow(number, assembly.ranges()) is None:
                await work(lambda: arrivals.drop(number))  # noqa: B023
            elif not request.ranges:
                self._fetch.end(number)
                await self._put([Piece(request, m.Block(number, 0, b""), last=True)])
            self._talk.stir()
