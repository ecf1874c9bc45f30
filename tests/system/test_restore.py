"""Files brought back by the command line: from real runtimes, and where a sync was ad hoc."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.engine import glance, remove, same, write
from tests.support.nodes import ROOT, start_node, stop_if_running
from tests.support.sync import sync_program
from tests.support.waiting import wait_until

pytestmark = pytest.mark.system
DEADLINE_S = 40.0

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def syncgraph(tmp_path: Path) -> Run:
    def run(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-c", "from orchestrator.cli import main; main()", *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "SYNCGRAPH_PASSPHRASE": "of a test", "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def fleet(tmp_path: Path, syncgraph: Run) -> Iterator[Path]:
    """Nodes "a", "b" and the mirror "m" of "a"; the repository that declares them."""
    with ExitStack() as stack:
        lines = []
        for name in ("a", "b", "m"):
            node = start_node(tmp_path / "nodes" / name)
            stack.callback(stop_if_running, node)
            runtime = f"{{port: {node.port}, state: '{node.state}'}}"
            lines.append(f"    - {{name: {name}, access: local, address: 127.0.0.1, runtime: {runtime}}}\n")
            (tmp_path / name).mkdir()
        repository = tmp_path / "repository"
        repository.mkdir()
        (repository / "inventory.yaml").write_text(
            "apiVersion: syncgraph/v1\nkind: Inventory\nmetadata: {name: site}\nspec:\n  nodes:\n"
            + "".join(lines)
        )
        (repository / "topology.yaml").write_text(
            "apiVersion: syncgraph/v1\nkind: Topology\nmetadata: {name: site}\nspec:\n"
            "  inventory: [inventory.yaml]\n"
            "  defaults: {sync: {debounce: 50ms}, retention: {deleted: 7d, versions: 3, size: 1GiB}}\n"
            f"  edges:\n    - {{source: 'a:{tmp_path}/a', target: 'b:{tmp_path}/b', direction: two-way}}\n"
            f"    - {{source: 'a:{tmp_path}/a', target: 'm:{tmp_path}/m'}}\n"
        )
        write(tmp_path / "a", {"stays": "1", "plan": "first", "docs/x": "x", "docs/y": "y" * 300_000})
        syncgraph("apply", repository, "--yes")
        wait_for_agreement(tmp_path)
        yield repository


def wait_for_agreement(directory: Path) -> None:
    a, b, m = (directory / name for name in "abm")
    wait_until(lambda: len(glance(a)) == 5 and same(a, b) and same(a, m), "all agree", DEADLINE_S)


def test_what_one_node_deleted_is_restored_at_the_other(fleet: Path, tmp_path: Path, syncgraph: Run) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    write(a, {"plan": "second"})
    wait_until(lambda: same(a, b) and (b / "plan").read_text() == "second", "the edit arrives", DEADLINE_S)
    remove(a / "docs")
    remove(a / "plan")
    wait_until(lambda: len(glance(b)) == 1 and same(a, tmp_path / "m"), "the deletions arrive", DEADLINE_S)

    listed = json.loads(syncgraph("versions", f"b:{b}", fleet, "--json").stdout)
    kept = [(each["path"], each["why"], each["size"]) for each in listed["versions"]]
    assert kept == [
        ("docs/x", "deleted", 1), ("docs/y", "deleted", 300_000),
        ("plan", "deleted", 6), ("plan", "replaced", 5),
    ]  # fmt: skip
    assert f"b:{b}" in syncgraph("versions", f"a:{a}", fleet).stdout  # where to look instead

    tried = syncgraph("restore", f"b:{b}", fleet, "--dry-run")
    assert "3 files would be restored" in tried.stdout
    assert len(glance(b)) == 1
    syncgraph("restore", f"b:{b}", fleet)
    wait_for_agreement(tmp_path)
    assert ((a / "plan").read_text(), (a / "docs" / "y").stat().st_size) == ("second", 300_000)

    replaced = next(each for each in listed["versions"] if each["why"] == "replaced")
    done = syncgraph("restore", f"b:{b}/plan", fleet, "--at", replaced["keptAt"], "--json")
    assert json.loads(done.stdout)["restored"] == 1
    wait_until(lambda: (a / "plan").read_text() == "first", "the older content arrives", DEADLINE_S)
    wait_for_agreement(tmp_path)


def test_a_mirror_restores_only_elsewhere(fleet: Path, tmp_path: Path, syncgraph: Run) -> None:
    m = tmp_path / "m"
    remove(tmp_path / "a" / "plan")
    wait_until(lambda: not (m / "plan").exists(), "the deletion arrives", DEADLINE_S)
    refused = syncgraph("restore", f"m:{m}/plan", fleet, code=1)
    assert "is made equal to a:" in refused.stderr
    assert "--to" in refused.stderr
    syncgraph("restore", f"m:{m}/plan", fleet, "--to", tmp_path / "a")
    wait_for_agreement(tmp_path)
    assert (m / "plan").read_text() == "first"


def test_what_cant_be_is_said_in_a_sentence(fleet: Path, tmp_path: Path, syncgraph: Run) -> None:
    for arguments, said in (
        ((f"c:{tmp_path}/a", fleet), "there is no node c"),
        ((f"a:{tmp_path}/elsewhere", fleet), "lies in no replica"),
        ((f"a:{tmp_path}/a", fleet, "--at", "tomorrow"), "is no time"),
        ((f"a:{tmp_path}/a", fleet, "--at", "2999-01-01"), "lies in the future"),
        ((f"{tmp_path}/a", fleet), "names no node"),
        ((f"{tmp_path}/repository",), "no directory above it"),
    ):
        refused = syncgraph("restore", *arguments, code=1)
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr


def test_an_ad_hoc_replica_restores_by_its_own_path(tmp_path: Path, syncgraph: Run) -> None:
    sync = sync_program(tmp_path)
    write(tmp_path / "x", {"f": "1", "d/g": "2"})
    assert sync("x", "y").code == 0
    write(tmp_path / "x", {"f": "other"})
    remove(tmp_path / "x" / "d")
    assert sync("x", "y", "--delete").code == 0
    y = tmp_path / "y"
    assert sorted(p.name for p in y.iterdir()) == [".syncgraph", "f"]
    listed = syncgraph("versions", y).stdout
    assert f"{y}/d/g\n" in listed
    assert "2 versions, 2 B" in listed
    assert "1 file restored" in syncgraph("restore", y / "d").stdout
    assert "is missing there" in syncgraph("restore", y / "d", code=1).stdout
    syncgraph("restore", y / "f", "--to", tmp_path / "then")
    assert ((y / "d" / "g").read_text(), (tmp_path / "then" / "f").read_text()) == ("2", "1")
    assert (y / "f").read_text() == "other"
