"""`syncgraph explain`, as it is called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.cli import syncgraph
from orchestrator.errors import OperatorError

BRANCHES = Path(__file__).parents[3] / "topologies" / "branch-files.yaml"


def run(*arguments: str) -> str:
    result = CliRunner().invoke(syncgraph, ["explain", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def line_of(text: str) -> int:
    lines = BRANCHES.read_text("utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_each_setting_names_its_layer_file_and_line() -> None:
    lines = run("branch-40~hq-a", str(BRANCHES)).splitlines()
    assert lines[0] == "branch-files/branches/branch-40~hq-a"
    assert lines[1].strip() == "branch-40:/data → hq-a:/branches/branch-40"
    mode = next(line for line in lines if "sync.mode " in line)
    assert "scheduled" in mode
    assert "override lte-every-half-hour" in mode
    assert f"{BRANCHES}:{line_of('mode: scheduled')}:" in mode
    policy = next(line for line in lines if "conflict.policy" in line)
    assert f"{BRANCHES}:{line_of('policy: keep-both')}:" in policy
    assert "built-in" in next(line for line in lines if "deletes" in line)


def test_one_field_as_json() -> None:
    document = json.loads(run("branch-40~hq-a.sync.jitter", str(BRANCHES), "--json"))
    ((field,),) = [edge["fields"] for edge in document["edges"]]
    assert (field["value"], field["layer"]) == ("2m", "override lte-every-half-hour")
    assert (field["file"], field["line"]) == (str(BRANCHES), line_of("jitter: 2m"))


def test_a_glob_shows_every_edge() -> None:
    document = json.loads(run("*/labs/*.deletes", str(BRANCHES), "--json"))
    assert len(document["edges"]) == 6


def test_an_unknown_edge_offers_the_nearest() -> None:
    with pytest.raises(OperatorError, match='did you mean "branch-40~hq-a"'):
        run("brnch-40~hq-a", str(BRANCHES))


def test_help_has_an_example() -> None:
    assert "syncgraph explain branch-01~hq-a my-fleet" in run("--help")
