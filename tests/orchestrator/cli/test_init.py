"""`syncgraph init`: what it writes is sound, and nothing is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.cli import init, syncgraph
from orchestrator.errors import OperatorError
from orchestrator.load import load
from orchestrator.model import check_all


@pytest.mark.parametrize("name", ["fleet", "My Fleet (2)", "2026", "null", "---", "x" * 100])
def test_what_is_written_is_valid_without_a_warning(tmp_path: Path, name: str) -> None:
    directory = tmp_path / name
    result = CliRunner().invoke(syncgraph, ["init", "--", str(directory)])
    assert result.exit_code == 0, result.output
    loaded = load([directory])
    assert (len(loaded.topologies), len(loaded.inventories)) == (1, 1)
    assert [*loaded.problems, *check_all(loaded)] == []


def test_editors_find_the_schemas(tmp_path: Path) -> None:
    CliRunner().invoke(syncgraph, ["init", str(tmp_path / "fleet")])
    for name in ("topology", "inventory"):
        line = (tmp_path / "fleet" / f"{name}.yaml").read_text().splitlines()[0]
        schema = line.partition("$schema=")[2]
        shipped = CliRunner().invoke(syncgraph, ["schema", name]).stdout
        assert (tmp_path / "fleet" / schema).read_text() == shipped


@pytest.mark.parametrize("name", ["topology.yaml", "README.md", ".gitignore"])
def test_nothing_is_overwritten_and_nothing_half_written(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(OperatorError, match="already there; nothing was written"):
        init.command.main([str(tmp_path)], standalone_mode=False)
    assert [each.name for each in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_an_existing_directory_is_filled(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert CliRunner().invoke(syncgraph, ["init", str(tmp_path)]).exit_code == 0
    assert (tmp_path / "inventory.yaml").is_file()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OperatorError, match="can't be written"):
        init.command.main([str(tmp_path / "file" / "fleet")], standalone_mode=False)
