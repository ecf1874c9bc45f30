"""`syncgraph conflicts`: what a person and a program see, and what is said of words that mean nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import syncgraph
from orchestrator.errors import OperatorError
from schemas.conflicts import Conflict, Conflicts, Content, ListConflicts, ResolveConflict
from tests.support.hosts import FarSide, served_fleet, write_star

EDGE = "fleet/star/hub~a"
WINNER = Content(
    "notes.txt", "file", 1_200, 1_795_362_790.0, "a", "aa", ((1, 1_795_362_781), (2, 1_795_362_790))
)
COPY = Content("notes.copy.txt", "file", 30, 1_795_362_781.0, "hub", "bb", ((1, 1_795_362_800),))
OURS = Content("q3.ods", "file", 10, 1_795_362_781.0, "hub", "cc", ((1, 1_795_362_781),))
THEIRS = Content("q3.ods", "symlink", 0, 2.0**62, "a\x1b[31m", "dd", ((2, 1_795_362_790),))
SEEN = (
    Conflict("/srv/data", "notes.txt", WINNER, COPY),
    Conflict("/srv/data", "q3.ods", OURS, THEIRS, "a", EDGE),
)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[dict[str, FarSide]]:
    write_star(tmp_path / "repository", tmp_path / "n", "hub", "a", "b")
    with served_fleet(tmp_path / "n", "hub", "a", "b") as served:
        served["b"].memory.conflicts = Conflicts((), 0, {"/srv/data": 3})
        served["hub"].memory.conflicts = Conflicts(SEEN, 0, {"/srv/data": 1})
        served["a"].memory.conflicts = Conflicts((), 0, {"/srv/data": 2})
        yield served


def run(tmp_path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        syncgraph, ["conflicts", *arguments, "-C", str(tmp_path / "repository")], catch_exceptions=False
    )


def test_a_list_for_people(tmp_path: Path, fleet: dict[str, FarSide]) -> None:
    done = run(tmp_path)
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "notes.txt  seen on hub:/srv/data",
        "  winner  1.2 kB, edited on a at 2026-11-22 15:53:10 UTC",
        "  copy    30 B, edited on hub at 2026-11-22 15:53:01 UTC",
        "          notes.copy.txt",
        "          set aside on hub at 2026-11-22 15:53:20 UTC: neither edit knew of the other",
        "q3.ods  held on hub:/srv/data",
        "  a       a symlink, edited on a\N{REPLACEMENT CHARACTER}[31m at a time out of range",
        "          didn't know of the edit on hub at 2026-11-22 15:53:01 UTC",
        "  hub     10 B, edited on hub at 2026-11-22 15:53:01 UTC",
        "          didn't know of the edit on a at 2026-11-22 15:53:10 UTC",
        "2 conflicts: 1 with a copy, 1 held",
        "End one with: syncgraph conflicts resolve PATH --keep winner|copy|both|NODE",
    ]


def test_a_list_for_programs_and_what_was_asked(tmp_path: Path, fleet: dict[str, FarSide]) -> None:
    done = run(tmp_path, "hub~a", "*.txt", "--json")
    listed = json.loads(done.stdout)
    assert [each["path"] for each in listed["conflicts"]] == ["notes.txt", "q3.ods"]
    listed = json.loads(run(tmp_path, "hub~b", "--json").stdout)
    assert [each["path"] for each in listed["conflicts"]] == ["notes.txt"], "the held one is of another edge"
    assert fleet["hub"].memory.requests[:1] == [ListConflicts(("/srv/data",), ("*.txt",))]


def test_a_node_that_does_not_answer(tmp_path: Path, fleet: dict[str, FarSide]) -> None:
    fleet["a"].memory.conflicts = None
    done = run(tmp_path)
    assert done.exit_code == 1
    assert "a: out of reach: it answers another question" in done.stdout


def test_nothing_to_show(tmp_path: Path, fleet: dict[str, FarSide]) -> None:
    fleet["hub"].memory.conflicts = Conflicts((), 0, {})
    assert run(tmp_path).stdout == "No conflicts.\n"
    fleet["hub"].memory.conflicts = Conflicts(SEEN[:1], 12, {})
    assert "and 12 more that aren't listed" in run(tmp_path).stdout


def test_ending_one(tmp_path: Path, fleet: dict[str, FarSide]) -> None:
    done = run(tmp_path, "resolve", "notes.txt", "--keep", "both")
    assert done.stdout == "notes.txt: both kept, the copy as elsewhere (on hub; the others follow)\n"
    assert fleet["hub"].memory.requests[-1] == ResolveConflict(SEEN[0], "both")
    done = run(tmp_path, "resolve", "q3.ods", "--keep", "hub", "--json")
    assert json.loads(done.stdout)["ended"] == [
        {"path": "q3.ods", "copy": "", "kept": "hub", "node": "hub", "movedTo": "elsewhere"}
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("no~edge",), 'no edge is called "no~edge"'),
        (("[z-a]",), "neither an edge nor a pattern over paths"),
        (("resolve", "x", "--keep", "winner"), "there is no conflict at x"),
        (("resolve", "q3.ods", "--keep", "both"), "name the node whose content stays"),
    ],
)
def test_what_nobody_could_mean(
    tmp_path: Path, fleet: dict[str, FarSide], arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(OperatorError) as failure:
        run(tmp_path, *arguments)
    assert message in str(failure.value)


def test_help_has_an_example() -> None:
    for arguments in (["conflicts", "-h"], ["conflicts", "resolve", "-h"], ["conflicts", "list", "-h"]):
        done = CliRunner().invoke(syncgraph, arguments)
        assert done.exit_code == 0
        assert "Examples:" in done.stdout
