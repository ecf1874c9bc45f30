"""`syncgraph graph`, as it is called."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.cli import syncgraph
from orchestrator.errors import OperatorError

CHAIN = str(Path(__file__).parents[3] / "topologies" / "chain.yaml")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(syncgraph, ["graph", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize(
    ("arguments", "begins"),
    [
        ([], "flowchart LR\n"),
        (["--format", "mermaid"], "flowchart LR\n"),
        (["--format", "dot"], 'digraph "chain" {\n'),
        (["--format", "svg"], "<svg "),
    ],
)
def test_each_language_to_standard_output(arguments: list[str], begins: str) -> None:
    assert run(CHAIN, *arguments).startswith(begins)


@pytest.mark.parametrize(
    ("name", "begins"), [("x.svg", "<svg "), ("x.dot", "digraph"), ("x.mmd", "flowchart"), ("x", "flowchart")]
)
def test_a_file_says_its_language_by_its_suffix(tmp_path: Path, name: str, begins: str) -> None:
    assert run(CHAIN, "-o", str(tmp_path / name)) == ""
    assert (tmp_path / name).read_text("utf-8").startswith(begins)


def test_an_unknown_suffix_is_refused_without_a_format(tmp_path: Path) -> None:
    out = tmp_path / "x.pdf"
    with pytest.raises(OperatorError, match=r"can't draw \.pdf; .*\.svg.*--format"):
        run(CHAIN, "-o", str(out))
    assert not out.exists()
    run(CHAIN, "-o", str(out), "--format", "dot")
    assert out.read_text("utf-8").startswith("digraph")


def test_the_format_outweighs_the_suffix(tmp_path: Path) -> None:
    run(CHAIN, "-o", str(tmp_path / "x.svg"), "--format", "dot")
    assert (tmp_path / "x.svg").read_text("utf-8").startswith("digraph")


def test_a_file_that_can_not_be_written_is_the_operators_affair(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="No such file or directory"):
        run(CHAIN, "-o", str(tmp_path / "missing" / "x.svg"))


def test_problems_stop_it_with_their_listing(tmp_path: Path) -> None:
    shutil.copy(Path(CHAIN).with_name("offices.yaml"), tmp_path)
    file = tmp_path / "t.yaml"
    file.write_text(Path(CHAIN).read_text("utf-8").replace("hq-b:", "hq-bb:"), encoding="utf-8")
    result = CliRunner().invoke(syncgraph, ["graph", str(file)], catch_exceptions=False)
    assert result.exit_code == 1
    assert "flowchart" not in result.stdout
    assert 'did you mean "hq-b"?' in result.stderr


def test_help_has_an_example() -> None:
    assert "syncgraph graph my-fleet -o fleet.svg" in run("--help")
