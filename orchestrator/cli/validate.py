"""`syncgraph validate`: every problem of the documents, with its place; exit code 1 if one is an error."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.output import (
    echo,
    has_errors,
    json_option,
    paths_argument,
    print_json,
    print_problems,
    problem_json,
)
from schemas.errors import Problem

if TYPE_CHECKING:
    from orchestrator.load import Loaded


@click.command()
@paths_argument
@json_option
def command(paths: tuple[Path, ...], as_json: bool) -> None:
    """Check topologies and inventories: files, or directories with all *.yaml and *.yml below them.

    Reads the inventories that the topologies name. Touches no node. Exits with 1 if there is an error;
    warnings alone exit with 0.

    \b
    Examples:
      syncgraph validate                     # the working directory
      syncgraph validate fleet/topology.yaml
      syncgraph validate --json fleet | jq '.problems[].message'
    """
    from orchestrator.load import load

    loaded = load(paths or (".",))
    problems = list(loaded.problems)
    if not has_errors(problems):  # what stands on a broken document can't be judged
        from orchestrator.model import check_all

        problems += check_all(loaded)
    if as_json:
        print_json(_report(loaded, problems))
    else:
        print_problems(problems)
        if not has_errors(problems):
            echo(f"{click.style('Valid:', fg='green', bold=True)} {_counts(loaded)}.")
    if has_errors(problems):
        raise click.exceptions.Exit(1)


def _report(loaded: Loaded, problems: list[Problem]) -> dict[str, Any]:
    return {
        "valid": not has_errors(problems),
        "topologies": [
            {"file": each.file, "name": each.document.metadata.name} for each in loaded.topologies
        ],
        "inventories": [
            {"file": each.file, "name": each.document.metadata.name} for each in loaded.inventories
        ],
        "problems": [problem_json(problem) for problem in problems],
    }


def _counts(loaded: Loaded) -> str:
    topologies, inventories = len(loaded.topologies), len(loaded.inventories)
    return (
        f"{topologies:,} {'topology' if topologies == 1 else 'topologies'}, "
        f"{inventories:,} {'inventory' if inventories == 1 else 'inventories'}"
    )
