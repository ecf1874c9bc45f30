"""The case table, the work data and whole-process measuring: what figures rest on. Nothing here is timed."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.case import CannotMeasure
from bench.cases_plan import LINES, fifty_line_graphs, fifty_line_nodes, write_documents
from bench.measure import ROOT, environment, run
from bench.table import CASES
from bench.trees import check_same, write_tree
from orchestrator.load import load
from orchestrator.model import compile_fleet


def test_cases_have_names_of_their_own_that_a_shell_takes() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for name in names)


def test_an_unknown_case_is_refused_with_the_names_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["sync-smal"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "sync-smal" in said
    assert all(case.name in said for case in CASES)


def test_the_fifty_line_topology_has_fifty_lines_and_is_valid(tmp_path: Path) -> None:
    write_documents(tmp_path, fifty_line_nodes(), fifty_line_graphs())
    assert len((tmp_path / "topology.yaml").read_text().splitlines()) == LINES
    loaded = load([tmp_path])
    compiled = compile_fleet(loaded)
    assert [*loaded.problems, *compiled.problems] == []
    assert compiled.edges


def test_planning_a_new_fleet_plans_every_edge_of_every_node(tmp_path: Path) -> None:
    write_documents(
        tmp_path,
        '    - {name: "m-[1:4]", address: "$(name).example.net"}',
        '    - {name: all, shape: full-mesh, members: ["m-[1:4]:/srv/content"]}',
    )
    planned = run([sys.executable, "-m", "bench.plan_new_fleet", tmp_path], environment=environment(tmp_path))
    said = planned.output.decode()
    assert "4 nodes, 6 edges" in said
    assert "Plan: 6 to add" in said


def test_work_data_are_the_same_every_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_tree(tmp_path / name, files=3, file_bytes=100)
    contents = [(tmp_path / "one" / "d00000" / name).read_bytes() for name in _names(tmp_path / "one")]
    assert [len(content) for content in contents] == [100, 100, 100]
    assert len(set(contents)) == 3
    assert contents == [
        (tmp_path / "two" / "d00000" / name).read_bytes() for name in _names(tmp_path / "two")
    ]


def test_a_target_that_lacks_a_file_voids_the_figure(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_tree(tmp_path / name, files=2, file_bytes=10)
    for path in (tmp_path / "one").rglob("*.bin"):
        os.utime(tmp_path / "two" / path.relative_to(tmp_path / "one"), ns=(0, path.stat().st_mtime_ns))
    check_same(tmp_path / "one", tmp_path / "two")
    (tmp_path / "two" / "d00000" / "f0000000.bin").unlink()
    with pytest.raises(CannotMeasure, match="1 files"):
        check_same(tmp_path / "one", tmp_path / "two")


def test_a_run_takes_the_memory_of_children_into_account() -> None:
    child = "b = bytearray(200_000_000); b[::4096] = b'x' * len(b[::4096])"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    measured = run([sys.executable, "-c", parent])
    assert measured.peak_bytes > 200_000_000
    assert measured.seconds > 0


def test_a_program_that_fails_is_no_measurement() -> None:
    with pytest.raises(CannotMeasure, match=r"ended with 3: no room"):
        run([sys.executable, "-c", "import sys; sys.stderr.write('no room'); sys.exit(3)"])


def test_programs_under_test_are_this_checkouts(tmp_path: Path) -> None:
    assert environment(tmp_path)["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)


def test_programs_under_test_keep_their_byte_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    told = run(
        [sys.executable, "-c", "import sys; print(sys.dont_write_bytecode)"],
        environment=environment(tmp_path),
    )
    assert told.output == b"False\n"


def _names(tree: Path) -> list[str]:
    return sorted(path.name for path in (tree / "d00000").iterdir())
