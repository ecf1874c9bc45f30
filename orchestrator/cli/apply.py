"""`syncgraph apply`: push what the documents, or a kept plan, ask for."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.fleet import (
    AuthorityFile,
    accesses,
    authority_file,
    compile_or_stop,
    confirm_or_stop,
    need_consent,
    new_hosts,
    state_option,
)
from orchestrator.cli.output import echo, json_option, paths_argument, print_json
from orchestrator.cli.plan import show_plan
from orchestrator.errors import OperatorError

if TYPE_CHECKING:
    from orchestrator.apply.access import NodeAccess
    from orchestrator.apply.report import ApplyReport, NodeResult, Outcome
    from orchestrator.apply.saved import SavedPlan
    from orchestrator.plan import Observed, Plan
    from schemas.plans import NodePlan

OUTCOME_COLOURS: dict[Outcome, str] = {
    "applied": "green",
    "unchanged": "white",
    "failed": "red",
    "unreachable": "red",
}
PROGRESS_FROM_NODES = 5  # below this the answer is there before a bar would be


@click.command("apply")
@paths_argument
@click.option("-y", "--yes", is_flag=True, help="Don't ask for confirmation.")
@json_option
@state_option
def command(paths: Sequence[Path], yes: bool, as_json: bool, state: Path | None) -> None:
    """Push the plans to the nodes.

    PATH is a document, a directory of documents, or a plan kept by `syncgraph plan -o`. A kept plan is what
    was reviewed, so it is applied without a question; it is refused if a node has changed since.

    The first apply makes the fleet's certificate authority. Its passphrase is asked for, or taken from
    SYNCGRAPH_PASSPHRASE or from the file that SYNCGRAPH_PASSPHRASE_FILE names.

    \b
    Examples:
      syncgraph apply
      syncgraph apply my-fleet --yes
      syncgraph plan -o plan.json && syncgraph apply plan.json
    """
    from orchestrator.apply.saved import is_saved_plan, load_saved

    kept = [path for path in paths if is_saved_plan(path)]
    if kept and len(paths) > 1:
        raise OperatorError(f"{kept[0]} is a kept plan; apply it by itself")
    if kept:
        saved = load_saved(kept[0])
        authority = authority_file(state or existing_state(saved), ())
        check_authority(saved, authority)
        push = Push({node.name: node for node in saved.nodes}, authority, as_json, yes=True, saved=saved)
    else:
        need_consent(yes=yes)
        compiled = compile_or_stop(paths, as_json=as_json)
        push = Push(
            accesses(compiled), authority_file(state, paths), as_json, yes=yes, desired=compiled.node_plans
        )
    finish(push.run(), as_json=as_json)


@dataclass(frozen=True)
class Push:
    """One push: from a kept plan, or from what is desired. Exactly one of the two is given."""

    nodes: Mapping[str, NodeAccess]
    authority: AuthorityFile
    as_json: bool
    yes: bool
    question: str = "Apply these changes?"
    saved: SavedPlan | None = None
    desired: Mapping[str, NodePlan] | None = None

    def run(self) -> ApplyReport:
        """Ask the nodes, show what would change, ask the person, push."""
        from orchestrator.apply.observe import observe
        from orchestrator.apply.report import summarise, untouched

        hosts = new_hosts(self.nodes, self.authority.for_doors(self.nodes.values(), create=True))
        with asyncio.Runner() as runner:
            try:
                observations = runner.run(observe(hosts, self.authority.public_key))
                plan = self._plan({name: each.observed for name, each in observations.items()})
                if not self.as_json:
                    show_plan(plan)
                if plan.empty:
                    return summarise(untouched(plan))
                if not self.yes:
                    runner.run(hosts.close())  # a person may take longer than a server waits
                    confirm_or_stop(self.question)
                authority = self.authority.open(create=True)
                from orchestrator.apply.rollout import roll_out

                with progress_bar(plan.summary.nodes, quiet=self.as_json) as advance:
                    return summarise(
                        runner.run(roll_out(hosts, authority, plan, observations, time.time(), advance))
                    )
            finally:
                runner.run(hosts.close())

    def _plan(self, observed: Mapping[str, Observed]) -> Plan:
        from orchestrator.plan import diff, stale_because

        if self.saved is None:
            assert self.desired is not None
            return diff(self.desired, observed, now=time.time())
        stale = stale_because(self.saved.plan, observed)
        if stale:
            raise OperatorError(f"the plan is stale: {stale}")
        return self.saved.plan


def existing_state(saved: SavedPlan) -> Path | None:
    """The state directory that a plan was made with, where it exists on this machine."""
    state = Path(saved.state)
    return state if state.is_dir() else None


def check_authority(saved: SavedPlan, authority: AuthorityFile) -> None:
    """A plan made with one authority can't be pushed by another."""
    if saved.authority and saved.authority != authority.public_key:
        found = "holds another" if authority.public_key else "holds none"
        raise OperatorError(
            f"the plan was made with the certificate authority in {saved.state}, and "
            f"{authority.state} {found}; name the right directory by --state"
        )


def finish(report: ApplyReport, *, as_json: bool) -> None:
    """Print what became of a push, and leave with 1 unless every node runs what it should."""
    from orchestrator.apply.report import report_lines

    if as_json:
        print_json(report)
    elif report.applied or not report.complete:
        echo()
        for outcome, line in report_lines(report):
            echo(click.style(line, fg=OUTCOME_COLOURS[outcome]) if outcome else f"\n{line}")
    if not report.complete:
        raise click.exceptions.Exit(1)


@contextmanager
def progress_bar(nodes: int, *, quiet: bool) -> Iterator[Callable[[NodeResult], None]]:
    """A bar that counts nodes, on a terminal; nothing elsewhere."""
    if quiet or nodes < PROGRESS_FROM_NODES or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("Applying"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[node]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("apply", total=nodes, node="")

        def advance(result: NodeResult) -> None:
            if result.outcome != "unchanged":
                progress.update(task, advance=1, node=result.node)

        yield advance
