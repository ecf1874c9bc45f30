"""Real node runtimes as processes: started on free ports, waited for, asked, stopped, their logs kept.

with running_nodes(tmp_path, authority, "hub", "spoke") as nodes:   # enrolled, without a plan
    push(authority, nodes["hub"], plan)
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from node_runtime.daemon.layout import Layout, connect_control
from schemas.control import (
    Accepted,
    Apply,
    Enrol,
    Identify,
    Identity,
    Reply,
    Report,
    Request,
    Status,
    decode_reply,
)
from schemas.plans import NodePlan, PeerAddress
from schemas.status import NodeStatus
from tests.support.authority import Authority
from tests.support.waiting import DEADLINE_S, wait_until

ROOT = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-m", "node_runtime.cli")
ECHO = (sys.executable, "-m", "tests.support.echo_node")  # the daemon alone; its edges only say hello


@dataclass
class Node:
    """One runtime process and where it lives."""

    state: Path
    log_path: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> PeerAddress:
        return PeerAddress("127.0.0.1", self.port)

    def ask(self, request: Request) -> Reply:
        """One request over the control socket."""
        return ask(self.state, request)

    def identity(self) -> Identity:
        reply = self.ask(Identify())
        assert isinstance(reply, Identity)
        return reply

    def status(self) -> NodeStatus:
        reply = self.ask(Status())
        assert isinstance(reply, Report)
        return reply.status

    def messages(self) -> list[str]:
        """What the runtime logged so far, without times and levels."""
        return [json.loads(line)["message"] for line in self.log_path.read_text().splitlines()]

    def logged(self, text: str) -> bool:
        """Whether a message holds `text`."""
        return any(text in message for message in self.messages())

    def stop(self) -> int:
        """Stop it as a service manager does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        """End it as a power failure does, as far as its own memory goes."""
        self.process.kill()
        self.process.wait(DEADLINE_S)


def start_node(
    state: Path, port: int = 0, program: Sequence[str] = PROGRAM, environment: dict[str, str] | None = None
) -> Node:
    """Start a runtime and wait until it answers. Port 0 takes a free one; name it to restart in place."""
    state.parent.mkdir(parents=True, exist_ok=True)
    log_path = state.with_name(state.name + ".log")
    offset = log_path.stat().st_size if log_path.exists() else 0
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            [*program, "run", "--state", str(state), "--listen", f"127.0.0.1:{port}", "--log-json"],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    node = Node(state, log_path, port, process)

    def ready() -> bool:
        text = log_path.read_bytes()[offset:].decode()
        assert process.poll() is None, f"the runtime ended with {process.returncode}:\n{text}"
        for line in text.splitlines():
            message = json.loads(line)["message"] if line.startswith("{") else ""
            if message.startswith("listening "):
                node.port = int(message.rpartition("port=")[2])
            if message.startswith("ready "):
                return True
        return False

    try:
        wait_until(ready, f"the runtime on {state} is ready")
    except BaseException:
        process.kill()
        raise
    return node


def ask(state: Path, request: Request) -> Reply:
    """One request over the control socket of a runtime."""
    with connect_control(Layout(state)) as connection:
        connection.settimeout(DEADLINE_S)
        connection.sendall(msgspec.json.encode(request) + b"\n")
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return decode_reply(received)


def enrol(authority: Authority, node: Node, name: str) -> None:
    """Make a node a member of the authority's fleet."""
    request: Enrol = authority.enrol(name, node.identity().public_key)
    assert isinstance(node.ask(request), Accepted)


def push(authority: Authority, node: Node, plan: NodePlan) -> Reply:
    """Sign a plan as the next generation and push it."""
    return node.ask(Apply(authority.sign(plan, node.identity().generation + 1)))


@contextmanager
def running_nodes(
    directory: Path, authority: Authority, *names: str, program: Sequence[str] = PROGRAM
) -> Iterator[dict[str, Node]]:
    """Enrolled runtimes by name; all are stopped at the end, and a failing test shows their logs."""
    nodes: dict[str, Node] = {}
    with ExitStack() as stack:
        for name in names:
            nodes[name] = start_node(directory / name, program=program)
            stack.callback(stop_if_running, nodes[name])
            enrol(authority, nodes[name], name)
        try:
            yield nodes
        except BaseException:
            for name, node in nodes.items():
                sys.stderr.write(f"--- log of {name}\n{node.log_path.read_text()}\n")
            raise


def stop_if_running(node: Node) -> None:
    """Leave no process behind, whatever became of the test."""
    if node.process.poll() is None:
        node.process.terminate()
        try:
            node.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            node.kill()
