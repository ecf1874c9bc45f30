"""Observing and pushing, over a fleet in memory."""

from __future__ import annotations

import msgspec
import pytest

from orchestrator.apply.access import Hosts
from orchestrator.apply.observe import Observation, observe
from orchestrator.apply.report import NodeResult, report_lines, summarise, untouched
from orchestrator.apply.rollout import roll_out
from orchestrator.plan import Plan, diff
from orchestrator.trust import authority
from schemas.control import Apply, Enrol, Identify
from schemas.plans import API_VERSION, NodePlan, ReplicaRef, ReplicationPlan, digest, empty_plan
from tests.support.hosts import MemoryFleet

pytestmark = pytest.mark.anyio
NOW = 1_800_000_000.0
DAY_S = 86_400.0


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> authority.Authority:
    return authority.create(tmp_path_factory.mktemp("ours") / "authority", "a passphrase")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> authority.Authority:
    return authority.create(tmp_path_factory.mktemp("theirs") / "authority", "a passphrase")


def star(hub: str, *spokes: str, deletes: str = "propagate") -> dict[str, NodePlan]:
    """One edge from the hub to each spoke."""
    edges = {
        spoke: ReplicationPlan(
            f"fleet/star/{hub}~{spoke}",
            ReplicaRef(hub, "/data"),
            ReplicaRef(spoke, "/data"),
            "one-way",
            spoke,
            deletes="keep" if deletes == "keep" else "propagate",
        )
        for spoke in spokes
    }
    plans = {
        spoke: NodePlan(API_VERSION, "NodePlan", "fleet", spoke, {}, (edge,)) for spoke, edge in edges.items()
    }
    return plans | {hub: NodePlan(API_VERSION, "NodePlan", "fleet", hub, {}, tuple(edges.values()))}


class Run:
    """One command: observe, plan, push. What the nodes were asked meanwhile is forgotten first."""

    def __init__(self, fleet: MemoryFleet, by: authority.Authority, now: float = NOW) -> None:
        self.fleet = fleet
        self.by = by
        self.now = now
        self.hosts = Hosts(fleet.access(), fleet)
        self.seen: list[NodeResult] = []

    async def observe(self) -> dict[str, Observation]:
        for node in self.fleet.nodes.values():
            node.requests.clear()
        return await observe(self.hosts, self.by.public_key)

    async def plan(self, desired: dict[str, NodePlan]) -> tuple[Plan, dict[str, Observation]]:
        observations = await self.observe()
        observed = {name: each.observed for name, each in observations.items()}
        return diff(desired, observed, now=self.now), observations

    async def push(self, desired: dict[str, NodePlan]) -> dict[str, NodeResult]:
        plan, observations = await self.plan(desired)
        results = await roll_out(self.hosts, self.by, plan, observations, self.now, self.seen.append)
        assert [each.node for each in results] == sorted(each.node for each in results)
        return {each.node: each for each in results}

    def asked(self, name: str) -> list[type]:
        return [type(request) for request in self.fleet.nodes[name].requests]


async def test_a_first_apply_enrols_every_node_and_gives_it_its_plan(ours: authority.Authority) -> None:
    run = Run(MemoryFleet("hub", "a", "b"), ours)
    desired = star("hub", "a", "b")
    results = await run.push(desired)
    for name in ("hub", "a", "b"):
        node = run.fleet.nodes[name]
        assert results[name] == NodeResult(name, "applied", enrolled=True, generation=1)
        assert (node.node, node.digest, node.generation) == (name, digest(desired[name]), 1)
        assert run.asked(name) == [Identify, Enrol, Apply]
    assert sorted(run.seen, key=lambda each: each.node) == sorted(
        results.values(), key=lambda each: each.node
    )


async def test_a_second_apply_asks_and_sends_nothing(ours: authority.Authority) -> None:
    run = Run(MemoryFleet("hub", "a"), ours)
    await run.push(star("hub", "a"))
    plan, _ = await run.plan(star("hub", "a"))
    assert plan.empty
    results = await run.push(star("hub", "a"))
    assert {each.outcome for each in results.values()} == {"unchanged"}
    assert run.asked("hub") == run.asked("a") == [Identify]


async def test_only_the_nodes_of_a_changed_edge_are_told(ours: authority.Authority) -> None:
    run = Run(MemoryFleet("hub", "a", "b"), ours)
    await run.push(star("hub", "a", "b"))
    desired = star("hub", "a") | {"b": empty_plan("fleet", "b")}
    results = await run.push(desired)
    assert {name: each.outcome for name, each in results.items()} == {
        "hub": "applied",
        "a": "unchanged",
        "b": "applied",
    }
    assert run.asked("b") == [Identify, Apply]
    assert results["hub"].generation == 2


async def test_a_node_that_is_away_is_named_and_the_others_go_on(ours: authority.Authority) -> None:
    run = Run(MemoryFleet("hub", "a", "b"), ours)
    run.fleet.nodes["a"].unreachable = "no route to host"
    results = await run.push(star("hub", "a", "b"))
    assert results["a"] == NodeResult("a", "unreachable", reason="no route to host")
    assert results["hub"].outcome == results["b"].outcome == "applied"
    run.fleet.nodes["a"].unreachable = ""
    later = await run.push(star("hub", "a", "b"))
    assert {name: each.outcome for name, each in later.items()} == {
        "hub": "unchanged",
        "a": "applied",
        "b": "unchanged",
    }


async def test_a_node_that_goes_away_between_asking_and_telling_is_unreachable(
    ours: authority.Authority,
) -> None:
    run = Run(MemoryFleet("hub", "a"), ours)
    plan, observations = await run.plan(star("hub", "a"))
    run.fleet.nodes["a"].unreachable = "connection lost"
    results = {each.node: each for each in await roll_out(run.hosts, ours, plan, observations, NOW)}
    assert results["a"] == NodeResult("a", "unreachable", reason="connection lost")
    assert results["hub"].outcome == "applied"


async def test_a_push_that_was_overtaken_is_refused_by_the_node(ours: authority.Authority) -> None:
    run, rival = (Run(fleet := MemoryFleet("hub", "a"), ours), Run(fleet, ours))
    await run.push(star("hub", "a"))
    plan, observations = await run.plan(star("hub", "a", deletes="keep"))
    theirs = star("hub", "a") | {"a": empty_plan("fleet", "a")}
    await rival.push(theirs)
    results = {each.node: each for each in await roll_out(run.hosts, ours, plan, observations, NOW)}
    assert results["a"].outcome == "failed"
    assert "refuses" in results["a"].reason
    assert fleet.nodes["a"].digest == digest(theirs["a"])


async def test_certificates_are_renewed_before_they_run_out_and_no_plan_is_sent(
    ours: authority.Authority,
) -> None:
    fleet = MemoryFleet("hub", "a")
    await Run(fleet, ours).push(star("hub", "a"))
    assert (await Run(fleet, ours, NOW + 50 * DAY_S).plan(star("hub", "a")))[0].empty
    run = Run(fleet, ours, NOW + 61 * DAY_S)
    results = await run.push(star("hub", "a"))
    assert results["a"] == NodeResult("a", "applied", enrolled=True, generation=1)
    assert run.asked("a") == [Identify, Enrol]


async def test_a_fleet_of_another_authority_is_left_alone(
    ours: authority.Authority, theirs: authority.Authority
) -> None:
    fleet = MemoryFleet("hub", "a")
    await Run(fleet, theirs).push(star("hub", "a"))
    run = Run(fleet, ours)
    results = await run.push(star("hub", "a"))
    assert {each.outcome for each in results.values()} == {"unreachable"}
    assert "another authority" in results["a"].reason
    assert run.asked("a") == [Identify]


async def test_a_runtime_under_another_name_is_not_touched(ours: authority.Authority) -> None:
    fleet = MemoryFleet("hub", "a")
    fleet.nodes["a"].node = "z"
    results = await Run(fleet, ours).push(star("hub", "a"))
    assert results["a"].reason == 'the runtime there is enrolled as "z"'
    assert fleet.nodes["a"].generation == 0


async def test_a_copied_state_directory_is_found_by_its_key(ours: authority.Authority) -> None:
    fleet = MemoryFleet("hub", "a", "b")
    fleet.nodes["b"].key = fleet.nodes["a"].key
    results = await Run(fleet, ours).push(star("hub", "a", "b"))
    assert results["hub"].outcome == "applied"
    assert "same key as b" in results["a"].reason
    assert "same key as a" in results["b"].reason
    assert fleet.nodes["a"].authority == fleet.nodes["b"].authority == ""


async def test_a_plan_of_a_later_version_is_not_overwritten_blindly(ours: authority.Authority) -> None:
    fleet = MemoryFleet("hub", "a")
    await Run(fleet, ours).push(star("hub", "a"))
    fleet.nodes["a"].plan = fleet.nodes["a"].plan.replace('"kind":"NodePlan"', '"kind":"NodePlan","rate":1')
    results = await Run(fleet, ours).push(star("hub", "a", deletes="keep"))
    assert "doesn't understand" in results["a"].reason


async def test_more_nodes_than_may_be_open_are_reached_in_turn(ours: authority.Authority) -> None:
    names = [f"s{number}" for number in range(20)]
    fleet = MemoryFleet("hub", *names)
    run = Run(fleet, ours)
    run.hosts = Hosts(fleet.access(), fleet, max_open=3)
    results = await run.push(star("hub", *names))
    assert {each.outcome for each in results.values()} == {"applied"}


async def test_the_report_counts_and_names(ours: authority.Authority) -> None:
    fleet = MemoryFleet("hub", "a", "b")
    await Run(fleet, ours).push(star("hub", "a") | {"b": empty_plan("fleet", "b")})
    fleet.nodes["b"].unreachable = "no route to host"
    results = await Run(fleet, ours).push(star("hub", "a", "b"))
    report = summarise(tuple(results.values()))
    assert (report.applied, report.unchanged, report.failed, report.unreachable) == (1, 1, 0, 1)
    assert not report.complete
    assert [line for _, line in report_lines(report)] == [
        "b    unreachable: no route to host",
        "hub  applied, generation 2",
        "Apply: 1 applied, 1 unchanged, 1 unreachable.",
    ]
    plan, _ = await Run(fleet, ours).plan(star("hub", "a", "b"))
    assert msgspec.to_builtins(summarise(untouched(plan)))["unreachable"] == 1
