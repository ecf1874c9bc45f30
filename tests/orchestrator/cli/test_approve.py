"""`syncgraph approve`: what is shown, what is sent to whom, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import syncgraph
from orchestrator.errors import OperatorError
from schemas.control import Approve
from schemas.status import EdgeStatus, HeldChanges
from tests.support.hosts import FarSide, served_fleet, write_star

EDGE = "fleet/star/hub~a"
HELD = HeldChanges("n.123", 120, 3, 1, ("docs/a.txt", "docs/b\x1b.txt"))


@pytest.fixture(autouse=True)
def _passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCGRAPH_PASSPHRASE", "correct horse battery staple")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(syncgraph, [str(argument) for argument in arguments])


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write_star(tmp_path / "repository", tmp_path / "n", "hub", "a")


@pytest.fixture
def fleet(tmp_path: Path, repository: Path) -> Iterator[dict[str, FarSide]]:
    with served_fleet(tmp_path / "n", "hub", "a") as served:
        run("apply", repository, "-y")
        served["a"].memory.edges = (EdgeStatus(EDGE, "held", "hub", held=HELD),)
        yield served


def approvals(fleet: dict[str, FarSide], node: str) -> list[Approve]:
    return [each for each in fleet[node].memory.requests if isinstance(each, Approve)]


def test_what_waits_is_shown_and_exactly_that_is_let_go(fleet: dict[str, FarSide], repository: Path) -> None:
    shown = run("approve", "hub~a", repository)
    assert shown.exit_code == 0, shown.output
    assert f"a {EDGE}: 120 deletes, 3 replaced files, 1 directory" in shown.stdout
    assert "  docs/a.txt\n  docs/b\N{REPLACEMENT CHARACTER}.txt\n  … and 122 more\n" in shown.stdout
    assert "a: approved" in shown.stdout
    assert approvals(fleet, "a") == [Approve(EDGE, "n.123")]
    assert approvals(fleet, "hub") == []


def test_programs_read_what_was_let_go(fleet: dict[str, FarSide], repository: Path) -> None:
    [approval] = json.loads(run("approve", EDGE, repository, "--json").stdout)["approvals"]
    assert (approval["node"], approval["edge"], approval["approved"]) == ("a", EDGE, True)
    assert (approval["held"]["deletes"], approval["held"]["replaces"]) == (120, 3)


def test_nothing_held_is_an_error(fleet: dict[str, FarSide], repository: Path) -> None:
    only_hub = run("approve", "hub~a", repository, "--node", "hub")
    assert isinstance(only_hub.exception, OperatorError)
    assert "holds nothing back" in str(only_hub.exception)
    fleet["a"].memory.edges = ()
    fleet["hub"].memory.unreachable = "no route"
    assert "holds nothing back" in str(run("approve", "hub~a", repository).exception)
    assert "no end of hub~a; its ends are a, hub" in str(
        run("approve", "hub~a", repository, "--node", "b").exception
    )
    assert 'did you mean "' in str(run("approve", "hub~aa", repository).exception)


def test_a_hold_that_grew_since_is_refused_by_its_node(
    fleet: dict[str, FarSide], repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = fleet["a"].memory
    answer = node.answer

    def grows(request: object) -> object:
        reply = answer(request)  # type: ignore[arg-type]
        node.edges = ()
        return reply

    monkeypatch.setattr(node, "answer", grows)
    shown = run("approve", "hub~a", repository)
    assert shown.exit_code == 1
    assert "a: not approved: fleet/star/hub~a holds nothing back" in shown.stdout


def test_status_says_what_is_held(fleet: dict[str, FarSide], repository: Path) -> None:
    shown = run("status", repository)
    assert f"a {EDGE}: 120 deletes, 3 replaced files, 1 directory held: docs/a.txt" in shown.stdout
    assert "attention" in shown.stdout
