"""Inventories to nodes."""

from __future__ import annotations

from orchestrator.model.nodes import expand_nodes
from schemas.errors import Problem
from schemas.plans import PeerAddress
from tests.support.documents import inventory


def test_ranges_templates_and_defaults() -> None:
    problems: list[Problem] = []
    nodes = expand_nodes(
        [
            inventory(
                {
                    "name": "b-[01:02]",
                    "address": "$(name).$(label.site).example",
                    "labels": {"site": "x", "alias": "at-$(name)"},
                    "ssh": {"port": 2200},
                    "runtime": {"state": "/var/$(name)"},
                },
                {"name": "own", "access": "local", "labels": {"role": "hub"}},
                access="runtime",
                labels={"role": "branch"},
                ssh={"user": "sync", "port": 22},
            )
        ],
        problems,
    )
    assert not problems
    assert list(nodes) == ["b-01", "b-02", "own"]
    second = nodes["b-02"]
    assert second.address == "b-02.x.example"
    assert second.labels == {"role": "branch", "site": "x", "alias": "at-b-02"}
    assert (second.access, second.ssh.user, second.ssh.port) == ("runtime", "sync", 2200)
    assert second.ssh.command == "syncgraph-node"
    assert second.runtime.state == "/var/b-02"
    assert second.listens_at == PeerAddress("b-02.x.example", 7722)
    assert (nodes["own"].access, nodes["own"].labels) == ("local", {"role": "hub"})
    assert nodes["own"].listens_at is None


def test_the_runtime_may_listen_elsewhere() -> None:
    nodes = expand_nodes(
        [inventory({"name": "a", "address": "ssh.example", "runtime": {"address": "10.0.0.1", "port": 9}})],
        [],
    )
    assert nodes["a"].listens_at == PeerAddress("10.0.0.1", 9)


def test_a_name_that_comes_twice_is_said_once_for_a_range() -> None:
    problems: list[Problem] = []
    expand_nodes([inventory("a", "b-[1:9]"), inventory("b-[5:8]", name="other")], problems)
    (problem,) = problems
    assert problem.code == "duplicate-node"
    assert '"b-5"' in problem.message
    assert "3 more" in problem.message
    assert "inv#spec.nodes.1" in problem.message
    assert str(problem.place).startswith("other#spec.nodes.0.name")


def test_a_template_without_a_value() -> None:
    problems: list[Problem] = []
    expand_nodes([inventory({"name": "a", "address": "$(label.zone).example"})], problems)
    assert [problem.code for problem in problems] == ["bad-template"]
