"""The host contract, held by every way to a node: memory, local socket, real OpenSSH, the runtime's port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from orchestrator.apply.gates import LoginGates
from orchestrator.apply.host import Host, Unreachable
from orchestrator.apply.local import LocalHost
from orchestrator.apply.ssh import RuntimeHost, SshAccess, SshdHost
from orchestrator.trust import authority
from schemas.control import Accepted, Apply, Enrol, Identify, Identity, Refused, Report, Status
from schemas.plans import (
    API_VERSION,
    NodePlan,
    ReplicaRef,
    ReplicationPlan,
    digest,
    empty_plan,
    encode,
)
from schemas.topology import Runtime, Ssh
from tests.support import sshd
from tests.support.hosts import (
    FarSide,
    MemoryHost,
    MemoryNode,
    runtime_server,
    socket_server,
    write_bridge,
)

pytestmark = pytest.mark.anyio
PASSPHRASE = "conformance of hosts"


@dataclass
class Way:
    """A host under test, the node that it should reach, and the authority of both."""

    host: Host
    memory: MemoryNode
    authority: authority.Authority
    far_side: FarSide | None = None  # None: there is no stream to spoil
    names: list[str] = field(default_factory=list)

    async def enrol(self) -> None:
        assert isinstance(await self.host.request(self.enrolment(self.authority)), Accepted)

    def enrolment(self, by: authority.Authority, node: str = "branch-01") -> Enrol:
        key = self.memory.public_key
        now = self.memory.now
        return Enrol(
            node, by.public_key, by.user_certificate(node, key, now), by.host_certificate(node, key, now)
        )


@pytest.fixture(scope="module")
def fleet_authority(tmp_path_factory: pytest.TempPathFactory) -> authority.Authority:
    return authority.create(tmp_path_factory.mktemp("fleet") / "authority", PASSPHRASE)


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> authority.Authority:
    return authority.create(tmp_path_factory.mktemp("other") / "authority", PASSPHRASE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Sshd | None]:
    if sshd.MISSING:
        yield None
        return
    with sshd.sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture(params=["memory", "local", "sshd", "runtime"])
async def tested(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    fleet_authority: authority.Authority,
    server: sshd.Sshd | None,
) -> AsyncIterator[Way]:
    memory = MemoryNode("branch-01")
    if request.param == "memory":
        yield Way(MemoryHost("branch-01", memory), memory, fleet_authority)
        return
    far_side = FarSide(memory)
    if request.param == "runtime":
        certificate = fleet_authority.host_certificate("branch-01", memory.public_key, unix_time())
        async with runtime_server(far_side, fleet_authority.public_key, certificate) as port:
            host: Host = RuntimeHost(
                "branch-01",
                "127.0.0.1",
                Runtime(port=port),
                fleet_authority.login(unix_time()),
                fleet_authority.public_key,
                LoginGates(),
            )
            yield Way(host, memory, fleet_authority, far_side)
            await host.close()
        return
    state = tmp_path / "a state with spaces and 'quotes'"
    async with socket_server(far_side, state):
        if request.param == "local":
            host = LocalHost("branch-01", state)
        else:
            if server is None:
                pytest.skip(sshd.MISSING)
            config = tmp_path / "config"
            config.write_text(server.client_config)
            program = write_bridge(tmp_path / "bin; exit 3" / "syncgraph-node")
            access = SshAccess(config)
            host = SshdHost(
                "branch-01", "tested", Ssh(command=str(program)), Runtime(state=str(state)), access
            )
        yield Way(host, memory, fleet_authority, far_side)
        await host.close()


def unix_time() -> float:
    """The real clock: SSH checks certificates by it."""
    import time

    return time.time()


def plan_of(edges: int) -> NodePlan:
    hub, spoke = ReplicaRef("hub", "/data"), ReplicaRef("branch-01", "/data")
    return NodePlan(
        API_VERSION,
        "NodePlan",
        "fleet",
        "branch-01",
        {},
        tuple(
            ReplicationPlan(f"fleet/graph/{number:06}", hub, spoke, "one-way", "branch-01")
            for number in range(edges)
        ),
    )


async def test_a_new_node_says_its_key_and_nothing_else(tested: Way) -> None:
    reply = await tested.host.request(Identify())
    assert isinstance(reply, Identity)
    assert reply.public_key == tested.memory.public_key
    assert (reply.node, reply.authority, reply.generation, reply.plan) == ("", "", 0, "")
    assert tested.host.node == "branch-01"


async def test_an_enrolled_node_takes_a_plan_and_shows_it(tested: Way) -> None:
    await tested.enrol()
    plan = plan_of(3)
    assert await tested.host.request(Apply(tested.authority.sign(plan, 1))) == Accepted(1)
    reply = await tested.host.request(Identify())
    assert isinstance(reply, Identity)
    assert (reply.node, reply.generation, reply.digest) == ("branch-01", 1, digest(plan))
    assert reply.plan.encode() == encode(plan)


async def test_requests_may_be_repeated(tested: Way) -> None:
    await tested.enrol()
    await tested.enrol()
    signed = tested.authority.sign(plan_of(1), 1)
    assert await tested.host.request(Apply(signed)) == Accepted(1)
    assert await tested.host.request(Apply(signed)) == Accepted(1)


async def test_what_a_node_refuses_is_an_answer_and_changes_nothing(
    tested: Way, other_authority: authority.Authority
) -> None:
    plan = plan_of(1)
    early = await tested.host.request(Apply(tested.authority.sign(plan, 1)))
    assert isinstance(early, Refused)
    await tested.enrol()
    await tested.host.request(Apply(tested.authority.sign(plan, 5)))
    other_node = tested.authority.sign(empty_plan("fleet", "branch-02"), 6)
    stretched = tested.authority.sign(plan, 6)
    altered = msgspec.structs.replace(stretched, plan="{}")
    for request in (
        Apply(other_authority.sign(plan, 6)),
        Apply(other_node),
        Apply(altered),
        Apply(tested.authority.sign(plan_of(2), 4)),
        Apply(tested.authority.sign(plan_of(2), 5)),
        tested.enrolment(other_authority),
    ):
        reply = await tested.host.request(request)
        assert isinstance(reply, Refused), request
        assert reply.reason
    assert (tested.memory.generation, tested.memory.digest) == (5, digest(plan))
    assert tested.memory.authority == tested.authority.public_key


async def test_status_is_a_report(tested: Way) -> None:
    assert isinstance(await tested.host.request(Status()), Report)


async def test_requests_at_the_same_time_each_get_their_own_answer(tested: Way) -> None:
    requests = [Identify(), Status()] * 10
    replies = await asyncio.gather(*(tested.host.request(request) for request in requests))
    assert [type(reply) for reply in replies] == [Identity, Report] * 10


async def test_a_large_plan_passes_both_ways(tested: Way) -> None:
    await tested.enrol()
    plan = plan_of(20_000)
    assert len(encode(plan)) > 3_000_000
    assert await tested.host.request(Apply(tested.authority.sign(plan, 1))) == Accepted(1)
    reply = await tested.host.request(Identify())
    assert isinstance(reply, Identity)
    assert reply.plan.encode() == encode(plan)


async def test_closing_twice_is_fine_and_a_closed_host_opens_again(tested: Way) -> None:
    await tested.host.request(Identify())
    await tested.host.close()
    await tested.host.close()
    assert isinstance(await tested.host.request(Identify()), Identity)


async def test_one_conversation_serves_all_requests(tested: Way) -> None:
    await asyncio.gather(*(tested.host.request(Identify()) for _ in range(5)))
    await tested.host.request(Status())
    if tested.far_side is not None:
        assert tested.far_side.conversations == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param(None, "hung up", id="hang-up"),
        pytest.param(b"Welcome to branch-01!\n", "Welcome to branch-01!", id="banner"),
        pytest.param(b'{"reply":"later"}\n', "doesn't understand", id="another version"),
        pytest.param(b"\xff\xfe\x00\x1b[2J\n", "something else answered", id="noise"),
    ],
)
async def test_a_spoilt_answer_is_unreachable_and_the_next_request_starts_over(
    tested: Way, fault: bytes | None, said: str
) -> None:
    if tested.far_side is None:
        pytest.skip("there is no stream to spoil")
    tested.far_side.faults.append(fault)
    with pytest.raises(Unreachable, match=said) as caught:
        await tested.host.request(Identify())
    assert caught.value.node == "branch-01"
    assert "\x1b" not in str(caught.value)
    assert isinstance(await tested.host.request(Identify()), Identity)
