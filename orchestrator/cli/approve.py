"""`syncgraph approve`: let go what the guard of an edge holds back, once a person has seen it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.fleet import accesses, authority_file, compile_or_stop, new_hosts, state_option
from orchestrator.cli.output import echo, json_option, paths_argument, print_json
from orchestrator.errors import OperatorError
from schemas.text import printable

if TYPE_CHECKING:
    from orchestrator.apply.approve import HeldEnd


@click.command("approve")
@click.argument("edge", metavar="EDGE")
@paths_argument
@click.option("--node", metavar="NODE", help="Only what this end of the edge holds back.")
@json_option
@state_option
def command(edge: str, paths: Sequence[Path], node: str | None, as_json: bool, state: Path | None) -> None:
    """Let the deletes and replacements go that `guards.maxDelete` holds back on an edge.

    EDGE is an id (topology/graph/source~target), the end of one, or a glob; `syncgraph status` shows which
    are held. Approved is what was held when it is shown here, once: what comes later is counted anew.
    Exits with 1 if nothing is held, or if a node refused or couldn't be reached.

    \b
    Examples:
      syncgraph approve branch-01~hq-a my-fleet
      syncgraph approve branch-01~hq-a --node hq-a --json
    """
    from orchestrator.apply.approve import approve, find_held
    from orchestrator.render.explain import find_edges

    compiled = compile_or_stop(paths, as_json=as_json)
    edges = find_edges(edge, compiled.edges)
    ends = {end.node for each in edges for end in (each.source, each.target)}
    if node is not None and node not in ends:
        raise OperatorError(f"{node} is no end of {edge}; its ends are {', '.join(sorted(ends))}")
    nodes = {
        name: access for name, access in accesses(compiled).items() if name in ends and node in (None, name)
    }
    doors = authority_file(state, paths).for_doors(nodes.values())
    with asyncio.Runner() as runner:
        hosts = new_hosts(nodes, doors)
        try:
            held, unreachable = runner.run(find_held(hosts, {each.id for each in edges}))
            if not as_json:
                for each in held:
                    _show(each)
            results = runner.run(approve(hosts, held))
        finally:
            runner.run(hosts.close())
    if not results:
        raise OperatorError(_nothing(edge, unreachable))
    if as_json:
        print_json({"approvals": results, "unreachable": unreachable})
    else:
        _report(results, unreachable)
    if unreachable or not all(each.approved for each in results):
        raise click.exceptions.Exit(1)


def _nothing(edge: str, unreachable: dict[str, str]) -> str:
    if not unreachable:
        return f"{edge} holds nothing back; `syncgraph status` shows what does"
    away = "; ".join(f"{node} is out of reach: {reason}" for node, reason in unreachable.items())
    return f"{edge} holds nothing back, as far as its nodes answer; {printable(away)}"


def _show(end: HeldEnd) -> None:
    """What is about to be let go."""
    from orchestrator.render.values import held_text

    held = end.held
    echo(f"{click.style(end.node, bold=True)} {end.edge}: {held_text(held)}")
    for path in held.paths:
        echo(f"  {printable(path)}")
    more = held.deletes + held.replaces + held.directories - len(held.paths)
    if more > 0:
        echo(f"  … and {more:,} more")


def _report(results: Sequence[HeldEnd], unreachable: dict[str, str]) -> None:
    for each in results:
        if each.approved:
            echo(f"{each.node}: {click.style('approved', fg='green')}")
        else:
            echo(f"{each.node}: {click.style('not approved', fg='red')}: {printable(each.reason)}")
    for node, reason in unreachable.items():
        echo(f"{node}: {click.style('out of reach', fg='red')}: {printable(reason)}")
