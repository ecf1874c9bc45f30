"""`syncgraph restore`: kept versions brought back, on the node that keeps them."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import click

from orchestrator.adhoc import PATHS_FAILED
from orchestrator.cli.fleet import state_option
from orchestrator.cli.kept import Asked, nothing_kept, parse_moment, show_moment, whom_to_ask
from orchestrator.cli.output import echo, json_option, paths_argument, print_json, size_text
from orchestrator.errors import OperatorError
from schemas.kept import Action, KeptVersions, ListVersions, Restore, Restored, RestoredPath
from schemas.text import printable

_MARKS: dict[Action, tuple[str, str | None]] = {
    "restored": ("+", "green"),
    "unchanged": ("=", None),
    "failed": ("!", "red"),
}


@click.command("restore")
@click.argument("place", metavar="[NODE:]PATH")
@paths_argument
@click.option("--at", metavar="TIME", help="As it was then: 2026-11-22T10:15, 2h, '3 days ago'.")
@click.option(
    "--to", default="", metavar="DIR", help="Into this directory on the node, where nothing is replaced."
)
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be restored, and change nothing.")
@json_option
@state_option
def command(
    place: str,
    paths: tuple[Path, ...],
    at: str | None,
    to: str,
    dry_run: bool,
    as_json: bool,
    state: Path | None,
) -> None:
    """Bring back what a sync overwrote or deleted: a file, or what is below a directory.

    Without --at, a file gets its newest kept version, and a directory whatever is missing in it now. With
    --at, all that is known of that time; files that came later stay. What stands in the way is kept as a
    version first. A restored file is an edit like any other, and goes to the other nodes.

    NODE:PATH asks a node of the fleet that the documents at the second PATH declare; a PATH alone works on
    this machine. Exit codes: 0 done, 1 error or nothing to restore, 3 some paths failed.

    \b
    Examples:
      syncgraph restore hub:/srv/files/plan.txt
      syncgraph restore hub:/srv/files --at '2 hours ago' --dry-run
      syncgraph restore hub:/srv/files/docs my-fleet --at 2026-11-22T10:15 --to /tmp/docs-then
      syncgraph restore ~/notes/todo.txt
    """
    moment = None if at is None else parse_moment(at, time.time())
    with whom_to_ask(place, paths, state, as_json=as_json) as asked:
        if to and ":" not in place.partition("/")[0]:
            to = os.path.abspath(os.path.expanduser(to))
        done, unknown, root = _restore(asked, Restore(asked.path, moment, to, dry_run), quiet=as_json)
        counts = Counter(each.action for each in done)
        if as_json:
            print_json(
                {
                    "root": root,
                    "dryRun": dry_run,
                    "paths": [_json(each) for each in done],
                    **{action: counts[action] for action in _MARKS},
                    "unknown": unknown,
                }
            )
        else:
            _sum_up(done, unknown, place, asked, dry_run=dry_run)
    if counts["failed"]:
        raise click.exceptions.Exit(PATHS_FAILED)
    if not done:
        raise click.exceptions.Exit(1)


def _restore(asked: Asked, request: Restore, *, quiet: bool) -> tuple[list[RestoredPath], int, str]:
    """Ask until all is done, telling as it goes; each answer is a part of it."""
    done: list[RestoredPath] = []
    unknown = 0
    while True:
        reply = asked.ask(request)
        if not isinstance(reply, Restored):
            raise OperatorError("it answers another question than the one that was asked")
        done += reply.paths
        unknown += reply.unknown
        for each in () if quiet else reply.paths:
            echo(_line(each, reply.root))
        if reply.next is None:
            return done, unknown, reply.root
        request = Restore(request.path, request.at, request.to, request.dry_run, reply.next)


def _line(each: RestoredPath, root: str) -> str:
    mark, colour = _MARKS[each.action]
    told = f"as of {show_moment(each.kept_at)}" if each.kept_at is not None else ""
    if each.action != "restored":
        told = printable(each.reason) or "has that content already"
    return f"{click.style(mark, fg=colour)} {printable(f'{root}/{each.path}')}  {click.style(told, dim=True)}"


def _sum_up(done: list[RestoredPath], unknown: int, place: str, asked: Asked, *, dry_run: bool) -> None:
    restored = [each for each in done if each.action == "restored"]
    failed = sum(each.action == "failed" for each in done)
    if not done and not unknown:
        kept = asked.ask(ListVersions(asked.path, 1))
        there = isinstance(kept, KeptVersions) and kept.versions
        missing = f"nothing that is kept of {place} is missing there; --at TIME brings back what was replaced"
        echo(missing if there else nothing_kept(place, asked))
        return
    words = "would be restored" if dry_run else "restored"
    size = size_text(sum(each.size for each in restored))
    parts = [f"{len(restored):,} {'file' if len(restored) == 1 else 'files'} {words}, {size}"]
    if failed:
        parts.append(click.style(f"{failed:,} failed", fg="red", bold=True))
    if unknown:
        parts.append(f"{unknown:,} left as they are: nothing is known of them from that time")
    echo("; ".join(parts))


def _json(each: RestoredPath) -> dict[str, object]:
    return {
        "path": each.path,
        "action": each.action,
        "keptAt": None if each.kept_at is None else show_moment(each.kept_at),
        "size": each.size,
        "reason": each.reason,
    }
