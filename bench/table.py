"""The cases by name, in the order in which they run: the quick ones first."""

from __future__ import annotations

from bench.case import Case
from bench.cases_apply import apply_fleet
from bench.cases_engine import changed_files, many_files
from bench.cases_plan import hub, mesh, start
from bench.cases_sync import large_files, many_small, nothing_changed

CASES = (
    Case("start", "`syncgraph --version` and `validate` of a 50-line topology", start),
    Case("plan-hub", "validate + plan, hub with 5,000 spokes", hub),
    Case("plan-mesh", "validate + plan, full mesh of 200", mesh),
    Case("apply", "`apply` to 50 runtimes on this machine", apply_fleet),
    Case("sync-small", "`sync` of 20,000 files of 10 KB", many_small),
    Case("sync-again", "`sync` again, nothing changed, 100,000 files", nothing_changed),
    Case("sync-large", "`sync` of 2 GB in 100 MB files", large_files),
    Case("changed", "a file of 1 GB of which little has changed", changed_files),
    Case("million", "10,000 to 1,000,000 files: first met, unchanged, hardly changed", many_files),
)
