"""A node runtime whose edges only say hello: the real daemon without the replication in it.

    python -m tests.support.echo_node run --state DIR --listen 127.0.0.1:0 --log-json

On each edge that this node dials it opens a session and sends the edge's id; whoever is dialled answers with
what it got. An edge is in step once its id has come back.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from node_runtime.cli.log import configure
from node_runtime.cli.run import Listen
from node_runtime.daemon.node import Dial, NodeRuntime
from node_runtime.daemon.schedule import Schedules
from node_runtime.errors import PeerError
from schemas.control import Refused, Reply
from schemas.kept import ListVersions, Restore
from schemas.plans import NodePlan
from schemas.status import EdgeStatus, ReplicaStatus

RETRY_S = 0.05


class Echo(asyncio.Protocol):
    """The dialled end."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Hello(asyncio.Protocol):
    """The dialling end."""

    def __init__(self, edge: str) -> None:
        self.edge = edge
        self.received = b""
        self.lost = asyncio.Event()
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self.edge.encode())

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


class EchoSupervisor:
    """Keeps one session open on each edge that this node dials, whatever happens to it."""

    def __init__(self, node: str, state: Path, dial: Dial, schedules: Schedules) -> None:
        self.node = node
        self.plans: list[NodePlan] = []
        self._dial = dial
        self._sessions: dict[str, Hello] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._details: dict[str, str] = {}

    async def activate(self, plan: NodePlan) -> None:
        await self.stop()
        self.plans.append(plan)
        for edge in plan.edges:
            if edge.dials == self.node:
                other = edge.target.node if edge.source.node == self.node else edge.source.node
                self._tasks[edge.edge] = asyncio.create_task(self._keep(edge.edge, other))

    async def _keep(self, edge: str, peer: str) -> None:
        while True:
            session = Hello(edge)
            try:
                await self._dial(peer, lambda session=session: session)
                self._sessions[edge] = session
                await session.lost.wait()
            except PeerError as error:
                self._details[edge] = str(error)
            await asyncio.sleep(RETRY_S)

    def incoming(self, peer_node: str) -> asyncio.Protocol:
        return Echo()

    def status(self) -> tuple[tuple[EdgeStatus, ...], tuple[ReplicaStatus, ...]]:
        plan = self.plans[-1] if self.plans else None
        edges = []
        for edge in plan.edges if plan else ():
            session = self._sessions.get(edge.edge)
            there = (
                session is not None and not session.lost.is_set() and session.received == edge.edge.encode()
            )
            peer = edge.source.node if edge.target.node == self.node else edge.target.node
            detail = "" if there else self._details.get(edge.edge, "")
            edges.append(EdgeStatus(edge.edge, "in-step" if there else "connecting", peer, detail))
        return tuple(edges), ()

    async def kept(self, request: ListVersions | Restore) -> Reply:
        return Refused("an echo keeps nothing")

    async def approve(self, edge: str, hold: str) -> str | None:
        return f"{edge} holds nothing back"

    async def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for session in self._sessions.values():
            if session.transport is not None:
                session.transport.close()
        self._tasks.clear()
        self._sessions.clear()


@click.command()
@click.argument("run")
@click.option("--state", type=Path)
@click.option("--listen", type=Listen())
@click.option("--log-json", is_flag=True)
def main(run: str, state: Path, listen: tuple[str, int], log_json: bool) -> None:
    """Takes the options of `syncgraph-node run`, so that it can be started in its place."""
    configure("info", log_json)

    async def serve() -> None:
        await NodeRuntime(state, listen, EchoSupervisor).run()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
