"""From documents to running node runtimes: real processes, by every access, with the real command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from schemas.topology import Access
from tests.support import sshd
from tests.support.nodes import ROOT, Node, start_node, stop_if_running

pytestmark = pytest.mark.system
PASSPHRASE = "a passphrase for system tests"
NAMES = ("hub", "a", "b")


@dataclass
class Site:
    """A repository, the nodes that it names, and a shell to run `syncgraph` in."""

    directory: Path
    nodes: dict[str, Node]
    environment: dict[str, str]

    @property
    def repository(self) -> Path:
        return self.directory / "repository"

    def syncgraph(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        program = "from orchestrator.cli import main; main()"
        return subprocess.run(
            [sys.executable, "-c", program, *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "SYNCGRAPH_PASSPHRASE": PASSPHRASE, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def outcomes(self, *arguments: str | Path) -> dict[str, str]:
        """`apply --json`: what became of each node."""
        done = self.syncgraph("apply", *arguments, "-y", "--json")
        assert done.stdout, done.stderr
        return {node["node"]: node["outcome"] for node in json.loads(done.stdout)["nodes"]}

    def write(self, access: Access, spokes: Sequence[str], extra: dict[str, str] | None = None) -> None:
        """The documents: the first node's tree goes to the others. `extra` holds node keys by node."""
        self.repository.mkdir(exist_ok=True)
        lines = []
        for name, node in self.nodes.items():
            runtime = f"port: {node.port}, state: '{node.state}'{(extra or {}).get(name, '')}"
            lines.append(
                f"    - {{name: {name}, access: {access}, address: 127.0.0.1, runtime: {{{runtime}}}}}\n"
            )
        (self.repository / "inventory.yaml").write_text(
            "apiVersion: syncgraph/v1\nkind: Inventory\nmetadata: {name: site}\nspec:\n"
            f"  defaults: {{ssh: {self.ssh()}}}\n  nodes:\n{''.join(lines)}"
        )
        hub = next(iter(self.nodes))
        ends = ", ".join(f'"{name}:{self.directory}/trees/{name}"' for name in spokes)
        (self.repository / "topology.yaml").write_text(
            "apiVersion: syncgraph/v1\nkind: Topology\nmetadata: {name: site}\nspec:\n"
            "  inventory: [inventory.yaml]\n  graphs:\n    - {name: star, shape: hub-and-spoke, "
            f'hub: "{hub}:{self.directory}/trees/$(spoke.name)-at-hub", spokes: [{ends}], '
            "direction: to-spokes}\n"
        )

    def ssh(self) -> str:
        return self.environment.get("TEST_SSH", "{}")


def start_site(stack: ExitStack, directory: Path, names: Sequence[str]) -> Site:
    nodes: dict[str, Node] = {}
    for name in names:
        nodes[name] = start_node(directory / "nodes" / name)
        stack.callback(stop_if_running, nodes[name])
    for tree in (directory / "trees", *(directory / "trees" / name for name in names)):
        tree.mkdir()
    for name in names[1:]:
        (directory / "trees" / f"{name}-at-hub").mkdir()
    return Site(directory, nodes, {})


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield start_site(stack, tmp_path, NAMES)


def check_life(site: Site, access: Access) -> None:
    """Apply, apply again, lose a node, change, destroy: what each command says and what nodes then run."""
    nodes = site.nodes
    assert site.outcomes(site.repository) == dict.fromkeys(NAMES, "applied")
    assert {name: nodes[name].identity().node for name in NAMES} == {name: name for name in NAMES}
    assert [nodes[name].identity().generation for name in NAMES] == [1, 1, 1]

    again = site.syncgraph("apply", site.repository, "-y")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "o changes" in again.stdout
    assert [nodes[name].identity().generation for name in NAMES] == [1, 1, 1]

    nodes["b"].stop()
    site.write(access, ("a",))
    assert site.outcomes(site.repository) == {"hub": "applied", "a": "unchanged", "b": "unreachable"}
    restarted = start_node(nodes["b"].state, nodes["b"].port)
    nodes["b"].process = restarted.process
    assert nodes["b"].identity().generation == 1  # its plan outlived it
    assert site.outcomes(site.repository) == {"hub": "unchanged", "a": "unchanged", "b": "applied"}

    stopped = site.syncgraph("destroy", site.repository, "-y")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert all(node.status().edges == () for node in nodes.values())


def test_a_fleet_on_this_machine(site: Site) -> None:
    site.write("local", ("a", "b"))
    check_life(site, "local")


@pytest.mark.skipif(bool(sshd.MISSING), reason=sshd.MISSING)
def test_a_fleet_behind_sshd(site: Site, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "syncgraph-node"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ncd "{ROOT}" && exec "{sys.executable}" -m node_runtime.cli "$@"\n')
    program.chmod(0o755)
    with sshd.sshd(tmp_path / "sshd") as server:
        site.environment["TEST_SSH"] = (
            f"{{user: {server.user}, port: {server.port}, identityFile: '{server.identity}', "
            f"knownHosts: '{server.known_hosts}', command: '{program}'}}"
        )
        site.write("sshd", ("a", "b"))
        check_life(site, "sshd")


def test_a_fleet_at_its_own_ports(tmp_path: Path) -> None:
    """The first contact: the authority's key goes to the nodes by hand, their keys come to the inventory."""
    with ExitStack() as stack:
        site = start_site(stack, tmp_path, NAMES)
        site.write("runtime", ("a", "b"))
        early = site.syncgraph("apply", site.repository, "-y")
        assert early.returncode == 1
        assert "hostKey" in early.stdout
        authority = site.repository / ".syncgraph" / "authority.pub"
        pins = {}
        for name, node in site.nodes.items():
            node.stop()
            init = [sys.executable, "-m", "node_runtime.cli", "init", "--state", str(node.state)]
            made = subprocess.run(
                [*init, "--authority", str(authority), "--node", name],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=True,
            )
            pins[name] = f", hostKey: '{made.stdout.strip()}'"
            restarted = start_node(node.state, node.port)
            stack.callback(stop_if_running, restarted)
            site.nodes[name] = restarted
        site.write("runtime", ("a", "b"), {name: pins[name] for name in ("hub", "a")})
        partly = site.outcomes(site.repository)
        assert partly == {"hub": "applied", "a": "applied", "b": "unreachable"}
        site.write("runtime", ("a", "b"), pins)
        assert site.outcomes(site.repository)["b"] == "applied"
        site.write("runtime", ("a", "b"))  # certificates have taken the pins' place
        done = site.syncgraph("apply", site.repository, "-y")
        assert "o changes" in done.stdout, done.stdout + done.stderr


def test_no_secret_is_left_anywhere(site: Site) -> None:
    site.write("local", ("a", "b"))
    done = site.syncgraph("apply", site.repository, "-y")
    site.syncgraph("plan", site.repository, "-o", site.directory / "plan.json")
    key = (site.repository / ".syncgraph" / "authority").read_bytes()
    secrets = [PASSPHRASE.encode(), key.splitlines()[1]]
    own_keys = {node.state / "node_key" for node in site.nodes.values()}
    seen = 0
    for path in site.directory.rglob("*"):
        if not path.is_file() or path.name == "authority":
            continue
        content = path.read_bytes()
        seen += 1
        assert not any(secret in content for secret in secrets), path
        if path not in own_keys:
            assert b"PRIVATE KEY" not in content, path
    assert seen > len(own_keys)
    assert PASSPHRASE not in done.stdout + done.stderr
