"""A runtime's own port, seen by a real OpenSSH client: two subsystems by certificate, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest

from schemas.control import (
    CONTROL_SUBSYSTEM,
    ORCHESTRATOR_PRINCIPAL,
    SESSION_SUBSYSTEM,
    Accepted,
    Identity,
    decode_reply,
)
from tests.support.authority import Authority, line
from tests.support.nodes import ECHO, Node, push, running_nodes, start_node, stop_if_running
from tests.support.plans import edge_between, plan_of
from tests.support.waiting import DEADLINE_S

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("ssh") is None, reason="no OpenSSH client on this machine"),
]

EDGE = edge_between("hub:/srv/data", "spoke:/srv/data")
ASK = '{"op":"identify"}\n'


@dataclass
class Client:
    """OpenSSH with one key and one certificate."""

    directory: Path
    node: Node
    authority: Authority
    alias: str = "hub"

    def key(self, certificate_by: Authority | None, principals: list[str], **dates: float) -> None:
        """Make the identity that `run` shows; without an authority, a bare key."""
        for old in self.directory.glob("id*"):
            old.unlink()
        key = asyncssh.generate_private_key("ssh-ed25519")
        private = self.directory / "id"
        private.write_bytes(key.export_private_key("openssh"))
        private.chmod(0o600)
        if certificate_by is not None:
            public = line(key.export_public_key())
            text = certificate_by.certificate("user", public, principals, **dates)
            (self.directory / "id-cert.pub").write_text(text + "\n")

    def run(
        self, user: str, *arguments: str, sent: str = "", **options: str
    ) -> subprocess.CompletedProcess[str]:
        """Run ssh with these options before the host and these arguments behind it."""
        known = self.directory / "known_hosts"
        known.write_text(f"@cert-authority * {self.authority.public_key}\n")
        given = {
            "IdentityFile": str(self.directory / "id"),
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": str(known),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "HostKeyAlias": self.alias,
            "BatchMode": "yes",
            "LogLevel": "INFO",
            "User": user,
            "Port": str(self.node.port),
            **options,
        }
        before = [each for name, value in given.items() for each in ("-o", f"{name}={value}")]
        flags = [argument for argument in arguments if argument.startswith("-")]
        rest = [argument for argument in arguments if not argument.startswith("-")]
        return subprocess.run(
            ["ssh", "-F", "none", *before, *flags, "127.0.0.1", *rest],
            input=sent,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    authority = Authority()
    with running_nodes(tmp_path, authority, "hub", program=ECHO) as nodes:
        assert isinstance(push(authority, nodes["hub"], plan_of("hub", EDGE)), Accepted)
        directory = tmp_path / "client"
        directory.mkdir()
        yield Client(directory, nodes["hub"], authority)


def test_the_orchestrator_controls_and_a_peer_gets_a_session(client: Client) -> None:
    client.key(client.authority, [ORCHESTRATOR_PRINCIPAL])
    answered = client.run(ORCHESTRATOR_PRINCIPAL, "-s", CONTROL_SUBSYSTEM, sent=ASK)
    told = decode_reply(answered.stdout)
    assert isinstance(told, Identity)
    assert (told.node, told.generation) == ("hub", 1)

    client.key(client.authority, ["spoke"])
    assert client.run("spoke", "-s", SESSION_SUBSYSTEM, sent="echo").stdout == "echo"


def test_each_subsystem_is_for_its_own_callers(client: Client) -> None:
    client.key(client.authority, ["spoke"])
    assert "subsystem request failed" in client.run("spoke", "-s", CONTROL_SUBSYSTEM, sent=ASK).stderr
    client.key(client.authority, [ORCHESTRATOR_PRINCIPAL])
    refused = client.run(ORCHESTRATOR_PRINCIPAL, "-s", SESSION_SUBSYSTEM, sent="echo")
    assert "subsystem request failed" in refused.stderr
    assert client.node.logged("refused subsystem")


@pytest.mark.parametrize("user", [ORCHESTRATOR_PRINCIPAL, "spoke"])
def test_nothing_but_subsystems(client: Client, user: str) -> None:
    client.key(client.authority, [user])
    for arguments, said in (
        ((), "shell request failed"),
        (("id",), "exec request failed"),
        (("-s", "sftp"), "subsystem request failed"),
        (("-tt",), "PTY allocation request failed"),
        ((f"-W127.0.0.1:{client.node.port}",), "stdio forwarding failed"),
    ):
        refused = client.run(user, *arguments, sent="id\n")
        assert refused.returncode != 0, arguments
        assert said in refused.stderr, arguments
        assert "uid=" not in refused.stdout
    forward = f"127.0.0.1:0 127.0.0.1:{client.node.port}"
    refused = client.run(user, "-N", RemoteForward=forward, ExitOnForwardFailure="yes")
    assert "remote port forwarding failed" in refused.stderr


@pytest.mark.parametrize(
    "case",
    ["stranger", "expired", "tomorrow", "other principal", "any principal", "bare key", "host key of node"],
)
def test_who_does_not_get_in(client: Client, case: str) -> None:
    now = time.time()
    match case:
        case "stranger":
            client.key(Authority(), ["spoke"])
        case "expired":
            client.key(client.authority, ["spoke"], valid_before=now - 1)
        case "tomorrow":
            client.key(client.authority, ["spoke"], valid_after=now + 3600)
        case "other principal":
            client.key(client.authority, ["relay"])
        case "any principal":
            client.key(client.authority, [])
        case "bare key":
            client.key(None, [])
        case _:
            client.key(None, [])
            (client.directory / "id").write_bytes((client.node.state / "node_key").read_bytes())
    refused = client.run("spoke", "-s", SESSION_SUBSYSTEM, sent="echo")
    assert refused.returncode == 255
    assert "Permission denied (publickey)" in refused.stderr
    assert not refused.stdout


@pytest.mark.parametrize("user", ["relay", "root", "*", "spoke*", "?poke"])
def test_names_outside_the_plan_are_refused(client: Client, user: str) -> None:
    client.key(client.authority, [user])
    refused = client.run(user, "-s", SESSION_SUBSYSTEM, sent="echo")
    assert refused.returncode == 255
    assert "Permission denied" in refused.stderr


def test_passwords_are_not_even_asked_for(client: Client) -> None:
    client.key(None, [])
    for method in ("password", "keyboard-interactive", "hostbased", "gssapi-with-mic"):
        refused = client.run(
            "spoke", "-s", SESSION_SUBSYSTEM, PreferredAuthentications=method, BatchMode="no"
        )
        assert "Permission denied (publickey)" in refused.stderr


def test_the_host_proves_its_name_by_certificate(client: Client) -> None:
    client.key(client.authority, ["spoke"])
    client.alias = "relay"
    refused = client.run("spoke", "-s", SESSION_SUBSYSTEM, sent="echo")
    assert refused.returncode == 255
    assert "Host key verification failed" in refused.stderr


def test_before_enrolment_only_the_authority_named_at_init_gets_in(tmp_path: Path) -> None:
    authority = Authority()
    directory = tmp_path / "client"
    directory.mkdir()
    state = tmp_path / "new"
    subprocess.run(
        [*ECHO[:2], "node_runtime.cli", "init", "--state", str(state), "--authority", authority.public_key],
        check=True,
        capture_output=True,
    )
    node = start_node(state, program=ECHO)
    try:
        client = Client(directory, node, authority)
        pinned = directory / "pinned"
        pinned.write_text(f"hub {node.identity().public_key}\n")
        told = {"UserKnownHostsFile": str(pinned)}
        client.key(authority, [ORCHESTRATOR_PRINCIPAL])
        answered = client.run(ORCHESTRATOR_PRINCIPAL, "-s", CONTROL_SUBSYSTEM, sent=ASK, **told)
        assert isinstance(decode_reply(answered.stdout), Identity)
        client.key(Authority(), [ORCHESTRATOR_PRINCIPAL])
        refused = client.run(ORCHESTRATOR_PRINCIPAL, "-s", CONTROL_SUBSYSTEM, sent=ASK, **told)
        assert "Permission denied (publickey)" in refused.stderr
    finally:
        stop_if_running(node)


def test_a_runtime_without_an_authority_lets_nobody_in(tmp_path: Path) -> None:
    authority = Authority()
    directory = tmp_path / "client"
    directory.mkdir()
    node = start_node(tmp_path / "new", program=ECHO)
    try:
        client = Client(directory, node, authority)
        pinned = directory / "pinned"
        pinned.write_text(f"hub {node.identity().public_key}\n")
        client.key(authority, [ORCHESTRATOR_PRINCIPAL])
        refused = client.run(
            ORCHESTRATOR_PRINCIPAL, "-s", CONTROL_SUBSYSTEM, sent=ASK, UserKnownHostsFile=str(pinned)
        )
        assert "Permission denied" in refused.stderr
    finally:
        stop_if_running(node)
