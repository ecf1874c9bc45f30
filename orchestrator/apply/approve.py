"""Approvals: what guards hold back over the fleet, and letting it go.

It decides what is shown and sent: an approval names a hold as the node reported it, so what came to be
held after it was shown is never let go with it. That a node checks for itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from orchestrator.apply.access import Hosts
from orchestrator.apply.host import Unreachable
from orchestrator.apply.overview import look
from schemas.control import Accepted, Approve, Refused
from schemas.plans import Document
from schemas.status import HeldChanges


class HeldEnd(Document, frozen=True):
    """What one end of an edge holds back, and what became of its approval."""

    node: str
    edge: str
    held: HeldChanges
    approved: bool = False
    reason: str = ""  # why it isn't approved; only once it was tried


async def find_held(hosts: Hosts, edges: Collection[str]) -> tuple[list[HeldEnd], dict[str, str]]:
    """What these edges hold back at the nodes of `hosts`; and why nodes couldn't be asked, by name."""
    status = await look(hosts, {})
    ends = [
        HeldEnd(answer.node, edge.edge, edge.held)
        for answer in status.nodes
        if answer.status
        for edge in answer.status.edges
        if edge.held is not None and edge.edge in edges
    ]
    return ends, {answer.node: answer.unreachable for answer in status.nodes if answer.unreachable}


async def approve(hosts: Hosts, ends: Collection[HeldEnd]) -> list[HeldEnd]:
    """Let exactly this go."""

    async def one(end: HeldEnd) -> HeldEnd:
        try:
            async with hosts.use(end.node) as host:
                reply = await host.request(Approve(end.edge, end.held.hold))
        except Unreachable as error:
            return HeldEnd(end.node, end.edge, end.held, reason=error.reason)
        if isinstance(reply, Accepted):
            return HeldEnd(end.node, end.edge, end.held, approved=True)
        reason = reply.reason if isinstance(reply, Refused) else "it answers another question than was asked"
        return HeldEnd(end.node, end.edge, end.held, reason=reason)

    return await asyncio.gather(*(one(end) for end in ends))
