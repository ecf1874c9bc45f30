"""Who SSH hosts trust, how they log in through a real sshd, and what they say when they can't."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh
import pytest

from orchestrator.apply.gates import LoginGates
from orchestrator.apply.host import Unreachable
from orchestrator.apply.ssh import RuntimeHost, SshAccess, SshdHost, control_command
from orchestrator.trust import authority
from schemas.control import Identify, Identity
from schemas.topology import Runtime, Ssh
from tests.support import sshd
from tests.support.hosts import FarSide, MemoryNode, runtime_server, socket_server, write_bridge

pytestmark = pytest.mark.anyio
needs_sshd = pytest.mark.skipif(bool(sshd.MISSING), reason=sshd.MISSING)


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> authority.Authority:
    return authority.create(tmp_path_factory.mktemp("fleet") / "authority", "a passphrase")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> authority.Authority:
    return authority.create(tmp_path_factory.mktemp("other") / "authority", "a passphrase")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Sshd]:
    with sshd.sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


def runtime_host(
    by: authority.Authority, port: int, pinned: str | None = None, login: authority.Login | None = None
) -> RuntimeHost:
    runtime = Runtime(port=port, host_key=pinned)
    return RuntimeHost(
        "branch-01", "127.0.0.1", runtime, login or by.login(time.time()), by.public_key, LoginGates()
    )


class TestRuntime:
    """The runtime's own port: certificates of one authority, both ways."""

    async def refusal(self, host: RuntimeHost) -> str:
        with pytest.raises(Unreachable) as caught:
            await host.request(Identify())
        await host.close()
        return caught.value.reason

    async def test_another_authority_s_host_certificate_is_refused(
        self, trusted: authority.Authority, other: authority.Authority
    ) -> None:
        node = MemoryNode("branch-01")
        certificate = other.host_certificate("branch-01", node.public_key, time.time())
        async with runtime_server(FarSide(node), trusted.public_key, certificate) as port:
            assert "no certificate for branch-01" in await self.refusal(runtime_host(trusted, port))
        assert node.requests == []

    @pytest.mark.parametrize("age_s", [0.0, 100 * 86_400.0])
    async def test_another_node_s_and_an_expired_certificate_are_refused(
        self, trusted: authority.Authority, age_s: float
    ) -> None:
        node = MemoryNode("branch-01")
        name = "branch-01" if age_s else "branch-02"
        certificate = trusted.host_certificate(name, node.public_key, time.time() - age_s)
        async with runtime_server(FarSide(node), trusted.public_key, certificate) as port:
            assert "no certificate for branch-01" in await self.refusal(runtime_host(trusted, port))
        assert node.requests == []

    async def test_a_user_certificate_is_no_host_certificate(self, trusted: authority.Authority) -> None:
        node = MemoryNode("branch-01")
        certificate = trusted.user_certificate("branch-01", node.public_key, time.time())
        async with runtime_server(FarSide(node), trusted.public_key, certificate) as port:
            assert "no certificate for branch-01" in await self.refusal(runtime_host(trusted, port))
        assert node.requests == []

    async def test_a_bare_host_key_is_trusted_only_where_it_is_pinned(
        self, trusted: authority.Authority
    ) -> None:
        node, stranger = MemoryNode("branch-01"), MemoryNode("branch-02")
        async with runtime_server(FarSide(node), trusted.public_key, None) as port:
            assert "pin the key" in await self.refusal(runtime_host(trusted, port))
            wrong = runtime_host(trusted, port, pinned=stranger.public_key)
            assert "neither the pinned runtime.hostKey nor" in await self.refusal(wrong)
            assert node.requests == []
            right = runtime_host(trusted, port, pinned=node.public_key)
            assert isinstance(await right.request(Identify()), Identity)
            await right.close()

    async def test_a_pinned_key_doesn_t_shut_out_the_certificate(self, trusted: authority.Authority) -> None:
        node = MemoryNode("branch-01")
        certificate = trusted.host_certificate("branch-01", node.public_key, time.time())
        async with runtime_server(FarSide(node), trusted.public_key, certificate) as port:
            host = runtime_host(trusted, port, pinned=node.public_key)
            assert isinstance(await host.request(Identify()), Identity)
            await host.close()

    async def test_a_node_of_another_authority_says_how_to_let_us_in(
        self, trusted: authority.Authority, other: authority.Authority
    ) -> None:
        node = MemoryNode("branch-01")
        certificate = trusted.host_certificate("branch-01", node.public_key, time.time())
        async with runtime_server(FarSide(node), other.public_key, certificate) as port:
            reason = await self.refusal(runtime_host(trusted, port))
        assert f"init --authority '{trusted.public_key}' --node branch-01" in reason

    async def test_a_pin_that_is_no_key_and_a_closed_port_are_named(
        self, trusted: authority.Authority
    ) -> None:
        port = sshd.free_port()
        assert "runtime.hostKey isn't" in await self.refusal(runtime_host(trusted, port, pinned="nonsense"))
        assert f"127.0.0.1 port {port}" in await self.refusal(runtime_host(trusted, port))


@needs_sshd
class TestSshd:
    """The system's sshd: a real one, and the user's own setup."""

    @asynccontextmanager
    async def way(self, tmp_path: Path, config: str, ssh: Ssh, address: str = "tested"):  # type: ignore[no-untyped-def]
        (tmp_path / "config").write_text(config)
        program = write_bridge(tmp_path / "syncgraph-node")
        if ssh.command is None:
            ssh = Ssh(
                **{name: getattr(ssh, name) for name in ssh.__struct_fields__} | {"command": str(program)}
            )
        access = SshAccess(tmp_path / "config")
        state = tmp_path / "state"
        async with socket_server(FarSide(MemoryNode("branch-01")), state):
            host = SshdHost("branch-01", address, ssh, Runtime(state=str(state)), access)
            yield host
            await host.close()
            await access.close()

    async def refusal(self, tmp_path: Path, config: str, ssh: Ssh, address: str = "tested") -> str:
        async with self.way(tmp_path, config, ssh, address) as host:
            with pytest.raises(Unreachable) as caught:
                await host.request(Identify())
            assert caught.value.node == "branch-01"
        reason: str = caught.value.reason
        return reason

    async def test_the_inventory_alone_is_enough(self, tmp_path: Path, server: sshd.Sshd) -> None:
        ssh = Ssh(
            user=server.user,
            port=server.port,
            identity_file=str(server.identity),
            known_hosts=str(server.known_hosts),
        )
        async with self.way(tmp_path, "", ssh, "127.0.0.1") as host:
            assert isinstance(await host.request(Identify()), Identity)

    async def test_an_unknown_host_key_is_refused(self, tmp_path: Path, server: sshd.Sshd) -> None:
        empty = tmp_path / "known_hosts"
        empty.touch()
        config = server.client_config.replace(str(server.known_hosts), str(empty))
        assert "isn't known" in await self.refusal(tmp_path, config, Ssh())

    async def test_a_changed_host_key_is_refused(self, tmp_path: Path, server: sshd.Sshd) -> None:
        key = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
        forged = tmp_path / "known_hosts"
        forged.write_text(f"[127.0.0.1]:{server.port} {key}")
        assert "isn't known" in await self.refusal(
            tmp_path, server.client_config, Ssh(known_hosts=str(forged))
        )

    @pytest.mark.parametrize("off", ["UserKnownHostsFile none", "StrictHostKeyChecking no"])
    async def test_the_check_can_t_be_turned_off(self, tmp_path: Path, server: sshd.Sshd, off: str) -> None:
        empty = tmp_path / "known_hosts"
        empty.touch()
        config = server.client_config.replace(f"UserKnownHostsFile {server.known_hosts}", off)
        if "none" not in off:
            config += f"  UserKnownHostsFile {empty}\n"
        reason = await self.refusal(tmp_path, config, Ssh())
        assert "host key" in reason

    async def test_a_known_hosts_file_that_is_missing_is_named(
        self, tmp_path: Path, server: sshd.Sshd
    ) -> None:
        ssh = Ssh(known_hosts=str(tmp_path / "nowhere"))
        assert "nowhere, which isn't there" in await self.refusal(tmp_path, server.client_config, ssh)

    async def test_a_login_that_is_refused_says_what_to_offer(
        self, tmp_path: Path, server: sshd.Sshd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        stranger = tmp_path / "stranger"
        asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(stranger))
        config = server.client_config.replace(str(server.identity), str(stranger))
        assert "refuses the login" in await self.refusal(tmp_path, config, Ssh())

    async def test_a_missing_program_is_told_from_a_missing_runtime(
        self, tmp_path: Path, server: sshd.Sshd
    ) -> None:
        reason = await self.refusal(tmp_path, server.client_config, Ssh(command="/nowhere/syncgraph-node"))
        assert "is the node runtime installed there?" in reason
        async with self.way(tmp_path, server.client_config, Ssh()) as host:
            host._runtime = Runtime(state=str(tmp_path))
            with pytest.raises(Unreachable, match="no node runtime"):
                await host.request(Identify())

    async def test_a_name_that_nobody_knows_is_said(self, tmp_path: Path) -> None:
        reason = await self.refusal(tmp_path, "", Ssh(), "no-such-host.invalid")
        assert "no-such-host.invalid" in reason

    @pytest.mark.parametrize("written", ["inventory", "config"])
    async def test_a_jump_host_leads_on_and_its_key_is_checked_too(
        self, tmp_path: Path, server: sshd.Sshd, tmp_path_factory: pytest.TempPathFactory, written: str
    ) -> None:
        with sshd.sshd(tmp_path_factory.mktemp("jump")) as jump:
            leap = jump.client_config.replace("Host tested", "Host leap")
            config = server.client_config + leap
            ssh = Ssh(jump="leap")
            if written == "config":
                config, ssh = server.client_config + "  ProxyJump leap\n" + leap, Ssh()
            async with self.way(tmp_path, config, ssh) as host:
                assert isinstance(await host.request(Identify()), Identity)
            assert "direct-tcpip" in jump.log() or "Accepted publickey" in jump.log()
            for bad in ("UserKnownHostsFile none", f"UserKnownHostsFile {server.known_hosts}"):
                reason = await self.refusal(
                    tmp_path, config.replace(f"UserKnownHostsFile {jump.known_hosts}", bad), ssh
                )
                assert "host key" in reason

    async def test_a_jump_host_that_leads_to_itself_ends(self, tmp_path: Path, server: sshd.Sshd) -> None:
        reason = await self.refusal(tmp_path, server.client_config + "  ProxyJump tested\n", Ssh())
        assert "lead to itself" in reason


@pytest.mark.parametrize(
    ("program", "state", "line"),
    [
        (None, None, "syncgraph-node control"),
        ("/opt/a b/node", "/var/lib/x; rm -rf ~", "'/opt/a b/node' control --state '/var/lib/x; rm -rf ~'"),
        ("~/bin/node", "~/$(id)/state", "~/bin/node control --state ~/'$(id)/state'"),
        ("node", "it's", """node control --state 'it'"'"'s'"""),
        ("node", "~", "node control --state '~'"),
    ],
)
def test_every_word_of_the_remote_command_is_quoted(
    program: str | None, state: str | None, line: str
) -> None:
    assert control_command(program, state) == line
