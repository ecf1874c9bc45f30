"""`syncgraph validate`: what a person and a program see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import syncgraph

INVENTORY = """\
apiVersion: syncgraph/v1
kind: Inventory
metadata: {name: i}
spec: {nodes: [{name: a, address: a.example.net}, {name: b, address: b.example.net}]}
"""
TOPOLOGY = """\
apiVersion: syncgraph/v1
kind: Topology
metadata: {name: t}
spec:
  inventory: [i.yaml]
  graphs:
    - {name: g, shape: bidirectional, between: ["a:/x", "b:/x"]}
"""


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small sound repository, as the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    Path("i.yaml").write_text(INVENTORY)
    Path("t.yaml").write_text(TOPOLOGY)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(syncgraph, ["validate", *arguments])


@pytest.mark.parametrize("arguments", [(), (".",), ("t.yaml",), ("t.yaml", "i.yaml")])
def test_a_sound_repository_is_valid(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout == "Valid: 1 topology, 1 inventory.\n"


def test_an_error_shows_its_line_with_a_caret() -> None:
    Path("t.yaml").write_text(TOPOLOGY.replace("bidirectional", "bidirektional"))
    result = run()
    assert result.exit_code == 1
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[0] == 't.yaml:7:24: error: spec.graphs[0].shape is "bidirektional" [unknown-value]'
    assert lines[1].endswith('- {name: g, shape: bidirektional, between: ["a:/x", "b:/x"]}')
    assert lines[1].index("bidirektional") == lines[2].index("^")
    assert 'did you mean "bidirectional"?' in lines[3]
    assert lines[-1] == "1 error"


def test_the_model_is_asked_once_the_form_is_right() -> None:
    Path("t.yaml").write_text(TOPOLOGY.replace("b:/x", "c:/x"))
    result = run()
    assert result.exit_code == 1
    assert "[unknown-node]" in result.stderr
    assert "t.yaml:7:57: error:" in result.stderr


def test_json_is_one_document() -> None:
    Path("t.yaml").write_text(TOPOLOGY.replace("shape", "shap"))
    result = run("--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["valid"] is False
    assert [each["name"] for each in report["inventories"]] == ["i"]
    problem = report["problems"][0]
    assert (problem["code"], problem["file"], problem["line"], problem["column"]) == (
        "unknown-key",
        "t.yaml",
        7,
        17,
    )
    assert json.loads(run("--json", "i.yaml").stdout)["valid"] is True


def test_colour_is_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[" not in run().output
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[32m" in run().output
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in run().output


def test_a_document_cannot_steer_the_terminal() -> None:
    Path("t.yaml").write_text(TOPOLOGY.replace("bidirectional", '"\\e[2Jx"') + "# \u202e\n", encoding="utf-8")
    result = run()
    assert result.exit_code == 1
    assert "\x1b" not in result.output


@pytest.mark.parametrize(
    "content", [b"[" * 200_000, b"\xff", b"a: &a [*a]", b"\x00", b"a: b: c", b"- &x {<<: *x}"]
)
def test_no_input_makes_a_traceback(content: bytes, repository: Path) -> None:
    Path("bad.yaml").write_bytes(content)
    command = [sys.executable, "-c", "from orchestrator.cli import main; main()", "validate", "bad.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("bad.yaml:1:")
    assert "Traceback" not in result.stderr
    assert result.stderr.rstrip().endswith("1 error")


def test_a_flood_of_problems_is_cut_short_for_people_only() -> None:
    keys = "".join(f"  key{number}: 1\n" for number in range(600))
    Path("t.yaml").write_text(TOPOLOGY + keys)
    text = run().stderr
    assert text.count("[unknown-key]") == 500
    assert "… and 100 more; --json lists them all" in text
    assert len(json.loads(run("--json").stdout)["problems"]) == 600


def test_help_has_an_example() -> None:
    assert "syncgraph validate fleet/topology.yaml" in run("--help").output
