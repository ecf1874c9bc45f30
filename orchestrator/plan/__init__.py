"""Plans: the difference between what is declared and what runs, as data. Pure.

Reading order: `change` (what a plan is), `diff` (how it comes about).
"""

from orchestrator.plan.change import (
    Change,
    FieldChange,
    Observed,
    OutOfReach,
    Plan,
    Step,
    Summary,
    decode_plan,
    stale_because,
)
from orchestrator.plan.diff import CERTIFICATE_LIFETIME_S, diff

__all__ = [
    "CERTIFICATE_LIFETIME_S",
    "Change",
    "FieldChange",
    "Observed",
    "OutOfReach",
    "Plan",
    "Step",
    "Summary",
    "decode_plan",
    "diff",
    "stale_because",
]
