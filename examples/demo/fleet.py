"""The demo's machines: three node runtimes as processes, and the commands that a user would type.

It knows how to start, ask and stop them, and nothing of the story. Next: `demo.py`.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
DEADLINE_S = 30.0  # for anything that is waited for; a busy machine takes a tenth of it
LOOK_S = 0.05  # between two looks at what is waited for
EXIT_S = 10.0
COMMAND_S = 60.0


class Broken(Exception):
    """Something isn't as promised. The message says what."""


def say(text: str = "", style: str = "") -> None:
    """Print a line, in colour where a person reads."""
    codes = {"heading": "1;36", "command": "1", "good": "32", "dim": "2"}
    coloured = style and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print(f"\x1b[{codes[style]}m{text}\x1b[0m" if coloured else text, flush=True)


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """The first true answer of `condition`; Broken when none comes in time."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise Broken(f"waited {DEADLINE_S:.0f} s in vain: {what}")
        time.sleep(LOOK_S)


@dataclass
class Node:
    """One runtime: its own key, state, SSH port, log and tree."""

    name: str
    state: Path
    tree: Path
    log: Path
    port: int = 0  # 0 until it has chosen a free one
    key: str = ""  # public half, once made
    process: subprocess.Popen[bytes] | None = None  # None while it is down


@dataclass
class Fleet:
    """Everything below one directory: the repository, the nodes, their trees."""

    directory: Path
    names: tuple[str, ...]
    nodes: dict[str, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.names:
            below = self.directory / "nodes"
            self.nodes[name] = Node(name, below / name, self.directory / name, below / f"{name}.log")
            self.nodes[name].tree.mkdir()
        self.repository.mkdir()
        (self.directory / "nodes").mkdir()
        self.passphrase_file.touch(0o600)
        self.passphrase_file.write_text(secrets.token_urlsafe() + "\n")

    @property
    def repository(self) -> Path:
        """Where the YAML is, and what a team would keep in Git."""
        return self.directory / "repository"

    @property
    def passphrase_file(self) -> Path:
        """What opens the certificate authority's key."""
        return self.directory / "passphrase"

    @property
    def trees(self) -> list[Path]:
        """The replicas, hub first."""
        return [node.tree for node in self.nodes.values()]

    def run(self, *words: str, shown: bool = True, captured: bool = False) -> str:
        """A command in the repository, as a user would type it. Broken if it fails."""
        if shown:
            say(f"\n$ {shlex.join(words)}", "command")
        environment = {**os.environ, "SYNCGRAPH_PASSPHRASE_FILE": str(self.passphrase_file)}
        try:
            done = subprocess.run(
                [str(BIN / words[0]), *words[1:]],
                cwd=self.repository,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if captured else None,
                text=True,
                timeout=COMMAND_S,
                check=False,
            )
        except FileNotFoundError:
            raise Broken(f"{words[0]} isn't installed beside {sys.executable}; run `make demo`") from None
        except subprocess.TimeoutExpired:
            raise Broken(f"`{shlex.join(words)}` didn't end within {COMMAND_S:.0f} s") from None
        if done.returncode:
            raise Broken(f"`{shlex.join(words)}` ended with {done.returncode}:\n{done.stdout or ''}")
        return done.stdout or ""

    def status(self) -> dict[str, Any]:
        """`syncgraph status`, for a program."""
        answer: dict[str, Any] = json.loads(
            self.run("syncgraph", "status", "--json", shown=False, captured=True)
        )
        return answer

    def totals(self) -> dict[str, dict[str, int]]:
        """What each node's runtime has counted since it started, over all its edges."""
        found = {}
        for node in self.nodes.values():
            words = ("syncgraph-node", "status", "--state", str(node.state), "--json")
            edges = json.loads(self.run(*words, shown=False, captured=True))["edges"]
            keys = ("receivedFiles", "receivedBytes", "renamed", "deleted", "pendingBytes")
            found[node.name] = {key: sum(edge.get(key, 0) for edge in edges) for key in keys}
        return found

    def start(self, name: str) -> None:
        """Start a runtime, and wait until it answers. The first time it takes a free port, then that one."""
        node = self.nodes[name]
        offset = node.log.stat().st_size if node.log.exists() else 0
        words = ["run", "--state", f"../nodes/{name}", "--listen", f"127.0.0.1:{node.port}"]
        say(f"\n$ {shlex.join(['syncgraph-node', *words])} &", "command")
        with node.log.open("ab") as log:
            # A session of its own: Ctrl-C is for the demo, which then stops what it started.
            node.process = subprocess.Popen(
                [str(BIN / "syncgraph-node"), *words],
                cwd=self.repository,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        process = node.process

        def ready() -> bool:
            text = node.log.read_bytes()[offset:].decode(errors="replace")
            if process.poll() is not None:
                raise Broken(f"the runtime of {name} ended with {process.returncode}:\n{text}")
            port = re.search(r"listening .*port=(\d+)", text)
            node.port = int(port[1]) if port else node.port
            return port is not None and "ready " in text

        wait_for(ready, f"the runtime of {name} is ready; its log is {node.log}")

    def stop(self, name: str) -> None:
        """Stop a runtime as a service manager does."""
        node = self.nodes[name]
        if node.process is None:
            return
        node.process.send_signal(signal.SIGTERM)
        try:
            node.process.wait(EXIT_S)
        except subprocess.TimeoutExpired:
            node.process.kill()
            node.process.wait()
            raise Broken(f"the runtime of {name} didn't stop within {EXIT_S:.0f} s of SIGTERM") from None
        finally:
            node.process = None

    def stop_all(self) -> None:
        """Leave no process behind, whatever happened."""
        problems = []
        for name in self.nodes:
            try:
                self.stop(name)
            except Broken as broken:
                problems.append(str(broken))
        if problems:
            raise Broken("; ".join(problems))

    def write_documents(self) -> None:
        """The repository's YAML: the demo's own, with this run's directory, ports and keys."""
        topology = (HERE / "topology.yaml").read_text().replace("/srv/demo", str(self.directory))
        inventory = (HERE / "inventory.yaml").read_text()
        for node in self.nodes.values():
            pattern = rf"(name: {node.name},.*runtime: {{port: )\d+"
            inventory, found = re.subn(pattern, rf'\g<1>{node.port}, hostKey: "{node.key}"', inventory)
            if not found:
                raise Broken(f"inventory.yaml has no line for {node.name}")
        (self.repository / "topology.yaml").write_text(topology)
        (self.repository / "inventory.yaml").write_text(inventory)
