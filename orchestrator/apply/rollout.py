"""Carry a plan out: enrol the nodes that need it, then give each its new plan.

It decides what is sent, in which order, and what the answers mean. All certificates go out before the
first plan does: a node that dials a peer which isn't enrolled yet would be turned away and wait before it
tries again. Within both rounds nodes don't wait for each other, one that fails stops no other, and
nothing is tried twice: a second apply does that, and sends only what is still missing. It never decides
what should change: it touches what the plan says, no more.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

from orchestrator.apply.access import Hosts
from orchestrator.apply.host import Unreachable
from orchestrator.apply.observe import Observation
from orchestrator.apply.report import NodeResult, out_of_reach
from orchestrator.plan import Plan, Step
from orchestrator.trust.authority import Authority, BadKey
from schemas.control import Accepted, Apply, Enrol, Refused, Request


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

    def settle(result: NodeResult) -> NodeResult:
        progress(result)
        return result

    async def certify(step: Step) -> NodeResult | None:
        """The first round: the node's result if it is settled, None if it goes on to the second."""
        observation = observations[step.node]
        if observation.observed.unreachable:
            return settle(NodeResult(step.node, "unreachable", reason=observation.observed.unreachable))
        if not step.enrol and not step.push:
            return settle(NodeResult(step.node, "unchanged", generation=step.generation))
        if shared[observation.public_key] > 1:
            return settle(NodeResult(step.node, "failed", reason=_clone(step.node, observations)))
        if step.enrol:
            failed = await _tell(hosts, step.node, lambda: _enrolment(authority, observation, now))
            if failed:
                return settle(failed)
        return None if step.push else settle(_applied(step))

    async def push(step: Step) -> NodeResult:
        """The second round."""
        node_plan, generation = plan.node_plans[step.node], step.generation + 1
        failed = await _tell(hosts, step.node, lambda: Apply(authority.sign(node_plan, generation)))
        return settle(failed or _applied(step))

    settled = await asyncio.gather(*(certify(step) for step in plan.steps))
    left = [step for step, result in zip(plan.steps, settled, strict=True) if result is None]
    pushed = await asyncio.gather(*(push(step) for step in left))
    results = [*(result for result in settled if result), *pushed, *out_of_reach(plan)]
    return tuple(sorted(results, key=lambda result: result.node))


def _applied(step: Step) -> NodeResult:
    return NodeResult(step.node, "applied", enrolled=step.enrol, generation=step.generation + step.push)


async def _tell(hosts: Hosts, node: str, request: Callable[[], Request]) -> NodeResult | None:
    """Make a request and send it; None where the node accepted it, its result where it didn't."""
    try:
        async with hosts.use(node) as host:
            reply = await host.request(request())
    except BadKey as error:
        return NodeResult(node, "failed", reason=str(error))
    except Unreachable as error:
        return NodeResult(node, "unreachable", reason=error.reason)
    if isinstance(reply, Accepted):
        return None
    if isinstance(reply, Refused):
        return NodeResult(node, "failed", reason=f"the node refuses: {reply.reason}")
    return NodeResult(node, "failed", reason="the node answers another question than the one that was asked")


def _enrolment(authority: Authority, observation: Observation, now: float) -> Enrol:
    node, public_key = observation.observed.node, observation.public_key
    return Enrol(
        node=node,
        authority=authority.public_key,
        user_certificate=authority.user_certificate(node, public_key, now),
        host_certificate=authority.host_certificate(node, public_key, now),
    )


def _clone(node: str, observations: Mapping[str, Observation]) -> str:
    """Two nodes with one key could each pass for the other; disk images copied with it are how it happens."""
    others = [
        name
        for name, other in observations.items()
        if name != node and other.public_key == observations[node].public_key
    ]
    return (
        f"it has the same key as {', '.join(others)}: either both names lead to one runtime, or its state "
        "directory was copied; then stop it, remove node_key and enrolment.json there, and start it again"
    )
