"""`syncgraph explain`: which layer set which field of an edge, with file and line. Touches no node."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.fleet import compile_or_stop
from orchestrator.cli.output import echo, json_option, paths_argument, print_json

if TYPE_CHECKING:
    from orchestrator.render.explain import Explained


@click.command("explain")
@click.argument("edge", metavar="EDGE[.FIELD]")
@paths_argument
@json_option
def command(edge: str, paths: tuple[Path, ...], as_json: bool) -> None:
    """Say where an edge's settings come from: each field, its value, the layer and the line that set it.

    EDGE is an id (topology/graph/source~target), the end of one, or a glob. Layers, weakest first: built-in,
    topology defaults, graph, overrides in order, the edge itself.

    \b
    Examples:
      syncgraph explain branch-01~hq-a my-fleet
      syncgraph explain branch-01~hq-a.sync.mode
      syncgraph explain '*/branches/*.filters' --json
    """
    from orchestrator.render.explain import explain, explained_json

    compiled = compile_or_stop(paths, as_json=as_json)
    found = explain(edge, compiled.edges)
    if as_json:
        print_json({"edges": [explained_json(each) for each in found]})
        return
    for position, each in enumerate(found):
        if position:
            echo()
        _show(each)


def _show(explained: Explained) -> None:
    from orchestrator.render.explain import explained_text

    edge = explained.edge
    arrow = "⇄" if edge.direction == "two-way" else "→"
    echo(click.style(edge.id, bold=True))
    echo(f"  {edge.source} {arrow} {edge.target}")
    rows = explained_text(explained)
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    for field, value, layer, place in rows:
        shown = (
            click.style(field.ljust(widths[0]), fg="cyan")
            + "  "
            + value.ljust(widths[1])
            + "  "
            + click.style(layer.ljust(widths[2]), dim=layer == "built-in")
            + "  "
            + click.style(place, dim=True)
        )
        echo(f"  {shown}".rstrip())
