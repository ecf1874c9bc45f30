"""What became of an apply, as data: for the terminal, for programs, and for the exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from orchestrator.plan import Plan
from schemas.plans import Document

Outcome = Literal[
    "applied",
    "unchanged",
    "failed",  # it answered and said no, or can't be worked with
    "unreachable",  # no answer; whether the last request was carried out isn't known
]


class NodeResult(Document, frozen=True):
    """What became of one node."""

    node: str
    outcome: Outcome
    reason: str = ""  # only when failed or unreachable
    enrolled: bool = False  # whether it got certificates in this run; only when applied
    generation: int = 0  # of the plan that it runs now; only when applied or unchanged


class ApplyReport(Document, frozen=True):
    """What became of all of them. Nodes are sorted by name."""

    nodes: tuple[NodeResult, ...]
    applied: int
    unchanged: int
    failed: int
    unreachable: int

    @property
    def complete(self) -> bool:
        """Whether every node runs what it should."""
        return not self.failed and not self.unreachable


def summarise(results: Sequence[NodeResult]) -> ApplyReport:
    """The report of all results."""
    count = Counter(result.outcome for result in results)
    return ApplyReport(
        tuple(results), count["applied"], count["unchanged"], count["failed"], count["unreachable"]
    )


def untouched(plan: Plan) -> list[NodeResult]:
    """The results of a plan that asks for nothing."""
    results = [NodeResult(step.node, "unchanged", generation=step.generation) for step in plan.steps]
    return sorted([*results, *out_of_reach(plan)], key=lambda result: result.node)


def out_of_reach(plan: Plan) -> list[NodeResult]:
    """The results of the nodes for which nothing was planned, because they could not be asked."""
    return [NodeResult(each.node, "unreachable", reason=each.reason) for each in plan.unreachable]


def report_lines(report: ApplyReport) -> list[tuple[Outcome | None, str]]:
    """The report for a person: each line with the outcome that colours it; the last line has none.

    Unchanged nodes are only counted: in a large fleet they would hide the rest.
    """
    width = max((len(result.node) for result in report.nodes), default=0)
    lines: list[tuple[Outcome | None, str]] = []
    for result in report.nodes:
        if result.outcome == "applied":
            enrolled = ", with new certificates" if result.enrolled else ""
            said = f"applied, generation {result.generation}{enrolled}"
        elif result.outcome == "unchanged":
            continue
        else:
            said = f"{result.outcome}: {result.reason}"
        lines.append((result.outcome, f"{result.node:<{width}}  {said}"))
    counts = [
        f"{count:,} {word}"
        for count, word in (
            (report.applied, "applied"),
            (report.unchanged, "unchanged"),
            (report.failed, "failed"),
            (report.unreachable, "unreachable"),
        )
        if count
    ]
    lines.append((None, f"Apply: {', '.join(counts) or 'no nodes'}."))
    return lines
