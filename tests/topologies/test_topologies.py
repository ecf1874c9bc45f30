"""The ready-made topologies: each loads without a word, draws, and plans what its README row says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.load import load
from orchestrator.model import compile_fleet
from orchestrator.plan import Observed, diff
from orchestrator.render import plan_text, svg
from schemas.topology import SHAPE_KEYS

ROOT = Path(__file__).parents[2] / "topologies"
FILES = sorted(ROOT.glob("*.yaml"))
TOPOLOGIES = [file for file in FILES if "kind: Topology" in file.read_text("utf-8")]

EDGES = {
    "one-way": 1,
    "bidirectional": 1,
    "hub-and-spoke": 40,
    "full-mesh": 6,
    "tree": 44,
    "chain": 3,
    "ring": 4,
    "branch-files": 49,
    "cdn-static": 168,
}


@pytest.mark.parametrize("file", TOPOLOGIES, ids=lambda file: file.stem)
def test_each_validates_and_plans(file: Path) -> None:
    loaded = load([file])
    assert loaded.problems == ()
    compiled = compile_fleet(loaded)
    assert compiled.problems == []
    assert compiled.fleet == file.stem
    assert len(compiled.edges) == EDGES[file.stem]
    plan = diff(compiled.node_plans, {node: Observed(node) for node in compiled.node_plans}, now=0.0)
    assert plan.summary.add == EDGES[file.stem]
    assert f"{EDGES[file.stem]} to add" in plan_text(plan)
    assert svg(compiled).startswith("<svg")


def test_there_is_one_for_every_shape() -> None:
    assert set(SHAPE_KEYS) <= {file.stem for file in TOPOLOGIES}
    assert {file.stem for file in TOPOLOGIES} == set(EDGES)
    for shape in SHAPE_KEYS:
        assert re.search(rf"^ +shape: {shape}$", (ROOT / f"{shape}.yaml").read_text("utf-8"), re.MULTILINE)


def test_all_together_are_one_sound_fleet() -> None:
    loaded = load([ROOT])
    assert loaded.problems == ()
    compiled = compile_fleet(loaded)
    assert compiled.problems == []
    assert len(compiled.edges) == sum(EDGES.values())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_editors_find_the_schema(file: Path) -> None:
    first = file.read_text("utf-8").splitlines()[0]
    match = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert match
    assert (ROOT / match[1]).is_file()


def test_the_readme_has_a_row_for_each() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    for file in FILES:
        assert f"[{file.name}]({file.name})" in text


def test_a_region_is_fed_by_its_own_relays() -> None:
    compiled = compile_fleet(load([ROOT / "cdn-static.yaml"]))
    for edge in compiled.edges:
        if edge.target.node.startswith("edge-"):
            assert edge.source.node.split("-")[1] == edge.target.node.split("-")[1]


def test_only_lte_branches_wait_for_the_half_hour() -> None:
    compiled = compile_fleet(load([ROOT / "branch-files.yaml"]))
    scheduled = {edge.source.node for edge in compiled.edges if edge.settings.sync.mode == "scheduled"}
    assert scheduled == {f"branch-{number}" for number in range(31, 41)}
