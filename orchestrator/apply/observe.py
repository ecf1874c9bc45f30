"""Ask every node who it is and what it runs.

It decides what an answer means: an enrolled node, a new one, or one that can't be worked with, with the
reason. It changes nothing anywhere. The answers are what the planner compares with the documents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from orchestrator.apply.access import Hosts
from orchestrator.apply.host import Unreachable
from orchestrator.plan import Observed
from schemas.control import Identify, Identity, Refused
from schemas.plans import NodePlan

_decode_plan = msgspec.json.Decoder(NodePlan).decode


@dataclass(frozen=True, slots=True)
class Observation:
    """One node's answer."""

    observed: Observed
    public_key: str  # the node's own; "" where it is unreachable


async def observe(
    hosts: Hosts, authority_key: str, progress: Callable[[Observation], None] = lambda _: None
) -> dict[str, Observation]:
    """Every node's answer, by name, sorted. `authority_key` is ours; "" where there is none yet."""

    async def one(name: str) -> Observation:
        try:
            async with hosts.use(name) as host:
                reply = await host.request(Identify())
        except Unreachable as error:
            observation = _unusable(name, error.reason)
        else:
            if isinstance(reply, Identity):
                observation = read_identity(name, reply, authority_key)
            elif isinstance(reply, Refused):
                observation = _unusable(name, reply.reason)
            else:
                observation = _unusable(name, "it answers another question than the one that was asked")
        progress(observation)
        return observation

    answers = await asyncio.gather(*(one(name) for name in hosts.names))
    return dict(zip(hosts.names, answers, strict=True))


def read_identity(name: str, identity: Identity, authority_key: str) -> Observation:
    """What a node's answer means for the fleet whose authority has `authority_key`."""
    if identity.node and identity.node != name:
        return _unusable(name, f'the runtime there is enrolled as "{identity.node}"')
    enrolled = bool(identity.authority)
    if enrolled and not same_key(identity.authority, authority_key):
        return _unusable(
            name,
            "it obeys another authority than this repository's; use the state directory that it was enrolled "
            "from (--state), or remove enrolment.json from its own to enrol it anew",
        )
    plan: NodePlan | None = None
    if identity.plan:
        try:
            plan = _decode_plan(identity.plan)
        except msgspec.MsgspecError as error:
            return _unusable(name, f"it runs a plan that this version doesn't understand: {error}")
    observed = Observed(
        node=name,
        enrolled=enrolled,
        generation=identity.generation,
        digest=identity.digest,
        plan=plan,
        certificate_expires_at=identity.certificate_expires_at,
    )
    return Observation(observed, identity.public_key)


def same_key(left: str, right: str) -> bool:
    """Whether two public keys in OpenSSH format are one, whatever their comments say."""
    return left.split()[:2] == right.split()[:2] != []


def _unusable(name: str, reason: str) -> Observation:
    observed = Observed(
        node=name,
        enrolled=False,
        generation=0,
        digest="",
        plan=None,
        certificate_expires_at=None,
        unreachable=reason,
    )
    return Observation(observed, "")
