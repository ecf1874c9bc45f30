"""`syncgraph plan` against nodes behind control sockets."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import syncgraph
from schemas.control import Identify
from tests.support.hosts import served_fleet, write_star


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(syncgraph, ["plan", *map(str, arguments)])


def test_changes_are_shown_and_nothing_is_sent(tmp_path: Path) -> None:
    repository = write_star(tmp_path / "repository", tmp_path / "n", "hub", "a", "b")
    with served_fleet(tmp_path / "n", "hub", "a", "b") as fleet:
        shown = run(repository)
        assert shown.exit_code == 0, shown.output
        assert "Plan: 2 to add, 0 to change, 0 to remove" in shown.stdout
        assert "\x1b" not in shown.stdout
        assert all(each.memory.requests == [Identify()] for each in fleet.values())
        assert run(repository, "--detailed-exitcode").exit_code == 2
    assert not (repository / ".syncgraph").exists()


def test_a_node_that_is_down_is_named_and_is_no_error(tmp_path: Path) -> None:
    repository = write_star(tmp_path / "repository", tmp_path / "n", "hub", "a")
    with served_fleet(tmp_path / "n", "hub"):
        shown = run(repository)
    assert shown.exit_code == 0
    assert "syncgraph-node run --state" in shown.stdout


def test_no_changes_is_never_said_of_nodes_that_did_not_answer(tmp_path: Path) -> None:
    repository = write_star(tmp_path / "repository", tmp_path / "n", "hub", "a")
    shown = run(repository)
    assert shown.exit_code == 1
    assert "none of 2 nodes answered" in shown.stdout
    assert run(repository, "--detailed-exitcode").exit_code == 1


def test_json_and_the_file_are_the_same_document(tmp_path: Path) -> None:
    repository = write_star(tmp_path / "repository", tmp_path / "n", "hub", "a")
    with served_fleet(tmp_path / "n", "hub", "a"):
        shown = run(repository, "--json", "-o", tmp_path / "plan.json")
    printed = json.loads(shown.stdout)
    assert printed == json.loads((tmp_path / "plan.json").read_text())
    assert printed["summary"]["add"] == 1
    assert [node["name"] for node in printed["nodes"]] == ["a", "hub"]


@pytest.mark.parametrize("name", ["nowhere/plan.json", "repository"])
def test_a_file_that_can_t_be_written_is_named(tmp_path: Path, name: str) -> None:
    repository = write_star(tmp_path / "repository", tmp_path / "n", "hub", "a")
    with served_fleet(tmp_path / "n", "hub", "a"):
        shown = run(repository, "-o", tmp_path / name)
    assert shown.exit_code != 0
    assert name in str(shown.exception) + shown.output


def test_documents_with_errors_stop_before_any_node_is_asked(tmp_path: Path) -> None:
    repository = write_star(tmp_path / "repository", tmp_path / "n", "hub", "a")
    text = (repository / "topology.yaml").read_text()
    (repository / "topology.yaml").write_text(text.replace('hub: "hub:', 'hub: "hubb:'))
    with served_fleet(tmp_path / "n", "hub", "a") as fleet:
        shown = run(repository)
        assert shown.exit_code == 1
        assert fleet["hub"].memory.requests == []
    assert "topology.yaml:" in shown.output


def test_help_shows_examples() -> None:
    assert "Examples:" in run("--help").output
