"""Genuine conflicts between real runtimes: listed with evidence, ended each way, and then all trees agree."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from orchestrator.cli import syncgraph
from orchestrator.errors import OperatorError
from schemas.conflicts import Conflicts, ListConflicts, ResolveConflict
from schemas.control import Refused
from tests.support.engine import glance, same, write
from tests.support.nodes import Node, start_node, stop_if_running
from tests.support.waiting import wait_until

pytestmark = pytest.mark.system

DEADLINE_S = 40.0  # a peer that was away is dialled again after up to ten seconds
NAMES = ("hub", "a", "b")
OLDER_S, NEWER_S = 1_795_362_781, 1_795_362_790  # 2026-11-22 15:53:01 and :10 UTC


@dataclass
class Office:
    """A hub with two spokes, and the documents that say so."""

    directory: Path
    nodes: dict[str, Node]

    def tree(self, name: str) -> Path:
        return self.directory / "trees" / name

    def run(self, *arguments: str) -> str:
        """The output of a `syncgraph` command that succeeds."""
        found = CliRunner().invoke(syncgraph, [*arguments], catch_exceptions=False)
        assert found.exit_code == 0, found.output
        return found.stdout

    def conflicts(self, *wanted: str) -> list[dict[str, Any]]:
        listed = json.loads(self.run("conflicts", *wanted, "-C", str(self.directory / "docs"), "--json"))
        assert listed["unreachable"] == []
        assert listed["more"] == 0
        return sorted(listed["conflicts"], key=lambda each: each["path"])

    def resolve(self, path: str, keep: str, *options: str) -> dict[str, Any]:
        where = ("-C", str(self.directory / "docs"), "--json")
        [ended] = json.loads(self.run("conflicts", "resolve", path, "--keep", keep, *options, *where))[
            "ended"
        ]
        return dict(ended)

    def refusal(self, path: str, keep: str) -> str:
        """What a resolution that can't be done says."""
        with pytest.raises(OperatorError) as failure:
            self.run("conflicts", "resolve", path, "--keep", keep, "-C", str(self.directory / "docs"))
        return str(failure.value)

    def part(self, files: dict[str, tuple[str, str]]) -> None:
        """Edit each file on a (first) and on b (second, later) while b is away."""
        b = self.nodes["b"]
        b.kill()
        for name, second, at_s in (("a", 0, OLDER_S), ("b", 1, NEWER_S)):
            for path, contents in files.items():
                write(self.tree(name), {path: contents[second]})
                os.utime(self.tree(name) / path, (at_s, at_s))
        self.wait(
            lambda: self._hub_has([contents[0] for contents in files.values()]), "the hub has a's edits"
        )
        self.nodes["b"] = start_node(b.state, b.port)

    def _hub_has(self, texts: list[str]) -> bool:
        held = {content for _, content, _ in glance(self.tree("hub")).values()}
        return all(text.encode() in held for text in texts)

    def wait(self, condition: Any, what: str) -> None:
        wait_until(condition, what, DEADLINE_S)

    def wait_for_agreement(self) -> None:
        hub, a, b = map(self.tree, NAMES)
        self.wait(lambda: same(hub, a) and same(a, b), "all three trees agree")

    def text(self, name: str, path: str) -> str:
        return (self.tree(name) / path).read_text()

    def kept(self, name: str) -> set[str]:
        found = (self.tree(name) / ".syncgraph" / "versions").rglob("*")
        return {path.read_text() for path in found if path.is_file()}


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    """In step, with a few files; paths below /held are held in conflicts."""
    monkeypatch.setenv("SYNCGRAPH_PASSPHRASE", "a passphrase for system tests")
    with ExitStack() as stack:
        nodes = {}
        for name in NAMES:
            nodes[name] = start_node(tmp_path / "nodes" / name)
            stack.callback(lambda name=name: stop_if_running(nodes[name]))  # type: ignore[misc]
        office = Office(tmp_path, nodes)
        for name in NAMES:
            office.tree(name).mkdir(parents=True)
        write(office.tree("hub"), dict.fromkeys(("one.txt", "two.txt", "three.txt", "held/four.txt"), "base"))
        (tmp_path / "docs").mkdir()
        (tmp_path / "docs" / "fleet.yaml").write_text(documents(tmp_path, nodes))
        office.run("apply", str(tmp_path / "docs"), "-y")
        office.wait_for_agreement()
        yield office


def documents(directory: Path, nodes: dict[str, Node]) -> str:
    described = "".join(
        f"    - {{name: {name}, access: local, address: 127.0.0.1, "
        f"runtime: {{port: {node.port}, state: '{node.state}'}}}}\n"
        for name, node in nodes.items()
    )
    trees = directory / "trees"
    return (
        "apiVersion: syncgraph/v1\nkind: Inventory\nmetadata: {name: office}\nspec:\n"
        f"  nodes:\n{described}---\n"
        "apiVersion: syncgraph/v1\nkind: Topology\nmetadata: {name: office}\nspec:\n"
        "  defaults:\n    sync: {debounce: 50ms}\n"
        "    conflict: {rules: [{paths: /held/**, policy: hold}]}\n"
        f'  graphs:\n    - {{name: star, shape: hub-and-spoke, hub: "hub:{trees}/hub", '
        f'spokes: ["a:{trees}/a", "b:{trees}/b"], direction: both}}\n'
    )


def test_conflicts_with_a_copy_are_listed_and_ended_each_way(office: Office) -> None:
    names = ("one.txt", "two.txt", "three.txt")
    office.part({name: (f"{name} on a", f"{name} on b") for name in names})
    office.wait_for_agreement()
    listed = office.conflicts()
    assert [each["path"] for each in listed] == sorted(names)
    assert office.conflicts("t*.txt") == [each for each in listed if each["path"] != "one.txt"]
    at_one_edge = office.conflicts("t*.txt", "hub~a")
    assert [each["path"] for each in at_one_edge] == ["three.txt", "two.txt"]
    assert {place.partition(":")[0] for each in at_one_edge for place in each["replicas"]} == {"hub", "a"}
    for each in listed:
        winner, copy = each["sides"]
        assert (winner["role"], copy["role"], each["held"]) == ("winner", "copy", False)
        assert (winner["origin"], copy["origin"]) == ("b", "a")
        assert (winner["modifiedAt"], copy["modifiedAt"]) == (NEWER_S, OLDER_S)
        assert winner["sizeBytes"] == len(f"{each['path']} on b")
        assert each["replicas"] == sorted(f"{name}:{office.tree(name)}" for name in NAMES)
        assert {edit["node"] for edit in winner["knows"]} >= {"a", "b"}
        assert {edit["node"] for edit in copy["knows"]} == {"hub"}, "the loser's holder that set it aside"
    for name in NAMES:  # a restart forgets none
        office.nodes[name].stop()
        office.nodes[name] = start_node(office.nodes[name].state, office.nodes[name].port)
    assert office.conflicts() == listed

    copies = {each["path"]: each["sides"][1]["path"] for each in listed}
    assert "winner, copy or both" in office.refusal("one.txt", "a")
    assert office.resolve("one.txt", "winner")["copy"] == copies["one.txt"]
    office.resolve(copies["two.txt"], "copy", "--node", "a")
    moved_to = office.resolve("three.txt", "both")["movedTo"]
    assert moved_to == "three (from a, 2026-11-22 15.53.01).txt"
    office.wait(lambda: not office.conflicts(), "the list is empty")
    office.wait_for_agreement()
    for name in NAMES:
        assert office.text(name, "one.txt") == "one.txt on b"
        assert office.text(name, "two.txt") == "two.txt on a"
        assert office.text(name, "three.txt") == "three.txt on b"
        assert office.text(name, moved_to) == "three.txt on a"
        assert len([path for path in glance(office.tree(name)) if b"sync-conflict" in path]) == 0
        assert {"one.txt on a", "two.txt on b"} <= office.kept(name)
    assert "there is no conflict" in office.refusal("one.txt", "winner")
    for node in office.nodes.values():
        assert not [edge.conflicts for edge in node.status().edges if edge.conflicts]


@pytest.mark.parametrize(("keep", "text"), [("a", "on a"), ("b", "on b"), ("hub", "on a")])
def test_a_held_conflict_ends_with_one_node_s_content(office: Office, keep: str, text: str) -> None:
    office.part({"held/four.txt": ("on a", "on b")})
    office.wait(lambda: len(office.conflicts()) == 1, "it is listed")
    [held] = office.conflicts("/held/")
    assert held["held"] is True
    sides = {side["content"]: side for side in held["sides"]}
    assert len(sides) == 2
    holders = {
        side["origin"]: {place.partition(":")[0] for place in side["replicas"]} for side in sides.values()
    }
    assert holders["b"] == {"b"}
    assert holders["a"] == {"hub"}  # a itself is in step with the hub, and sees no conflict
    said = office.run("conflicts", "-C", str(office.directory / "docs"))
    assert "didn't know of the edit on b at" in said
    assert "name the node whose content stays, a or b or hub" in office.refusal("held/four.txt", "winner")
    office.resolve("held/four.txt", keep)
    office.wait(lambda: not office.conflicts(), "the list is empty")
    office.wait_for_agreement()
    assert {office.text(name, "held/four.txt") for name in NAMES} == {text}
    assert "on a" in office.kept("hub") if keep == "b" else "on b" in office.kept("b")
    office.wait(
        lambda: all(
            edge.state == "in-step" for node in office.nodes.values() for edge in node.status().edges
        ),
        "no edge is held any more",
    )


def test_what_changed_since_it_was_listed_is_left_alone(office: Office) -> None:
    office.part({"one.txt": ("on a", "on b")})
    office.wait_for_agreement()
    hub = office.nodes["hub"]
    listed = hub.ask(ListConflicts())
    assert isinstance(listed, Conflicts)
    [conflict] = listed.conflicts
    copy = office.tree("hub") / conflict.other.path
    copy.write_text("edited just now")
    refused = hub.ask(ResolveConflict(conflict, "winner"))
    assert refused == Refused(
        f"{conflict.other.path} has changed since it was listed; list the conflicts again"
    )
    assert copy.read_text() == "edited just now"
    copy.unlink()
    for keep in ("winner", "copy", "both"):
        refused = hub.ask(ResolveConflict(conflict, keep))
        assert isinstance(refused, Refused)
        assert "has changed since" in refused.reason or "no such conflict" in refused.reason
    assert office.text("hub", "one.txt") == "on b"
    unknown = msgspec.structs.replace(conflict, replica="/nowhere")
    assert "no replica of this node" in str(hub.ask(ResolveConflict(unknown, "winner")))
    assert "a held conflict ends by" in str(hub.ask(ResolveConflict(conflict, "here")))


def test_a_winner_that_was_deleted_since_leaves_the_copy_to_be_kept(office: Office) -> None:
    office.part({"one.txt": ("on a", "on b")})
    office.wait_for_agreement()
    (office.tree("a") / "one.txt").unlink()
    office.wait(lambda: not (office.tree("hub") / "one.txt").exists(), "the winner is gone at the hub")
    office.wait_for_agreement()
    [listed] = office.conflicts()
    assert [side["role"] for side in listed["sides"]] == ["copy"]
    assert "deleted since" in office.run("conflicts", "-C", str(office.directory / "docs"))
    assert "all that is left" in office.refusal("one.txt", "winner")
    office.resolve("one.txt", "copy")
    office.wait(lambda: not office.conflicts(), "the list is empty")
    office.wait_for_agreement()
    assert {office.text(name, "one.txt") for name in NAMES} == {"on a"}
