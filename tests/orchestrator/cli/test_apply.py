"""`syncgraph apply` against nodes behind control sockets: consent, kept plans, secrets."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import syncgraph
from orchestrator.errors import OperatorError
from schemas.control import Apply, Identify
from tests.support.hosts import served_fleet, write_star

PASSPHRASE = "correct horse battery staple"


@pytest.fixture(autouse=True)
def _passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCGRAPH_PASSPHRASE", PASSPHRASE)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(syncgraph, [str(argument) for argument in arguments])


def failure(result: Result) -> str:
    """What the operator is told: `main` prints this and exits with 1."""
    assert isinstance(result.exception, OperatorError), result.output
    return str(result.exception)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write_star(tmp_path / "repository", tmp_path / "n", "hub", "a", "b")


def test_apply_then_apply_again(tmp_path: Path, repository: Path) -> None:
    with served_fleet(tmp_path / "n", "hub", "a", "b") as fleet:
        first = run("apply", repository, "-y")
        assert first.exit_code == 0, first.output
        assert "Apply: 3 applied." in first.stdout
        for each in fleet.values():
            assert each.memory.generation == 1
            each.memory.requests.clear()
        second = run("apply", repository, "-y")
        assert second.exit_code == 0
        assert "o changes" in second.stdout
        assert all(each.memory.requests == [Identify()] for each in fleet.values())
        assert run("plan", repository, "--detailed-exitcode").exit_code == 0


def test_without_a_terminal_consent_has_to_be_given(tmp_path: Path, repository: Path) -> None:
    with served_fleet(tmp_path / "n", "hub", "a", "b") as fleet:
        assert "--yes" in failure(run("apply", repository))
        assert fleet["hub"].memory.requests == []


def test_one_node_away_is_exit_code_1_and_the_others_are_applied(tmp_path: Path, repository: Path) -> None:
    with served_fleet(tmp_path / "n", "hub", "a") as fleet:
        shown = run("apply", repository, "-y", "--json")
        assert shown.exit_code == 1
        report = json.loads(shown.stdout)
        assert (report["applied"], report["unreachable"]) == (2, 1)
        assert {node["node"]: node["outcome"] for node in report["nodes"]}["b"] == "unreachable"
        assert fleet["a"].memory.generation == 1


def test_a_wrong_passphrase_changes_nothing(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served_fleet(tmp_path / "n", "hub", "a", "b") as fleet:
        run("apply", repository, "-y")
        write_star(repository, tmp_path / "n", "hub", "a", "b", deletes="keep")
        monkeypatch.setenv("SYNCGRAPH_PASSPHRASE", "not the passphrase")
        assert "passphrase doesn't open" in failure(run("apply", repository, "-y"))
        assert fleet["hub"].memory.generation == 1


def test_a_lost_authority_is_not_quietly_replaced(tmp_path: Path, repository: Path) -> None:
    with served_fleet(tmp_path / "n", "hub", "a", "b") as fleet:
        run("apply", repository, "-y")
        for file in (repository / ".syncgraph").iterdir():
            file.unlink()
        shown = run("apply", repository, "-y")
        assert shown.exit_code == 1
        assert "another authority" in shown.stdout
        assert not (repository / ".syncgraph" / "authority").exists()
        assert fleet["hub"].memory.generation == 1


def test_a_kept_plan_is_applied_as_it_was_reviewed(tmp_path: Path, repository: Path) -> None:
    kept = tmp_path / "plan.json"
    with served_fleet(tmp_path / "n", "hub", "a", "b") as fleet:
        assert run("plan", repository, "-o", kept).exit_code == 0
        write_star(repository, tmp_path / "n", "hub", "a", "b", deletes="keep")
        shown = run("apply", kept, "--state", repository / ".syncgraph")
        assert shown.exit_code == 0, shown.output
        assert all('"deletes"' not in each.memory.plan for each in fleet.values())
        assert "stale" in failure(run("apply", kept))
        assert {each.memory.generation for each in fleet.values()} == {1}


def test_a_kept_plan_that_was_edited_or_cut_is_refused(tmp_path: Path, repository: Path) -> None:
    kept = tmp_path / "plan.json"
    with served_fleet(tmp_path / "n", "hub", "a", "b") as fleet:
        run("plan", repository, "-o", kept)
        whole = kept.read_text()
        kept.write_text(whole.replace("/srv/data", "/srv/date"))
        assert "was changed after it was made" in failure(run("apply", kept))
        kept.write_text(whole[: len(whole) // 2])
        assert "isn't a plan" in failure(run("apply", kept))
        assert "by itself" in failure(run("apply", kept, repository))
        assert all(Apply not in map(type, each.memory.requests) for each in fleet.values())


def test_a_kept_plan_goes_with_its_authority(tmp_path: Path, repository: Path) -> None:
    kept = tmp_path / "plan.json"
    with served_fleet(tmp_path / "n", "hub", "a", "b"):
        run("apply", repository, "-y")
        write_star(repository, tmp_path / "n", "hub", "a", "b", deletes="keep")
        run("plan", repository, "-o", kept)
        assert "holds none" in failure(run("apply", kept, "--state", tmp_path / "elsewhere"))
        assert run("apply", kept).exit_code == 0


def test_no_secret_is_written_or_sent(tmp_path: Path, repository: Path) -> None:
    with served_fleet(tmp_path / "n", "hub", "a", "b") as fleet:
        shown = run("apply", repository, "-y")
        run("plan", repository, "-o", tmp_path / "plan.json")
        sent = "".join(str(request) for each in fleet.values() for request in each.memory.requests)
    written = {
        path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()
    }
    key = written.pop(repository / ".syncgraph" / "authority")
    assert b"OPENSSH PRIVATE KEY" in key
    body = key.splitlines()[1]
    for content in (*written.values(), shown.output.encode(), sent.encode()):
        assert PASSPHRASE.encode() not in content
        assert b"PRIVATE KEY" not in content
        assert body not in content
    assert PASSPHRASE.encode() not in key
