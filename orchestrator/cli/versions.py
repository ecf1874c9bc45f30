"""`syncgraph versions`: what is kept of a file, or of everything below a directory. Changes nothing."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.fleet import state_option
from orchestrator.cli.kept import nothing_kept, show_moment, whom_to_ask
from orchestrator.cli.output import echo, json_option, paths_argument, print_json, size_text
from orchestrator.errors import OperatorError
from schemas.kept import MAX_LISTED, KeptVersion, KeptVersions, ListVersions
from schemas.text import printable


@click.command("versions")
@click.argument("place", metavar="[NODE:]PATH")
@paths_argument
@click.option(
    "--limit",
    type=click.IntRange(1, MAX_LISTED),
    default=1000,
    show_default=True,
    help="How many versions to list; the rest is counted.",
)
@json_option
@state_option
def command(place: str, paths: tuple[Path, ...], limit: int, as_json: bool, state: Path | None) -> None:
    """List what a sync overwrote or deleted at PATH, or below it, and kept.

    NODE:PATH asks a node of the fleet that the documents at the second PATH declare; a PATH alone looks at
    this machine. The time of a version can be given to `syncgraph restore --at`.

    \b
    Examples:
      syncgraph versions hub:/srv/files/plan.txt
      syncgraph versions hub:/srv/files my-fleet --json
      syncgraph versions ~/notes
    """
    with whom_to_ask(place, paths, state, as_json=as_json) as asked:
        reply = asked.ask(ListVersions(asked.path, limit))
        if not isinstance(reply, KeptVersions):
            raise OperatorError("it answers another question than the one that was asked")
        if as_json:
            print_json(
                {
                    "root": reply.root,
                    "versions": [_json(each) for each in reply.versions],
                    "more": reply.more,
                    "bytes": reply.bytes,
                }
            )
        elif reply.versions:
            _show(reply)
        else:
            echo(nothing_kept(place, asked))


def _json(version: KeptVersion) -> dict[str, object]:
    return {
        "path": version.path,
        "keptAt": show_moment(version.kept_at),
        "why": version.why,
        "size": version.size,
        "modifiedAt": show_moment(version.modified_at),
    }


def _show(reply: KeptVersions) -> None:
    path = None
    for version in reply.versions:
        if version.path != path:
            path = version.path
            echo(click.style(printable(f"{reply.root}/{path}"), bold=True))
        why = click.style(version.why.ljust(8), fg="red" if version.why == "deleted" else "yellow")
        modified = click.style(f"modified {show_moment(version.modified_at)}", dim=True)
        echo(f"  {show_moment(version.kept_at)}  {why}  {size_text(version.size):>9}  {modified}")
    if reply.more:
        echo(f"… and {reply.more:,} more; --limit lists up to {MAX_LISTED:,}, a longer PATH fewer")
    count = len(reply.versions) + reply.more
    echo(f"{count:,} {'version' if count == 1 else 'versions'}, {size_text(reply.bytes)}")
