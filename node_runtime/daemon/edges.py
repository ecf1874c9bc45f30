"""Runs the edges of the current plan: opens what they need, starts and stops them, lets peers in.

When the plan changes, only what differs is touched: an edge that stands unchanged in both plans keeps its
session, a replica that is still asked for in the same way stays open.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from node_runtime.daemon.conflicts import list_conflicts
from node_runtime.daemon.edge import Dial, Edge
from node_runtime.daemon.kept import list_versions, locate, restore
from node_runtime.daemon.resolving import resolve
from node_runtime.daemon.schedule import Schedules
from node_runtime.daemon.tending import Tending, specs_of
from node_runtime.disk.root import Root
from node_runtime.exchange.messages import Bye, End, Hello, Tally
from node_runtime.exchange.session import SessionClosed
from node_runtime.net.admission import Refusal, admit
from node_runtime.net.stream import StreamSession
from schemas.conflicts import ListConflicts, ResolveConflict
from schemas.control import Refused, Reply
from schemas.kept import KeptVersions, ListVersions, Restore, Restored
from schemas.plans import NodePlan, ReplicationPlan
from schemas.status import EdgeStatus, ReplicaStatus

log = logging.getLogger(__name__)

GREETING_S = 15.0  # a peer that opened a session must greet within this


class EdgeSupervisor:
    """Everything that one node does about its edges."""

    def __init__(self, node: str, state: Path, dial: Dial, schedules: Schedules) -> None:
        self._node = node
        self._state = state
        self._dial_out = dial
        self._schedules = schedules
        self._plan: NodePlan | None = None
        self._tending: dict[str, Tending] = {}  # by path
        self._edges: dict[tuple[str, End], Edge] = {}
        self._welcomes: set[asyncio.Task[None]] = set()
        self._renewals: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()

    async def activate(self, plan: NodePlan) -> None:
        """Make `plan` the one that runs. What it takes away is gone when this returns."""
        async with self._changing:
            await self._activate(plan)

    async def _activate(self, plan: NodePlan, renewed: str | None = None) -> None:
        """`renewed` is the path of a replica that is opened anew though the plan asks for the same."""
        specs = specs_of(plan)
        wanted = {(edge.edge, end): edge for edge in plan.edges for end in self._ends_here(edge)}
        leaving = [
            key
            for key, edge in self._edges.items()
            if wanted.get(key) != edge.plan
            or specs.get(edge.tending.spec.path) != edge.tending.spec
            or edge.tending.spec.path == renewed
        ]
        self._plan = plan
        await asyncio.gather(*(self._edges[key].forget() for key in leaving if key not in wanted))
        closing = [
            path
            for path, tending in self._tending.items()
            if specs.get(path) != tending.spec or path == renewed
        ]
        for path in closing:
            self._tending[path].replica.interrupt()
        await asyncio.gather(*(self._edges.pop(key).stop() for key in leaving))
        await asyncio.gather(*(self._tending.pop(path).close() for path in closing))
        for path, spec in specs.items():
            if path not in self._tending:
                self._tending[path] = Tending(
                    self._node, self._state, spec, on_replaced=partial(self._renew, path)
                )
        for key, edge in wanted.items():
            if key not in self._edges:
                path = (edge.source if key[1] == "source" else edge.target).path
                self._edges[key] = Edge(
                    edge, key[1], self._node, self._tending[path], self._dial, self._schedules
                )

    def _renew(self, path: str) -> None:
        """Another directory stands at a replica's path: go on with that one."""
        if not self._renewals:
            log.warning("replica %s: another directory is there now; opening it", path)
            renewal = asyncio.create_task(self._open_anew(path))
            self._renewals.add(renewal)
            renewal.add_done_callback(self._renewals.discard)

    async def _open_anew(self, path: str) -> None:
        async with self._changing:
            if self._plan is not None and path in self._tending:
                await self._activate(self._plan, path)

    def incoming(self, peer_node: str) -> asyncio.Protocol:
        """What answers a session that `peer_node`, authenticated, has opened."""
        session = StreamSession()
        welcome = asyncio.create_task(self._welcome(peer_node, session))
        self._welcomes.add(welcome)
        welcome.add_done_callback(self._welcomes.discard)
        return session

    def status(self) -> tuple[tuple[EdgeStatus, ...], tuple[ReplicaStatus, ...]]:
        """How the edges and the replicas are."""
        edges = tuple(edge.status() for _, edge in sorted(self._edges.items()))
        replicas = tuple(
            ReplicaStatus(path, *tending.replica.held, tending.problem or tending.replica.problem)
            for path, tending in sorted(self._tending.items())
        )
        return edges, replicas

    async def answer(self, request: ListConflicts | ResolveConflict) -> Reply:
        """List conflicts, or end one. Raises NodeError."""
        async with self._changing:
            if isinstance(request, ListConflicts):
                return await list_conflicts(request, self._tending, list(self._edges.values()))
            return await resolve(request, self._tending, list(self._edges.values()))

    async def kept(self, request: ListVersions | Restore) -> Reply:
        """What is kept of a path of some replica here, or a part of it brought back."""
        if isinstance(request, ListVersions):
            path, relative = locate(self._open_roots(), request.path)
            return await asyncio.to_thread(_listed, path, relative, request.limit)
        async with self._changing:  # no replica is closed under it
            tended = self._open_roots()
            path, relative = locate(tended, request.path)
            return await self._restore(tended[path], relative, request)

    def _open_roots(self) -> dict[str, Tending]:
        return {each.replica.root.path: each for each in self._tending.values() if each.is_open}

    async def _restore(self, tending: Tending, relative: bytes, request: Restore) -> Reply:
        replica = tending.replica
        if not request.to and (mirrored := self._mirrored_by(tending.spec.path)):
            return Refused(
                f"{replica.root.path} is made equal to {mirrored.source}, which would undo this; restore "
                "into another directory with --to, then put it where it belongs on that side"
            )

        def job() -> tuple[Restored, list[bytes]]:
            replica.root.check()
            return restore(replica.root, relative, request)

        restored, changed = await replica.work(job)
        if changed:
            await replica.work(replica.root.flush)
            await replica.scan_paths(changed)
        return restored

    def _mirrored_by(self, path: str) -> ReplicationPlan | None:
        """The one-way edge that reverts whatever is edited in a replica."""
        plans = (edge.plan for (_, end), edge in self._edges.items() if end == "target")
        into = (plan for plan in plans if plan.target.path == path and plan.direction == "one-way")
        return next((plan for plan in into if plan.target_changes == "revert"), None)

    async def approve(self, edge: str, hold: str) -> str | None:
        """Let go what a guard of this edge holds back; the reason where there is nothing to let go."""
        here = [each for (name, _), each in self._edges.items() if name == edge]
        if not here:
            return f"no edge {edge} runs on {self._node}; look at `syncgraph status`"
        if not any([await each.approve(hold) for each in here]):
            return f"{edge} holds nothing back under that name; look at `syncgraph status` and approve again"
        log.info("approved edge=%s hold=%s", edge, hold)
        return None

    async def stop(self) -> None:
        """End every session and close every replica."""
        async with self._changing:
            await self._stop()

    async def _stop(self) -> None:
        self._plan = None
        for welcome in list(self._welcomes):
            welcome.cancel()
        for tending in self._tending.values():
            tending.replica.interrupt()
        await asyncio.gather(*(edge.stop() for edge in self._edges.values()))
        self._edges.clear()
        await asyncio.gather(*(tending.close() for tending in self._tending.values()))
        self._tending.clear()

    def _ends_here(self, edge: ReplicationPlan) -> list[End]:
        ends: list[End] = []
        if edge.source.node == self._node:
            ends.append("source")
        if edge.target.node == self._node:
            ends.append("target")
        return ends

    async def _welcome(self, peer_node: str, session: StreamSession) -> None:
        """Hear which edge the peer means, and hand the session to it, or refuse."""
        try:
            hello = await asyncio.wait_for(session.receive(), GREETING_S)
            refusal = "a session starts with a greeting"
            if isinstance(hello, Hello):
                edge = self._edge_for(peer_node, hello)
                if isinstance(edge, Edge):
                    await edge.answer(session, hello)
                    return
                refusal = edge
            log.info("refused session from=%s: %s", peer_node, refusal)
            await session.send(Bye(refusal, Tally()))
            session.close(refusal)
        except TimeoutError:
            session.close("no greeting came")
        except SessionClosed as closed:
            log.debug("session from=%s ended before it began: %s", peer_node, closed.reason)

    def _edge_for(self, peer_node: str, hello: Hello) -> Edge | str:
        admitted = admit(self._plan, peer_node, hello.edge)
        if isinstance(admitted, Refusal):
            return admitted.reason
        end: End = "target" if hello.end == "source" else "source"
        edge = self._edges.get((hello.edge, end))
        if edge is None:
            return f"this node isn't the {end} of {hello.edge}"
        return edge if edge.tending.is_open else edge.tending.problem or "its directory is being opened"

    async def _dial(self, peer_node: str, factory: Callable[[], asyncio.Protocol]) -> None:
        """Open a session to a peer; to this node itself through a pair of sockets."""
        if peer_node != self._node:
            await self._dial_out(peer_node, factory)
            return
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        await loop.create_connection(lambda: self.incoming(self._node), sock=theirs)
        await loop.create_connection(factory, sock=ours)


def _listed(path: str, relative: bytes, limit: int) -> KeptVersions:
    """Reads only, through a descriptor of its own: no scan or session waits for a long listing."""
    root = Root.open(path, create=False)
    try:
        return list_versions(root, relative, limit)
    finally:
        root.close()
