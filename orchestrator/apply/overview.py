"""What the whole fleet is doing: every node's report, and what it adds up to.

It decides which state of an edge or a node asks for a person. It changes nothing anywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Literal

from orchestrator.apply.access import Hosts
from orchestrator.apply.host import Unreachable
from schemas.control import Refused, Report, Status
from schemas.plans import Document, NodePlan, digest
from schemas.status import EdgeState, NodeStatus

Overall = Literal[
    "in-step",
    "working",  # something is on its way, nothing is wrong
    "attention",  # a person has to act: held edges, failed paths, an unreadable replica, drift
    "failed",  # an edge failed, or a node is out of reach
]

WORKING: frozenset[EdgeState] = frozenset({"connecting", "scanning", "syncing"})


class NodeAnswer(Document, frozen=True):
    """What one node says of itself."""

    node: str
    status: NodeStatus | None  # None: out of reach
    unreachable: str = ""  # the reason; only then
    drift: bool = False  # it runs another plan than the documents ask for


class FleetStatus(Document, frozen=True):
    """What all of them say. Edges are counted once an end."""

    overall: Overall
    nodes: tuple[NodeAnswer, ...]  # by name
    ends: int
    in_step: int
    pending_files: int
    pending_bytes: int
    conflicts: int
    failed_paths: int

    @property
    def healthy(self) -> bool:
        """Whether every node answers and no edge has failed."""
        return self.overall != "failed"


async def look(hosts: Hosts, desired: Mapping[str, NodePlan]) -> FleetStatus:
    """Ask every node how it is."""
    digests = {name: digest(plan) for name, plan in desired.items()}

    async def one(name: str) -> NodeAnswer:
        try:
            async with hosts.use(name) as host:
                reply = await host.request(Status())
        except Unreachable as error:
            return NodeAnswer(name, None, error.reason)
        if isinstance(reply, Refused):
            return NodeAnswer(name, None, reply.reason)
        if not isinstance(reply, Report):
            return NodeAnswer(name, None, "it answers another question than the one that was asked")
        status = reply.status
        if status.node and status.node != name:
            return NodeAnswer(name, None, f'the runtime there is enrolled as "{status.node}"')
        idle = name not in desired or not (desired[name].edges or status.digest)
        return NodeAnswer(name, status, drift=not idle and status.digest != digests[name])

    return add_up(await asyncio.gather(*(one(name) for name in hosts.names)))


def add_up(answers: list[NodeAnswer]) -> FleetStatus:
    """The fleet's status from its nodes' answers."""
    edges = [edge for answer in answers if answer.status for edge in answer.status.edges]
    conflicts = sum(edge.conflict_count for edge in edges)
    failed_paths = sum(edge.failed_count for edge in edges)
    pending_files = sum(edge.pending_files for edge in edges)
    overall: Overall = "in-step"
    if any(answer.unreachable for answer in answers) or any(edge.state == "failed" for edge in edges):
        overall = "failed"
    elif (
        failed_paths
        or any(edge.state == "held" for edge in edges)
        or any(answer.drift for answer in answers)
        or any(replica.problem for answer in answers if answer.status for replica in answer.status.replicas)
    ):
        overall = "attention"
    elif pending_files or any(edge.state in WORKING for edge in edges):
        overall = "working"
    return FleetStatus(
        overall=overall,
        nodes=tuple(answers),
        ends=len(edges),
        in_step=sum(edge.state == "in-step" for edge in edges),
        pending_files=pending_files,
        pending_bytes=sum(edge.pending_bytes for edge in edges),
        conflicts=conflicts,
        failed_paths=failed_paths,
    )
