"""Which conflict policy is for a path: the edge's own, or that of the last rule whose pattern matches.

Decides it from the plan and the two entries alone, and takes them in either order, so both ends of an edge
choose alike. What a policy means is `reconcile`'s.
"""

from __future__ import annotations

from functools import lru_cache

from node_runtime.replica.entry import Entry, Kind
from node_runtime.replica.filters import Filters
from schemas.plans import ConflictPlan, ConflictRule, FilterRule

CACHED_PLANS = 1_000  # sets of rules; a node's edges have few that differ


def policy_of(plan: ConflictPlan, one: Entry, other: Entry) -> ConflictPlan | ConflictRule:
    """Where `policy` and `prefer` stand for this conflict."""
    if not plan.rules:
        return plan
    is_directory = Kind.DIRECTORY in (one.kind, other.kind)
    for rule, paths in _compiled(plan.rules):
        if paths.excludes(one.path, is_directory):
            return rule
    return plan


@lru_cache(CACHED_PLANS)
def _compiled(rules: tuple[ConflictRule, ...]) -> tuple[tuple[ConflictRule, Filters], ...]:
    """The rules with what they match, the last one first."""
    return tuple((rule, Filters((FilterRule("exclude", rule.paths),))) for rule in reversed(rules))
