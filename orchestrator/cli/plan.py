"""`syncgraph plan`: what an apply would change, shown, or kept in a file for later."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.fleet import (
    AuthorityFile,
    accesses,
    authority_file,
    compile_or_stop,
    new_hosts,
    state_option,
)
from orchestrator.cli.output import colour_wanted, echo, json_option, paths_argument, print_json

if TYPE_CHECKING:
    from orchestrator.apply.access import NodeAccess
    from orchestrator.plan import Plan
    from schemas.plans import NodePlan

EXIT_ERROR = 1
EXIT_CHANGES = 2  # with --detailed-exitcode, as Terraform has it


@click.command("plan")
@paths_argument
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Keep the plan in FILE, to apply exactly this later.",
)
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 if there are changes.")
@json_option
@state_option
def command(
    paths: Sequence[Path], out: Path | None, detailed_exitcode: bool, as_json: bool, state: Path | None
) -> None:
    """Show what an apply would change. Nothing is changed.

    Every node of the inventory is asked what it runs. PATH is a document or a directory of documents.
    Exits with 1 if no node answers; with --detailed-exitcode also if some don't and the others need no
    change.

    \b
    Examples:
      syncgraph plan
      syncgraph plan my-fleet -o plan.json
      syncgraph plan --detailed-exitcode    # 0 no changes, 1 error, 2 changes
    """
    from orchestrator.apply.saved import save, seal

    compiled = compile_or_stop(paths, as_json=as_json)
    nodes = accesses(compiled)
    authority = authority_file(state, paths)
    plan = asyncio.run(make_plan(nodes, compiled.node_plans, authority))
    if out is not None or as_json:
        saved = seal(plan, nodes, state=authority.state, authority_key=authority.public_key, now=time.time())
        if out is not None:
            save(out, saved)
        if as_json:
            print_json(saved)
    if not as_json:
        show_plan(plan)
        if out is not None:
            echo(f"\nKept in {out}. To apply exactly this: syncgraph apply {out}")
    code = exit_code(plan, detailed=detailed_exitcode)
    if code:
        raise click.exceptions.Exit(code)


def exit_code(plan: Plan, *, detailed: bool) -> int:
    """What a script should know. "No changes" is only said of nodes that answered."""
    if plan.unreachable and not plan.steps:
        return EXIT_ERROR
    if not detailed:
        return 0
    if not plan.empty:
        return EXIT_CHANGES
    return EXIT_ERROR if plan.unreachable else 0


async def make_plan(
    nodes: Mapping[str, NodeAccess], desired: Mapping[str, NodePlan], authority: AuthorityFile
) -> Plan:
    """Ask all nodes, and compare."""
    from orchestrator.apply.observe import observe
    from orchestrator.plan import diff

    hosts = new_hosts(nodes, authority.for_doors(nodes.values()))
    try:
        observations = await observe(hosts, authority.public_key)
    finally:
        await hosts.close()
    return diff(desired, {name: each.observed for name, each in observations.items()}, now=time.time())


def show_plan(plan: Plan) -> None:
    """Print a plan for a person."""
    from orchestrator.render import plan_text

    echo(plan_text(plan, colour_wanted()))
