"""`syncgraph status`: what a person and a program see, and the exit code."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.apply.overview import NodeAnswer, Overall, add_up
from orchestrator.cli import syncgraph
from orchestrator.cli.output import size_text
from orchestrator.cli.status import age_text
from orchestrator.errors import OperatorError
from schemas.status import ConflictReport, EdgeStatus, NodeStatus, PathProblem, ReplicaStatus
from tests.support.hosts import served_fleet, write_star

EDGE = "fleet/star/hub~a"
DEADLINE_S = 20.0


@pytest.fixture(autouse=True)
def _passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCGRAPH_PASSPHRASE", "correct horse battery staple")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(syncgraph, [str(argument) for argument in arguments])


def answer(*edges: EdgeStatus, problem: str = "", drift: bool = False) -> NodeAnswer:
    replicas = (ReplicaStatus("/srv/data", 1, 1, 1, problem),)
    status = NodeStatus("a", "0.1.0", 1, "d", 0.0, None, edges, replicas)
    return NodeAnswer("a", status, drift=drift)


@pytest.mark.parametrize(
    ("answers", "overall"),
    [
        ([answer()], "in-step"),
        ([answer(EdgeStatus(EDGE, "in-step", "hub"))], "in-step"),
        ([answer(EdgeStatus(EDGE, "waiting", "hub"))], "in-step"),
        ([answer(EdgeStatus(EDGE, "syncing", "hub"))], "working"),
        ([answer(EdgeStatus(EDGE, "in-step", "hub", pending_files=1))], "working"),
        ([answer(EdgeStatus(EDGE, "held", "hub"))], "attention"),
        ([answer(EdgeStatus(EDGE, "in-step", "hub", failed_count=2))], "attention"),
        ([answer(problem="the root is missing")], "attention"),
        ([answer(drift=True)], "attention"),
        ([answer(EdgeStatus(EDGE, "failed", "hub"))], "failed"),
        ([answer(), NodeAnswer("b", None, "no route")], "failed"),
    ],
)
def test_what_it_adds_up_to(answers: list[NodeAnswer], overall: Overall) -> None:
    assert add_up(answers).overall == overall
    assert add_up(answers).healthy == (overall != "failed")


def test_a_table_for_people(tmp_path: Path) -> None:
    repository = write_star(tmp_path / "repository", tmp_path / "n", "hub", "a")
    with served_fleet(tmp_path / "n", "hub", "a") as fleet:
        run("apply", repository, "-y")
        fleet["a"].memory.edges = (
            EdgeStatus(
                EDGE,
                "syncing",
                "hub",
                pending_files=1200,
                pending_bytes=3_400_000,
                failed=(PathProblem("big.iso", "no space left"),),
                failed_count=1,
                conflicts=(ConflictReport("notes.txt", "notes.sync-conflict.txt"),),
                conflict_count=1,
            ),
        )
        shown = run("status", repository)
    assert shown.exit_code == 0, shown.output
    assert "1,200 files, 3.4 MB" in shown.stdout
    assert "big.iso: no space left" in shown.stdout
    assert "kept as notes.sync-conflict.txt" in shown.stdout
    assert "attention: 2 nodes" in shown.stdout
    assert "\x1b" not in shown.stdout


def test_a_node_out_of_reach_is_exit_code_1(tmp_path: Path) -> None:
    repository = write_star(tmp_path / "repository", tmp_path / "n", "hub", "a")
    with served_fleet(tmp_path / "n", "hub"):
        shown = run("status", repository, "--json")
    assert shown.exit_code == 1
    status = json.loads(shown.stdout)
    assert status["overall"] == "failed"
    assert [node["node"] for node in status["nodes"] if node["unreachable"]] == ["a"]


def test_documents_that_moved_on_show_as_drift(tmp_path: Path) -> None:
    repository = write_star(tmp_path / "repository", tmp_path / "n", "hub", "a")
    with served_fleet(tmp_path / "n", "hub", "a"):
        assert "to apply to" in run("status", repository).stdout
        run("apply", repository, "-y")
        assert "to apply to" not in run("status", repository).stdout
        write_star(repository, tmp_path / "n", "hub", "a", deletes="keep")
        shown = run("status", repository)
    assert "2 nodes to apply to" in shown.stdout
    assert shown.exit_code == 0


def test_watching_is_for_people() -> None:
    assert isinstance(run("status", "--watch", "--json").exception, OperatorError)


def test_watching_redraws_until_interrupted(tmp_path: Path) -> None:
    repository = write_star(tmp_path / "repository", tmp_path / "n", "hub", "a")
    with served_fleet(tmp_path / "n", "hub", "a") as fleet:
        run("apply", repository, "-y")
        fleet["a"].memory.edges = (EdgeStatus(EDGE, "syncing", "hub", pending_bytes=2_000_000),)
        ours, theirs = pty.openpty()
        program = "from orchestrator.cli import main; main()"
        with subprocess.Popen(
            [sys.executable, "-c", program, "status", "--watch", str(repository)],
            cwd=Path(__file__).parents[3],
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "30"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        ) as watching:
            os.close(theirs)
            try:
                read_until(ours, "2.0 MB to go")
                fleet["a"].memory.edges = (EdgeStatus(EDGE, "in-step", "hub"),)
                read_until(ours, "1 of 1 edge ends in step")
                watching.send_signal(signal.SIGINT)
                assert watching.wait(DEADLINE_S) == 0
            finally:
                watching.kill()
                os.close(ours)


def read_until(terminal: int, text: str) -> None:
    """Read what is drawn until `text` is among it."""
    drawn = ""
    deadline = time.monotonic() + DEADLINE_S
    while text not in drawn:
        left = deadline - time.monotonic()
        ready, _, _ = select.select([terminal], [], [], max(0.0, left))
        assert ready, drawn
        drawn += os.read(terminal, 65536).decode(errors="replace")


def test_ages_and_sizes_are_short() -> None:
    assert [age_text(then, 100_000.0) for then in (None, 99_999.5, 99_900.0, 90_000.0, 0.0)] == [
        "never",
        "0s ago",
        "1m ago",
        "2h ago",
        "1d ago",
    ]
    assert [size_text(size) for size in (0, 999, 1000, 2_500_000, 10**12, 5 * 10**15)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "2.5 MB",
        "1.0 TB",
        "5000.0 TB",
    ]
