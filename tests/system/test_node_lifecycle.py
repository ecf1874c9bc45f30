"""Real runtime processes: enrolment, plans, restarts, kills, and access that ends with its edge.

The edges in them only echo (`tests.support.echo_node`): what is tested here is the daemon around them.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from schemas.control import Accepted, Apply, Identify, Identity, Refused, Report, decode_reply
from schemas.plans import PeerAddress, digest, empty_plan
from tests.support.authority import Authority
from tests.support.nodes import (
    ECHO,
    PROGRAM,
    ROOT,
    Node,
    ask,
    enrol,
    push,
    running_nodes,
    start_node,
    stop_if_running,
)
from tests.support.plans import edge_between, plan_of
from tests.support.waiting import DEADLINE_S, wait_until

pytestmark = pytest.mark.system

EDGE = edge_between("hub:/srv/data", "spoke:/srv/data")


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    started = start_node(tmp_path / "node", program=ECHO)
    yield started
    stop_if_running(started)


def again(node: Node) -> Node:
    """The same node, started anew on its port and state."""
    return start_node(node.state, node.port, ECHO)


def states(node: Node) -> dict[str, str]:
    return {edge.edge: edge.state for edge in node.status().edges}


def run(*arguments: str, sent: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments],
        input=sent,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=DEADLINE_S,
        check=False,
    )


def test_first_start_enrolment_plan_and_restart(node: Node, authority: Authority) -> None:
    fresh = node.identity()
    assert (fresh.node, fresh.authority, fresh.generation, fresh.plan) == ("", "", 0, "")
    enrol(authority, node, "hub")
    plan = plan_of("hub", EDGE)
    assert push(authority, node, plan) == Accepted(generation=1)
    assert node.stop() == 0
    assert not (node.state / "control.sock").exists()
    restarted = again(node)
    try:
        told = restarted.identity()
        assert told.public_key == fresh.public_key
        assert (told.node, told.authority, told.generation) == ("hub", authority.public_key, 1)
        assert told.digest == digest(plan)
        assert states(restarted) == {EDGE.edge: "connecting"}
        assert isinstance(restarted.ask(Apply(authority.sign(plan, 1))), Accepted)
        older = restarted.ask(Apply(authority.sign(empty_plan("fleet", "hub"), 1)))
        assert isinstance(older, Refused)
        assert restarted.logged("refused plan generation=1")
    finally:
        stop_if_running(restarted)


def test_a_killed_runtime_leaves_nothing_that_stops_the_next(node: Node, authority: Authority) -> None:
    enrol(authority, node, "hub")
    push(authority, node, plan_of("hub", EDGE))
    node.kill()
    assert (node.state / "control.sock").exists()
    restarted = again(node)
    try:
        assert restarted.identity().generation == 1
    finally:
        stop_if_running(restarted)


def test_a_second_runtime_on_one_state_directory_is_refused(node: Node) -> None:
    second = run("run", "--state", str(node.state), "--listen", "127.0.0.1:0")
    assert second.returncode == 1
    assert f"another node runtime (pid {node.process.pid})" in second.stderr
    assert "Traceback" not in second.stderr
    assert isinstance(node.ask(Identify()), Identity)


def test_two_nodes_meet_and_part_as_their_plans_say(tmp_path: Path, authority: Authority) -> None:
    with running_nodes(tmp_path, authority, "hub", "spoke", program=ECHO) as nodes:
        hub, spoke = nodes["hub"], nodes["spoke"]
        other = edge_between("hub:/srv/other", "spoke:/srv/other")
        push(authority, spoke, plan_of("spoke", EDGE, other, peers={"hub": hub.address}))
        wait_until(lambda: "refuses this node" in spoke.status().edges[0].detail, "the hub has no plan yet")
        push(authority, hub, plan_of("hub", EDGE, other))
        wait_until(lambda: set(states(spoke).values()) == {"in-step"}, "both edges are open")
        assert sum(message.startswith("login from=") for message in hub.messages()) == 1, (
            "one connection for both"
        )

        assert isinstance(push(authority, hub, empty_plan("fleet", "hub")), Accepted)
        wait_until(lambda: set(states(spoke).values()) == {"connecting"}, "an edge removed is access removed")
        assert hub.logged("no longer in the plan")

        push(authority, hub, plan_of("hub", EDGE))
        wait_until(lambda: states(spoke)[EDGE.edge] == "in-step", "the edge is back")
        hub.kill()
        wait_until(lambda: states(spoke)[EDGE.edge] == "connecting", "the hub is gone")
        restarted = start_node(hub.state, hub.port, ECHO)
        try:
            wait_until(lambda: states(spoke)[EDGE.edge] == "in-step", "the edge outlives the hub's restart")
        finally:
            stop_if_running(restarted)


def test_renewed_certificates_are_shown_without_a_restart(tmp_path: Path, authority: Authority) -> None:
    with running_nodes(tmp_path, authority, "hub", "spoke", program=ECHO) as nodes:
        hub, spoke = nodes["hub"], nodes["spoke"]
        enrol(authority, hub, "hub")
        assert hub.logged("enrolled node=hub")
        push(authority, hub, plan_of("hub", EDGE))
        push(authority, spoke, plan_of("spoke", EDGE, peers={"hub": hub.address}))
        wait_until(lambda: states(spoke)[EDGE.edge] == "in-step", "the renewed certificate is believed")


def test_a_moved_peer_is_dialled_where_it_is_now(tmp_path: Path, authority: Authority) -> None:
    with running_nodes(tmp_path, authority, "hub", "spoke", program=ECHO) as nodes:
        hub, spoke = nodes["hub"], nodes["spoke"]
        push(authority, hub, plan_of("hub", EDGE))
        push(authority, spoke, plan_of("spoke", EDGE, peers={"hub": PeerAddress("127.0.0.1", 9)}))
        wait_until(lambda: "nothing listens" in spoke.status().edges[0].detail, "the old address is dead")
        push(authority, spoke, plan_of("spoke", EDGE, peers={"hub": hub.address}))
        wait_until(lambda: states(spoke)[EDGE.edge] == "in-step", "the new address is dialled")


def test_control_bridges_standard_input_and_output(node: Node) -> None:
    answered = run(
        "control", "--state", str(node.state), sent='{"op":"identify"}\nnonsense\n{"op":"status"}\n'
    )
    assert answered.returncode == 0
    replies = [decode_reply(line) for line in answered.stdout.splitlines()]
    assert [type(reply) for reply in replies] == [Identity, Refused, Report]


def test_control_carries_a_big_plan(node: Node, authority: Authority) -> None:
    enrol(authority, node, "hub")
    plan = plan_of(
        "hub", *(edge_between("hub:/srv/data", f"spoke-{n}:/srv/{'x' * 200}") for n in range(5000))
    )
    request = msgspec.json.encode(Apply(authority.sign(plan, 1))).decode() + '\n{"op":"identify"}\n'
    answered = run("control", "--state", str(node.state), sent=request)
    accepted, told = (decode_reply(line) for line in answered.stdout.splitlines())
    assert accepted == Accepted(generation=1)
    assert isinstance(told, Identity)
    assert told.digest == digest(plan)


def test_control_and_status_without_a_runtime_say_what_to_do(tmp_path: Path) -> None:
    answered = run("control", "--state", str(tmp_path / "none"), sent='{"op":"identify"}\n')
    assert answered.returncode == 1
    refused = decode_reply(answered.stdout.splitlines()[0])
    assert isinstance(refused, Refused)
    assert "syncgraph-node run --state" in refused.reason
    told = run("status", "--state", str(tmp_path / "none"))
    assert told.returncode == 1
    assert "no node runtime is running" in told.stderr
    assert "Traceback" not in answered.stderr + told.stderr


def test_status_for_people_and_for_programs(node: Node, authority: Authority) -> None:
    assert "(not enrolled)" in run("status", "--state", str(node.state)).stdout
    enrol(authority, node, "hub")
    push(authority, node, plan_of("hub", EDGE))
    shown = run("status", "--state", str(node.state)).stdout
    assert f"edge         {EDGE.edge}  connecting" in shown
    told = json.loads(run("status", "--state", str(node.state), "--json").stdout)
    assert (told["node"], told["generation"], told["edges"][0]["edge"]) == ("hub", 1, EDGE.edge)


def test_init_makes_a_key_that_the_runtime_keeps(tmp_path: Path, authority: Authority) -> None:
    state = tmp_path / "node"
    key_file = tmp_path / "authority.pub"
    key_file.write_text(authority.public_key + " fleet\n")
    printed = run("init", "--state", str(state), "--authority", str(key_file), "--node", "hub").stdout.strip()
    assert run("init", "--state", str(state)).stdout.strip() == printed
    started = start_node(state, program=ECHO)
    try:
        assert started.identity().public_key == printed
        stranger = Authority()
        refused = started.ask(stranger.enrol("hub", printed))
        assert isinstance(refused, Refused)
        enrol(authority, started, "hub")
    finally:
        stop_if_running(started)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "--listen", "nowhere"), "isn't HOST:PORT"),
        (("run", "--listen", "[::1]:99999"), "isn't HOST:PORT"),
        (("run", "--listen", "192.0.2.1:7722"), "can't listen on 192.0.2.1 port 7722"),
        (("init", "--authority", "/nonexistent"), "can't read /nonexistent"),
        (("init", "--authority", "ssh-rsa AAAA"), "authority's key can't be used"),
        (("init", "--node", "*"), "--node '*'"),
        (("run", "--state", "/proc/nothing"), "can't use /proc/nothing"),
    ],
)
def test_mistakes_are_one_message(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    state = () if "--state" in arguments else ("--state", str(tmp_path / "state"))
    told = run(*arguments, *state)
    assert told.returncode in (1, 2)
    assert said in told.stderr
    assert "Traceback" not in told.stderr


def test_the_service_manager_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(DEADLINE_S)
        node = start_node(
            tmp_path / "node", program=ECHO, environment={"NOTIFY_SOCKET": str(tmp_path / "notify")}
        )
        try:
            assert manager.recv(100) == b"READY=1"
            os.kill(node.process.pid, signal.SIGINT)
            assert manager.recv(100) == b"STOPPING=1"
            assert node.process.wait(DEADLINE_S) == 0
        finally:
            stop_if_running(node)


def test_no_private_key_is_ever_logged(tmp_path: Path, authority: Authority) -> None:
    with running_nodes(tmp_path, authority, "hub", program=ECHO) as nodes:
        hub = nodes["hub"]
        push(authority, hub, plan_of("hub", EDGE))
        assert isinstance(ask(hub.state, Identify()), Identity)
        lines = (hub.state / "node_key").read_text().splitlines()[1:-1]
        assert lines
        text = hub.log_path.read_text()
        assert not any(line in text for line in lines)
