"""`syncgraph destroy` against nodes behind control sockets."""

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import syncgraph
from orchestrator.errors import OperatorError
from schemas.plans import NodePlan
from tests.support.hosts import served_fleet, write_star


@pytest.fixture(autouse=True)
def _passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCGRAPH_PASSPHRASE", "correct horse battery staple")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(syncgraph, [str(argument) for argument in arguments])


def test_every_node_gets_an_empty_plan_and_stays_enrolled(tmp_path: Path) -> None:
    repository = write_star(tmp_path / "repository", tmp_path / "n", "hub", "a")
    with served_fleet(tmp_path / "n", "hub", "a") as fleet:
        run("apply", repository, "-y")
        shown = run("destroy", repository, "-y")
        assert shown.exit_code == 0, shown.output
        assert "files" in shown.stdout
        assert "stay" in shown.stdout
        for each in fleet.values():
            plan = msgspec.json.decode(each.memory.plan, type=NodePlan)
            assert (plan.edges, plan.peers, plan.fleet) == ((), {}, "fleet")
            assert each.memory.generation == 2
            assert each.memory.authority
            each.memory.requests.clear()
        again = run("destroy", repository, "-y")
        assert again.exit_code == 0
        assert fleet["a"].memory.generation == 2
        assert run("apply", repository, "-y").exit_code == 0
        assert fleet["a"].memory.generation == 3


def test_a_fleet_that_was_never_applied_needs_nothing(tmp_path: Path) -> None:
    repository = write_star(tmp_path / "repository", tmp_path / "n", "hub", "a")
    with served_fleet(tmp_path / "n", "hub", "a") as fleet:
        assert run("destroy", repository, "-y").exit_code == 0
        assert fleet["hub"].memory.authority == ""


def test_without_a_terminal_consent_has_to_be_given(tmp_path: Path) -> None:
    repository = write_star(tmp_path / "repository", tmp_path / "n", "hub", "a")
    with served_fleet(tmp_path / "n", "hub", "a"):
        assert isinstance(run("destroy", repository).exception, OperatorError)
