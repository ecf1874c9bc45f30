"""Changes and plans: what an apply would do, as data that can be kept in a file.

A `Plan` carries the node plans that would be pushed, and what each node ran when it was made, so that
applying it later pushes exactly what was shown, and can tell that the world has moved on. Must not know
how nodes are reached, nor how a plan is shown (`orchestrator.render`).

Read next: `diff`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from schemas.plans import Document, NodePlan

Action = Literal["create", "update", "delete", "enrol", "renew"]

SYMBOLS: dict[Action, str] = {"create": "+", "update": "~", "delete": "-", "enrol": "+", "renew": "~"}


class Observed(msgspec.Struct, frozen=True):
    """What one node said of itself, or why it said nothing."""

    node: str
    enrolled: bool = False
    generation: int = 0  # of the plan that it runs; 0 before the first
    digest: str = ""  # of that plan
    plan: NodePlan | None = None  # the plan itself; None before the first
    certificate_expires_at: float | None = None  # Unix time, seconds; None before enrolment
    unreachable: str = ""  # the reason; the fields above mean nothing then


class FieldChange(Document, frozen=True):
    """One field of an edge or a node, as it is and as it will be; None where it is absent."""

    field: str  # as it stands in the plan, "sync.mode"
    old: Any
    new: Any


class Change(Document, frozen=True, omit_defaults=True):
    """One difference to carry out: of an edge on the nodes that need it, or of a node itself."""

    action: Action
    subject: str  # edge id for an edge; node name for a node
    of: Literal["edge", "node"]
    nodes: tuple[str, ...]  # that have to be told, sorted
    fields: tuple[FieldChange, ...] = ()

    @property
    def symbol(self) -> str:
        """The mark that readers of a plan know it by."""
        return SYMBOLS[self.action]


class Step(Document, frozen=True):
    """What one reachable node ran when the plan was made, and what has to be done to it."""

    node: str
    generation: int  # observed
    digest: str  # observed
    enrolled: bool  # observed
    enrol: bool = False  # certificates are needed: for the first time, or renewed
    push: bool = False  # its plan differs


class OutOfReach(Document, frozen=True):
    """A node that could not be asked: nothing is planned for it."""

    node: str
    reason: str


class Summary(Document, frozen=True):
    """The plan in numbers. Edges are counted once, whichever end has to be told."""

    add: int
    change: int
    remove: int
    enrol: int
    renew: int
    nodes: int  # that have to be told anything
    unreachable: int


class Plan(Document, frozen=True):
    """Every difference between what is declared and what runs, and all that is needed to carry it out."""

    api_version: Literal["syncgraph/v1"]
    kind: Literal["Plan"]
    fleet: str
    desired_digest: str  # SHA-256 over the digests of all desired node plans
    changes: tuple[Change, ...]  # edges by id, then nodes by name
    steps: tuple[Step, ...]  # every reachable node, by name
    unreachable: tuple[OutOfReach, ...]  # by name
    node_plans: dict[str, NodePlan]  # what to push, for the steps that say so

    @property
    def empty(self) -> bool:
        """Whether what runs is what is declared, as far as nodes could be asked."""
        return not any(step.enrol or step.push for step in self.steps)

    @property
    def summary(self) -> Summary:
        """The plan in numbers."""

        def edges(action: Action) -> int:
            return len({c.subject for c in self.changes if c.of == "edge" and c.action == action})

        def nodes(action: Action) -> int:
            return sum(c.of == "node" and c.action == action for c in self.changes)

        told = sum(step.enrol or step.push for step in self.steps)
        return Summary(
            edges("create"),
            edges("update"),
            edges("delete"),
            nodes("enrol"),
            nodes("renew"),
            told,
            len(self.unreachable),
        )


decode_plan = msgspec.json.Decoder(Plan).decode


def stale_because(plan: Plan, observed_now: Mapping[str, Observed]) -> str | None:
    """Why a kept plan must not be applied any more; None where it may.

    A node that can't be reached now is not a reason: applying reports it, and the others go on.
    """
    for step in plan.steps:
        now = observed_now.get(step.node)
        if now is None:
            return f"{step.node} was part of the fleet when this was planned and is not any more; plan again"
        if now.unreachable:
            continue
        if now.enrolled != step.enrolled:
            state = "has been enrolled" if now.enrolled else "has left the fleet"
            return f"{step.node} {state} since this was planned; plan again"
        if (now.generation, now.digest) != (step.generation, step.digest):
            return (
                f"{step.node} ran generation {step.generation} when this was planned "
                f"and runs generation {now.generation} now; plan again"
            )
    return None
