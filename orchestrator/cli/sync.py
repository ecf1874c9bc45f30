"""`syncgraph sync`: two directories in step, now, without YAML."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from orchestrator.cli.output import colour_wanted, echo, json_option, print_json, size_text
from schemas.text import printable

if TYPE_CHECKING:
    from schemas.adhoc import Moving, PlannedChange, Request, Summary

SHOWN = 20
_MARKS = {  # as `syncgraph plan` has them
    "create": ("+", "green"),
    "update": ("~", "yellow"),
    "metadata": ("~", "yellow"),
    "delete": ("-", "red"),
    "conflict": ("!", "yellow"),
}


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option("--both", is_flag=True, help="Let changes flow both ways.")
@click.option("--watch", is_flag=True, help="Go on, following changes, until Ctrl-C.")
@click.option("--dry-run", "-n", is_flag=True, help="List what would be done; change neither tree.")
@click.option(
    "--delete/--no-delete",
    default=None,
    help="Whether deletions travel. One way, --delete also removes what only DST has. "
    "[default: --no-delete one way, --delete with --both]",
)
@click.option(
    "--max-delete",
    metavar="N|P%",
    help="Stop before more files than this, or this share of them, are deleted or replaced in a tree.",
)
@click.option(
    "--exclude", multiple=True, metavar="PATTERN", help="Leave out, as .gitignore would. Repeatable."
)
@click.option(
    "--conflict",
    type=click.Choice(["keep-both", "newest", "hold"]),
    default="keep-both",
    show_default=True,
    help="With --both: what becomes of a file that was edited on both sides.",
)
@click.option(
    "--whole-file/--no-whole-file",
    default=None,
    help="Whether a changed file crosses whole, rather than the parts that differ. "
    "[default: whole between two local directories]",
)
@click.option("--fsync", is_flag=True, help="Wait until everything has reached the disk.")
@click.option(
    "--ssh", "-e", default="ssh", show_default=True, help='The ssh client and its options: "ssh -p 2222".'
)
@click.option(
    "--remote-command",
    default="syncgraph-node",
    show_default=True,
    help="The node runtime's program on the far side, where it isn't on its PATH.",
)
@json_option
def command(
    source: str,
    target: str,
    both: bool,
    watch: bool,
    dry_run: bool,
    delete: bool | None,
    max_delete: str | None,
    exclude: tuple[str, ...],
    conflict: str,
    whole_file: bool | None,
    fsync: bool,
    ssh: str,
    remote_command: str,
    as_json: bool,
) -> None:
    """Bring the contents of DST in step with those of SRC.

    Each is a directory here, or [user@]host:path over ssh (at most one of them). The contents are synced,
    as rsync does for "SRC/". What is overwritten or deleted is kept for 30 days in .syncgraph/versions.

    A dry run lists each change: + created, ~ changed, - deleted, ! edited on both sides, old → new renamed.

    Exit codes: 0 in step, 1 error, 3 some paths failed or --max-delete stopped it, 4 conflicts are held.

    \b
    Examples:
      syncgraph sync ./site web-1:/srv/site
      syncgraph sync ./site web-1:/srv/site --delete --dry-run
      syncgraph sync ./site web-1:/srv/site --delete --max-delete 10%
      syncgraph sync ~/notes laptop:notes --both --watch
    """
    from orchestrator import adhoc

    if watch and dry_run:
        raise click.UsageError("--watch and --dry-run exclude each other.")
    request = adhoc.request_for(
        source,
        target,
        both=both,
        delete=both if delete is None else delete,
        watch=watch,
        dry_run=dry_run,
        durable=fsync,
        whole_file=whole_file,
        conflict=conflict,
        exclude=exclude,
        max_delete=max_delete,
        ssh=ssh,
        remote_command=remote_command,
    )
    summary = _run(request, quiet=as_json)
    if as_json:
        print_json(_as_json(summary))
    else:
        _print(summary)
    sys.exit(adhoc.exit_code(summary))


def _run(request: Request, *, quiet: bool) -> Summary:
    """Carry out a request, showing how far it is."""
    from orchestrator import adhoc
    from schemas.adhoc import Summary

    summary: Summary | None = None
    with _progress(quiet=quiet) as show:
        for event in adhoc.run(request):
            if isinstance(event, Summary):
                summary = event
            else:
                show(event)  # type: ignore[arg-type]  # a Failure is raised, not yielded
    assert summary is not None, "run ends with a summary or raises"
    return summary


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[Moving], None]]:
    """A bar on a terminal, nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield lambda moving: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True, no_color=not colour_wanted(err=True))
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("{task.fields[files]} files"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("scanning", total=None, files=0)

        def show(moving: Moving) -> None:
            whole = moving.bytes_on_wire + moving.pending_bytes
            progress.update(
                task,
                description=moving.state,
                completed=moving.bytes_on_wire,
                total=whole or None,
                files=f"{moving.files}/{moving.files + moving.pending_files}",
            )

        yield show


def _as_json(summary: Summary) -> dict[str, object]:
    import msgspec

    document: dict[str, object] = msgspec.to_builtins(summary)
    document.pop("event")
    if not summary.dry_run:
        del document["planned"], document["plannedMore"]
    return document


def _print(summary: Summary) -> None:
    for change in summary.planned:
        echo(_planned(change))
    if summary.planned_more:
        echo(f"… and {summary.planned_more:,} more")
    for conflict in summary.conflicts[:SHOWN]:
        copy = conflict.copy
        kept = f"the other version is kept as {printable(copy)}" if copy else "held: edited on both sides"
        echo(f"{click.style('conflict', fg='yellow')}  {printable(conflict.path)}  {kept}")
    for problem in summary.failed[:SHOWN]:
        echo(f"{click.style('failed', fg='red')}    {printable(problem.path)}  {printable(problem.reason)}")
    more = len(summary.failed) - SHOWN
    if more > 0:
        echo(f"          and {more} more; --json lists them all")
    if summary.held:
        advice = "look with --dry-run, then run it again with a larger --max-delete or without it"
        echo(
            f"{click.style('stopped', fg='red')}   {printable(summary.held)}; none of that was done: {advice}"
        )
    echo(_verdict(summary))


def _planned(change: PlannedChange) -> str:
    """One line: what would become of a path."""
    where = "  in SRC" if change.end == "source" else ""
    if change.former is not None:
        arrow = click.style("→", fg="yellow")
        return f"{printable(change.former)} {arrow} {printable(change.path)}{where}"
    mark, colour = _MARKS[change.action]
    return f"{click.style(mark, fg=colour)} {printable(change.path)}{where}"


def _verdict(summary: Summary) -> str:
    """One line: what was done, in words that hold for a dry run too."""
    counts = [
        (summary.files, "file", "files"),
        (summary.directories, "directory", "directories"),
    ]
    parts = [f"{n:,} {one if n == 1 else many}" for n, one, many in counts if n]
    if summary.bytes:
        parts.append(f"{size_text(summary.bytes)} ({size_text(summary.bytes_on_wire)} over the wire)")
    parts += [
        f"{n:,} {what}" for n, what in ((summary.renamed, "renamed"), (summary.deleted, "deleted")) if n
    ]
    done = ", ".join(parts) or "nothing to do"
    if summary.dry_run:
        return f"{click.style('dry run', bold=True)}: {done}"
    if summary.failed:
        word = click.style(f"{len(summary.failed):,} failed", fg="red", bold=True)
    elif summary.held:
        word = click.style("stopped", fg="red", bold=True)
    elif any(conflict.copy is None for conflict in summary.conflicts):
        word = click.style("conflicts are held", fg="yellow", bold=True)
    else:
        word = click.style("in step", fg="green", bold=True)
    return f"{word}: {done}, in {summary.seconds:.1f} s"
