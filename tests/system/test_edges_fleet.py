"""Three real runtimes in step: a hub with spokes, a mesh that was parted, and kills in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from schemas.control import Accepted
from schemas.plans import ReplicationPlan, SyncPlan
from tests.support.authority import Authority
from tests.support.engine import glance, remove, same, write
from tests.support.nodes import Node, push, running_nodes, start_node, stop_if_running
from tests.support.plans import edge_between, plan_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.system

DEADLINE_S = 40.0  # a peer that was away is dialled again after up to ten seconds
QUICK = SyncPlan(debounce_s=0.05)
NAMES = ("a", "b", "c")


def edge(directory: Path, source: str, target: str) -> ReplicationPlan:
    return edge_between(f"{source}:{directory / source}", f"{target}:{directory / target}", sync=QUICK)


@contextmanager
def fleet(directory: Path, *pairs: tuple[str, str]) -> Iterator[dict[str, Node]]:
    """Nodes "a", "b" and "c", each with the directory of its name, in two-way edges between these pairs."""
    authority = Authority()
    edges = [edge(directory, *pair) for pair in pairs]
    with running_nodes(directory / "nodes", authority, *NAMES) as nodes:
        addresses = {name: node.address for name, node in nodes.items()}
        for name, node in nodes.items():
            mine = [each for each in edges if name in (each.source.node, each.target.node)]
            dialled = {each.source.node for each in mine if each.dials == name}
            plan = plan_of(name, *mine, peers={peer: addresses[peer] for peer in dialled})
            assert isinstance(push(authority, node, plan), Accepted)
        yield nodes


def restarted(node: Node) -> Node:
    return start_node(node.state, node.port)


def wait_for_agreement(directory: Path) -> None:
    a, b, c = (directory / name for name in NAMES)
    wait_until(lambda: same(a, b) and same(b, c), "all three agree", DEADLINE_S)


def test_a_hub_with_two_spokes_follows_every_change(tmp_path: Path) -> None:
    for name in NAMES:
        write(tmp_path / name, {f"from {name}": name, "d/same": "the same everywhere"})
    with fleet(tmp_path, ("a", "b"), ("a", "c")):
        wait_for_agreement(tmp_path)
        assert len(glance(tmp_path / "c")) == 5
        write(tmp_path / "b", {"from c": "edited on b", "new/er": "x" * 3_000_000})
        remove(tmp_path / "c" / "from a")
        (tmp_path / "a" / "d").rename(tmp_path / "a" / "e")
        wait_until(
            lambda: all(
                {b"e/same", b"new/er"} <= glance(tmp_path / name).keys()
                and not {b"from a", b"d"} & glance(tmp_path / name).keys()
                for name in NAMES
            ),
            "an edit, a delete and a rename arrive everywhere",
            DEADLINE_S,
        )
        wait_for_agreement(tmp_path)
        assert (tmp_path / "c" / "from c").read_text() == "edited on b"


def test_a_mesh_that_was_parted_keeps_both_edits(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).mkdir()
    write(tmp_path / "a", {"f": "base"})
    with fleet(tmp_path, ("a", "b"), ("b", "c"), ("a", "c")) as nodes:
        wait_for_agreement(tmp_path)
        for node in nodes.values():
            node.kill()
        for name in NAMES:
            write(tmp_path / name, {"f": f"edited on {name}", f"only {name}": name})
        again = {name: restarted(node) for name, node in nodes.items()}
        try:
            wait_until(lambda: len(glance(tmp_path / "a")) == 6, "every edit is there", DEADLINE_S)
            wait_for_agreement(tmp_path)
            contents = {seen[1] for seen in glance(tmp_path / "b").values()}
            assert contents >= {b"edited on a", b"edited on b", b"edited on c"}
        finally:
            for node in again.values():
                stop_if_running(node)


@pytest.mark.parametrize("victim", ["a", "b"])
def test_kills_in_the_middle_cost_nothing(tmp_path: Path, victim: str) -> None:
    for name in NAMES:
        (tmp_path / name).mkdir()
    write(tmp_path / "a", {f"d{n % 7}/{n}": f"{n}" * 5_000 for n in range(300)})
    with fleet(tmp_path, ("a", "b"), ("a", "c")) as nodes:
        node = nodes[victim]
        for seen in (20, 150, 280):
            wait_until(lambda seen=seen: len(glance(tmp_path / "b")) >= seen, f"{seen} paths", DEADLINE_S)  # type: ignore[misc]
            node.kill()
            write(tmp_path / "a", {f"d1/after {seen}": "written while one was dead"})
            node = restarted(node)
        try:
            wait_until(lambda: len(glance(tmp_path / "c")) == 310, "everything is there", DEADLINE_S)
            wait_for_agreement(tmp_path)
            assert not [path for path in glance(tmp_path / "a") if b"sync-conflict" in path]
        finally:
            stop_if_running(node)
