"""`syncgraph status`: what the nodes are doing, once or live."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.fleet import accesses, authority_file, compile_or_stop, new_hosts, state_option
from orchestrator.cli.output import colour_wanted, json_option, paths_argument, print_json, size_text
from orchestrator.errors import OperatorError

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

    from orchestrator.apply.access import Hosts
    from orchestrator.apply.overview import FleetStatus, Overall
    from schemas.plans import NodePlan
    from schemas.status import EdgeState, EdgeStatus, HeldChanges

WATCH_INTERVAL_S = 1.0
SHOWN_HELD = 5  # paths of a hold
BAR_WIDTH = 20  # columns
COLUMNS = ("NODE", "EDGE", "STATE", "PENDING", "LAST IN STEP", "CONFLICTS", "FAILED", "")
PIPE_WIDTH = 200  # columns where no terminal gives its width: nothing is cut for a program that reads

STATE_STYLES: dict[EdgeState, str] = {
    "waiting": "dim",
    "connecting": "yellow",
    "scanning": "cyan",
    "syncing": "cyan",
    "in-step": "green",
    "held": "magenta",
    "failed": "bold red",
}
OVERALL_STYLES: dict[Overall, str] = {
    "in-step": "bold green",
    "working": "bold cyan",
    "attention": "bold magenta",
    "failed": "bold red",
}


@click.command("status")
@paths_argument
@click.option("-w", "--watch", is_flag=True, help="Show it live until Ctrl-C.")
@json_option
@state_option
def command(paths: Sequence[Path], watch: bool, as_json: bool, state: Path | None) -> None:
    """Show what the nodes are doing.

    Exits with 1 if a node can't be reached or an edge has failed.

    \b
    Examples:
      syncgraph status
      syncgraph status my-fleet --watch
      syncgraph status --json | jq '.overall'
    """
    if watch and as_json:
        raise OperatorError("--watch is for people and --json for programs; take one of them")
    compiled = compile_or_stop(paths, as_json=as_json)
    nodes = accesses(compiled)
    doors = authority_file(state, paths).for_doors(nodes.values())
    console = _console()
    with asyncio.Runner() as runner:
        hosts = new_hosts(nodes, doors)
        try:
            if watch:
                with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how watching ends
                    runner.run(_watch(hosts, compiled.node_plans, console))
                return
            status = runner.run(_look(hosts, compiled.node_plans))
        finally:
            runner.run(hosts.close())
    if as_json:
        print_json(status)
    else:
        console.print(status_view(status, time.time(), {}))
    if not status.healthy:
        raise click.exceptions.Exit(1)


async def _look(hosts: Hosts, desired: dict[str, NodePlan]) -> FleetStatus:
    from orchestrator.apply.overview import look

    return await look(hosts, desired)


async def _watch(hosts: Hosts, desired: dict[str, NodePlan], console: Console) -> None:
    """Redraw until interrupted. Each edge's bar measures against the most that it had pending meanwhile."""
    from rich.live import Live

    most_pending: dict[tuple[str, str], int] = {}
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            status = await _look(hosts, desired)
            for node, edge in ends(status):
                key = node, edge.edge
                most_pending[key] = max(most_pending.get(key, 0), edge.pending_bytes)
                if not edge.pending_bytes:
                    most_pending[key] = 0
            live.update(status_view(status, time.time(), most_pending), refresh=True)
            await asyncio.sleep(WATCH_INTERVAL_S)


def ends(status: FleetStatus) -> list[tuple[str, EdgeStatus]]:
    """Every end of every edge, the ends of one edge together."""
    found = [(each.node, edge) for each in status.nodes if each.status for edge in each.status.edges]
    return sorted(found, key=lambda end: (end[1].edge, end[0]))


def status_view(status: FleetStatus, now: float, most_pending: dict[tuple[str, str], int]) -> Group:
    """The status for a person: a table of ends, then what asks for attention, then one line for all."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Table | Text] = []
    if status.ends:
        parts.append(_table(status, now, most_pending))
    for answer in status.nodes:
        if answer.unreachable:
            parts.append(Text(f"{answer.node}: out of reach: {answer.unreachable}", style="red"))
        elif answer.drift:
            parts.append(
                Text(f"{answer.node}: runs another plan than the documents ask for; apply", style="magenta")
            )
        for replica in answer.status.replicas if answer.status else ():
            if replica.problem:
                parts.append(Text(f"{answer.node}:{replica.path}: {replica.problem}", style="red"))
    for node, edge in ends(status):
        if edge.held is not None:
            parts.append(Text(f"{node} {edge.edge}: {held_line(edge.held)}", style="magenta"))
        parts += [
            Text(f"{node} {edge.edge}: {each.path}: {each.reason}", style="red") for each in edge.failed
        ]
        parts += [
            Text(f"{node} {edge.edge}: conflict at {each.path}: {_kept(each.copy)}", style="magenta")
            for each in edge.conflicts
        ]
    parts.append(Text(overall_line(status), style=OVERALL_STYLES[status.overall]))
    return Group(*parts)


def overall_line(status: FleetStatus) -> str:
    """The whole fleet in one line."""
    away = sum(bool(answer.unreachable) for answer in status.nodes)
    drifting = sum(answer.drift for answer in status.nodes)
    parts = [_count(len(status.nodes), "node"), f"{status.in_step:,} of {status.ends:,} edge ends in step"]
    for number, one, rest in (
        (away, "node", " out of reach"),
        (drifting, "node", " to apply to"),
        (status.pending_files, "file", " pending"),
        (status.conflicts, "conflict", ""),
        (status.failed_paths, "path", " failed"),
    ):
        if number:
            parts.append(_count(number, one) + rest)
    if status.pending_bytes:
        parts.append(f"{size_text(status.pending_bytes)} to go")
    return f"{status.overall}: {', '.join(parts)}"


def _table(status: FleetStatus, now: float, most_pending: dict[tuple[str, str], int]) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    rows: list[tuple[Text | ProgressBar, ...]] = []
    for node, edge in ends(status):
        most = most_pending.get((node, edge.edge), 0)
        rows.append(
            (
                Text(node),
                Text(edge.edge),
                Text(edge.state, style=STATE_STYLES[edge.state]),
                Text(_pending(edge)),
                Text(age_text(edge.in_step_at, now)),
                Text(str(edge.conflict_count or "")),
                Text(str(edge.failed_count or "")),
                ProgressBar(total=most, completed=most - edge.pending_bytes, width=BAR_WIDTH)
                if most
                else Text(edge.detail, style="dim"),
            )
        )
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    filled = [index for index in range(len(COLUMNS)) if any(row[index] for row in rows)]
    for index in filled:  # an empty column would only take width from the names
        table.add_column(COLUMNS[index], overflow="fold")
    for row in rows:
        table.add_row(*(row[index] for index in filled))
    return table


def _count(number: int, one: str) -> str:
    return f"{number:,} {one}" if number == 1 else f"{number:,} {one}s"


def _pending(edge: EdgeStatus) -> str:
    if not edge.pending_files and not edge.pending_bytes:
        return ""
    return f"{_count(edge.pending_files, 'file')}, {size_text(edge.pending_bytes)}"


def held_line(held: HeldChanges) -> str:
    """What waits for `syncgraph approve`, and which paths to begin with."""
    from orchestrator.render.values import held_text

    paths = ", ".join(held.paths[:SHOWN_HELD])
    more = held.deletes + held.replaces + held.directories - min(len(held.paths), SHOWN_HELD)
    return f"{held_text(held)} held: {paths}{f' and {more:,} more' if more else ''}"


def _kept(copy: str | None) -> str:
    return f"the other content is kept as {copy}" if copy else "held; nothing was changed"


def age_text(then: float | None, now: float) -> str:
    """How long ago, in the largest unit that fits."""
    if then is None:
        return "never"
    age_s = max(0, int(now - then))
    for unit_s, letter in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if age_s >= unit_s:
            return f"{age_s // unit_s}{letter} ago"
    return f"{age_s}s ago"


def _console() -> Console:
    from rich.console import Console

    colour = colour_wanted()
    console = Console(no_color=not colour, force_terminal=colour or None, highlight=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console
