"""Carry a plan out: enrol the nodes that need it, and give each its new plan.

It decides what is sent, in which order to one node, and what the answers mean. Nodes don't wait for each
other, one that fails stops no other, and nothing is tried twice: a second apply does that, and sends
only what is still missing. It never decides what should change: it touches what the plan says, no more.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

from orchestrator.apply.access import Hosts
from orchestrator.apply.host import Host, Unreachable
from orchestrator.apply.observe import Observation
from orchestrator.apply.report import NodeResult, out_of_reach
from orchestrator.plan import Plan, Step
from orchestrator.trust.authority import Authority, BadKey
from schemas.control import Accepted, Apply, Enrol, Refused, Reply
from schemas.plans import NodePlan


class _Failed(Exception):
    """This node's step ends here, for the reason given."""


async def roll_out(
    hosts: Hosts,
    authority: Authority,
    plan: Plan,
    observations: Mapping[str, Observation],
    now: float,
    progress: Callable[[NodeResult], None] = lambda _: None,
) -> tuple[NodeResult, ...]:
    """Every node's result, sorted by name. `progress` gets each as soon as it is known.

    `observations` are fresh, and the plan isn't stale against them.
    """
    shared = Counter(each.public_key for each in observations.values() if each.public_key)

    async def one(step: Step) -> NodeResult:
        observation = observations[step.node]
        if observation.observed.unreachable:
            result = NodeResult(step.node, "unreachable", reason=observation.observed.unreachable)
        elif not step.enrol and not step.push:
            result = NodeResult(step.node, "unchanged", generation=step.generation)
        elif shared[observation.public_key] > 1:
            result = NodeResult(step.node, "failed", reason=_clone(step.node, observation, observations))
        else:
            node_plan = plan.node_plans[step.node] if step.push else None
            result = await _carry_out(hosts, authority, step, node_plan, observation.public_key, now)
        progress(result)
        return result

    results = await asyncio.gather(*(one(step) for step in plan.steps))
    return tuple(sorted([*results, *out_of_reach(plan)], key=lambda result: result.node))


async def _carry_out(
    hosts: Hosts, authority: Authority, step: Step, node_plan: NodePlan | None, public_key: str, now: float
) -> NodeResult:
    """Enrol first: a node takes plans only from the authority that it was enrolled with."""
    generation = step.generation
    try:
        async with hosts.use(step.node) as host:
            if step.enrol:
                await _enrol(host, authority, public_key, now)
            if node_plan is not None:
                generation += 1
                _expect_accepted(await host.request(Apply(authority.sign(node_plan, generation))))
    except _Failed as error:
        return NodeResult(step.node, "failed", reason=str(error))
    except Unreachable as error:
        return NodeResult(step.node, "unreachable", reason=error.reason)
    return NodeResult(step.node, "applied", enrolled=step.enrol, generation=generation)


async def _enrol(host: Host, authority: Authority, public_key: str, now: float) -> None:
    try:
        request = Enrol(
            node=host.node,
            authority=authority.public_key,
            user_certificate=authority.user_certificate(host.node, public_key, now),
            host_certificate=authority.host_certificate(host.node, public_key, now),
        )
    except BadKey as error:
        raise _Failed(str(error)) from None
    _expect_accepted(await host.request(request))


def _expect_accepted(reply: Reply) -> None:
    if isinstance(reply, Refused):
        raise _Failed(f"the node refuses: {reply.reason}")
    if not isinstance(reply, Accepted):
        raise _Failed("the node answers another question than the one that was asked")


def _clone(node: str, observation: Observation, observations: Mapping[str, Observation]) -> str:
    """Two nodes with one key could each pass for the other; disk images copied with it are how it happens."""
    others = [
        name
        for name, other in observations.items()
        if name != node and other.public_key == observation.public_key
    ]
    return (
        f"it has the same key as {', '.join(others)}: either both names lead to one runtime, or its state "
        "directory was copied; then stop it, remove node_key and enrolment.json there, and start it again"
    )
