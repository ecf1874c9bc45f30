"""`syncgraph destroy`: every node of the inventory gets an empty plan. No file is touched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from orchestrator.cli.apply import Push, finish
from orchestrator.cli.fleet import accesses, authority_file, compile_or_stop, need_consent, state_option
from orchestrator.cli.output import echo, json_option, paths_argument


@click.command("destroy")
@paths_argument
@click.option("-y", "--yes", is_flag=True, help="Don't ask for confirmation.")
@json_option
@state_option
def command(paths: Sequence[Path], yes: bool, as_json: bool, state: Path | None) -> None:
    """Stop all replication on all nodes of the inventory. The files stay where they are, on every node.

    The nodes stay enrolled, and the next apply starts replication again.

    \b
    Examples:
      syncgraph destroy my-fleet
      syncgraph destroy my-fleet --yes
    """
    from schemas.plans import empty_plan

    need_consent(yes=yes)
    compiled = compile_or_stop(paths, as_json=as_json)
    nothing = {node.name: empty_plan(compiled.fleet, node.name) for node in compiled.nodes}
    report = Push(
        accesses(compiled),
        authority_file(state, paths),
        as_json,
        yes=yes,
        question="Stop all replication? The files stay.",
        desired=nothing,
    ).run()
    if report.applied and not as_json:
        echo("Replication is stopped on the nodes below. Their files, indexes and keys stay.")
    finish(report, as_json=as_json)
