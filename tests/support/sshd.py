"""A real OpenSSH server on the loopback interface, with keys, configuration and a port of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_TIMEOUT_S = 10.0
SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
MISSING = "" if SSHD else "OpenSSH's sshd isn't installed"


@dataclass(frozen=True)
class Sshd:
    """A running server, and what a client needs to log in."""

    directory: Path
    port: int
    user: str
    identity: Path  # a private key that the server lets in
    known_hosts: Path  # names the server's key

    @property
    def client_config(self) -> str:
        """Lines for an ssh_config, as a user would have them."""
        return (
            f"Host tested\n  HostName 127.0.0.1\n  Port {self.port}\n  User {self.user}\n"
            f"  IdentityFile {self.identity}\n  UserKnownHostsFile {self.known_hosts}\n"
        )

    def log(self) -> str:
        return (self.directory / "log").read_text()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def sshd(directory: Path, extra: str = "") -> Iterator[Sshd]:
    """Run a server for as long as the block lasts. `extra` is put before its configuration."""
    assert SSHD is not None
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("host_key", "identity"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)]
        subprocess.run(command, check=True)
    shutil.copy(directory / "identity.pub", directory / "authorized_keys")
    port = free_port()
    (directory / "config").write_text(
        f"{extra}\n"
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {directory}/host_key\nPidFile none\n"
        f"AuthorizedKeysFile {directory}/authorized_keys\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n"
    )
    host_key = (directory / "host_key.pub").read_text()
    (directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # its privilege separation directory
    arguments = [SSHD, "-D", "-f", str(directory / "config"), "-E", str(directory / "log")]
    server = subprocess.Popen(arguments)
    try:
        _wait_for(port, server, directory)
        yield Sshd(directory, port, getpass.getuser(), directory / "identity", directory / "known_hosts")
    finally:
        server.terminate()
        server.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes], directory: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        _give_a_moment(server)
    log = directory / "log"
    raise AssertionError(f"sshd didn't start: {log.read_text() if log.exists() else 'no log'}")


def _give_a_moment(server: subprocess.Popen[bytes]) -> None:
    """Give the server a moment, or notice that it ended."""
    try:
        server.wait(timeout=0.02)
    except subprocess.TimeoutExpired:
        return
