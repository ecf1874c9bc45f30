"""`syncgraph conflicts`: which there are over the fleet, with evidence, and the way to end one."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from orchestrator.cli.fleet import accesses, authority_file, compile_or_stop, new_hosts, state_option
from orchestrator.cli.output import echo, json_option, print_json, size_text
from orchestrator.errors import OperatorError
from schemas.text import printable

if TYPE_CHECKING:
    from orchestrator.apply.access import Hosts
    from orchestrator.apply.conflicts import FleetConflict, Listing, Side
    from orchestrator.apply.resolve import Ended
    from orchestrator.model import Compiled

Answer = TypeVar("Answer")

_EDGE = re.compile(r"[^/~]~[^/~]")  # an edge's name holds a "~" between two others; a backup's ends with it

repository_option = click.option(
    "-C",
    "--repository",
    type=click.Path(path_type=Path),
    multiple=True,
    help="File or directory with the documents; the working directory unless given.",
)


class _ListUnlessNamed(click.Group):
    """Whatever isn't the name of a command is what `list` shall show."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = args and (args[0] in self.commands or args[0] in ("-h", "--help"))
        return super().parse_args(ctx, args if named else ["list", *args])


@click.group("conflicts", cls=_ListUnlessNamed, subcommand_metavar="[EDGE|PATTERN]... | resolve PATH")
def command() -> None:
    """Show which files were edited in two places at once, and end such conflicts.

    \b
    Examples:
      syncgraph conflicts
      syncgraph conflicts hq-a~branch-03 '*.docx' --json
      syncgraph conflicts resolve notes/minutes.txt --keep winner
    """


@command.command("list")
@click.argument("wanted", metavar="[EDGE|PATTERN]...", nargs=-1)
@repository_option
@json_option
@state_option
def list_command(
    wanted: tuple[str, ...], repository: tuple[Path, ...], as_json: bool, state: Path | None
) -> None:
    """Show the conflicts of the fleet: both contents, who edited them, when, and what they knew of.

    EDGE is an id (topology/graph/source~target), or the end of one; PATTERN a gitignore pattern over paths.
    Exits with 1 if a node can't be reached.

    \b
    Examples:
      syncgraph conflicts
      syncgraph conflicts '/reports/**' -C my-fleet
      syncgraph conflicts --json | jq '.conflicts[].path'
    """
    edges = tuple(each for each in wanted if _EDGE.search(each))
    patterns = tuple(each for each in wanted if each not in edges)
    for pattern in patterns:
        _check_pattern(pattern)
    compiled = compile_or_stop(repository, as_json=as_json)
    ids = _edge_ids(compiled, edges)

    async def ask(hosts: Hosts) -> Listing:
        from orchestrator.apply.conflicts import look

        return await look(hosts, compiled.node_plans, edges=ids, patterns=patterns)

    listing = _converse(compiled, repository, state, ask)
    if as_json:
        print_json(listing.document)
    else:
        _show(listing)
    if listing.unreachable:
        raise click.exceptions.Exit(1)


@command.command("resolve")
@click.argument("path")
@click.option(
    "--keep",
    required=True,
    metavar="winner|copy|both|NODE",
    help="With a copy: winner, copy or both. Held: the node whose content stays.",
)
@click.option(
    "--node", metavar="NODE", help="The node to do it on; needed where PATH is in conflict in several trees."
)
@repository_option
@json_option
@state_option
def resolve_command(
    path: str, keep: str, node: str | None, repository: tuple[Path, ...], as_json: bool, state: Path | None
) -> None:
    """End the conflict at PATH, the file's or the copy's, on all nodes.

    What goes is kept in the versions of each replica, as with any delete. With `both` the copy gets an
    ordinary name: "report (from hq-a, 2026-11-22 15.53.01).txt".

    \b
    Examples:
      syncgraph conflicts resolve notes/minutes.txt --keep winner
      syncgraph conflicts resolve notes/minutes.txt --keep both -C my-fleet
      syncgraph conflicts resolve reports/q3.ods --keep hq-a
    """
    compiled = compile_or_stop(repository, as_json=as_json)

    async def act(hosts: Hosts) -> tuple[Ended, ...]:
        from orchestrator.apply.conflicts import look
        from orchestrator.apply.resolve import decide, tell

        listing = await look(hosts, compiled.node_plans)
        for silent in listing.unreachable:
            echo(f"{silent.node}: out of reach: {printable(silent.reason)}", err=True)
        orders = decide(listing.known, path, keep, node, compiled.node_plans)
        return await tell(hosts, orders, keep)

    ended = _converse(compiled, repository, state, act)
    if as_json:
        print_json({"ended": ended})
        return
    for each in ended:
        what = f"{each.kept} kept" if each.kept != "both" else f"both kept, the copy as {each.moved_to}"
        echo(f"{printable(each.path)}: {printable(what)} (on {each.node}; the others follow)")


def _converse(
    compiled: Compiled,
    repository: Sequence[Path],
    state: Path | None,
    job: Callable[[Hosts], Awaitable[Answer]],
) -> Answer:
    """Run a conversation with the nodes, and hang up."""
    nodes = accesses(compiled)
    doors = authority_file(state, repository).for_doors(nodes.values())

    async def run() -> Answer:
        hosts = new_hosts(nodes, doors)
        try:
            return await job(hosts)
        finally:
            await hosts.close()

    return asyncio.run(run())


def _check_pattern(pattern: str) -> None:
    from schemas.forms import FORMS

    try:
        FORMS["gitignore"](pattern)
    except ValueError as error:
        raise OperatorError(f'"{pattern}" is neither an edge nor a pattern over paths: {error}') from None


def _edge_ids(compiled: Compiled, names: Sequence[str]) -> frozenset[str]:
    """The edges that are meant."""
    from orchestrator.render.explain import explain

    return frozenset(each.edge.id for name in names for each in explain(name, compiled.edges))


def _show(listing: Listing) -> None:
    for known in listing.known:
        _show_one(known.conflict)
    for silent in listing.unreachable:
        echo(click.style(f"{silent.node}: out of reach: {printable(silent.reason)}", fg="red"))
    held = sum(known.conflict.held for known in listing.known)
    copies = len(listing.known) - held
    counts = [f"{copies:,} with a copy" if copies else "", f"{held:,} held" if held else ""]
    if listing.more:
        counts.append(f"and {listing.more:,} more that aren't listed; narrow it down with a pattern")
    summary = ", ".join(filter(None, counts))
    if not summary:
        echo("No conflicts.")
        return
    total = len(listing.known)
    echo(click.style(f"{total:,} conflict{'' if total == 1 else 's'}: {summary}", bold=True))
    keep = "winner|copy|both" if not held else "winner|copy|both|NODE" if copies else "NODE"
    echo(f"End one with: syncgraph conflicts resolve PATH --keep {keep}")


def _show_one(conflict: FleetConflict) -> None:
    where = ", ".join(conflict.replicas)
    state = click.style("held", fg="magenta") if conflict.held else "seen"
    echo(f"{click.style(printable(conflict.path), bold=True)}  {state} on {printable(where)}")
    if not conflict.held and conflict.sides[0].role == "copy":
        echo("  winner  deleted since")
    for side in conflict.sides:
        label = (
            side.role if not conflict.held else ", ".join(each.partition(":")[0] for each in side.replicas)
        )
        echo(
            f"  {click.style(printable(label).ljust(6), fg='cyan')}"
            f"  {_size(side)}, edited on {printable(side.origin)} at {_moment(side.modified_at)}"
        )
        if side.role == "copy":
            echo(f"          {printable(side.path)}")
        for line in _knowledge(side, conflict):
            echo(f"          {click.style(printable(line), dim=True)}")


def _knowledge(side: Side, conflict: FleetConflict) -> list[str]:
    """What a content's version says, in words."""
    if side.role == "winner":
        return []
    if side.role == "copy":
        by = " and ".join(f"on {edit.node or 'a replica that was not asked'}" for edit in side.knows)
        at = min(edit.at for edit in side.knows)
        return [f"set aside {by} at {_moment(at)}: neither edit knew of the other"]
    mine = {edit.node: edit.at for edit in side.knows}
    unknown = {
        edit
        for other in conflict.sides
        if other is not side
        for edit in other.knows
        if edit.at > mine.get(edit.node, 0)
    }
    return [
        f"didn't know of the edit on {edit.node or 'a replica that was not asked'} at {_moment(edit.at)}"
        for edit in sorted(unknown, key=lambda edit: (edit.at, edit.node))
    ]


def _size(side: Side) -> str:
    return size_text(side.size_bytes) if side.kind == "file" else f"a {side.kind}"


def _moment(at: float) -> str:
    """UTC, as the names of conflict copies say it. A peer may have chosen the time: it may be none."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))
    except (OverflowError, ValueError, OSError):
        return "a time out of range"
