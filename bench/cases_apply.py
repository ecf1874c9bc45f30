"""`syncgraph apply` to fifty real node runtimes on this machine, each a process with its own port and keys.

The runtimes are running, unenrolled and without a plan, when the clock starts; it stops when
`syncgraph apply` exits, after every node has been given its certificate and has acknowledged its plan. Each
run has new runtimes and a new certificate authority.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.case import Bound, CannotMeasure, Figure, Plan
from bench.cases_plan import write_documents
from bench.measure import Measured, environment, run, syncgraph
from bench.trees import remove_tree

NODES = 50
READY_S = 120.0  # for all of them to start, on a slow machine
STOP_S = 30.0
PASSPHRASE = "only for measuring"


def apply_fleet(plan: Plan) -> Iterator[Figure]:
    """A hub and 49 spokes, enrolled and given their first plans; then applied again, unchanged."""
    first, again = [], []
    for _ in range(plan.runs):
        remove_tree(plan.directory)
        with runtimes(plan.directory) as ports:
            _write(plan.directory, ports)
            first.append(_apply(plan.directory, "applied"))
            again.append(_apply(plan.directory, "unchanged"))
    yield Figure(
        what=f"`apply` to {NODES} runtimes on this machine, enrolment included, until all have acknowledged",
        unit="nodes/s",
        runs=tuple(NODES / each.seconds for each in first),
        command="syncgraph apply $DIR/repository --yes --json",
        floor="≥ 15 nodes/s",
        bound=Bound(15),
        notes=(f"{_middle(first):.2f} s, {first[-1].peak_bytes / 1e6:.0f} MB",),
    )
    yield Figure(
        what="`apply` again, no changes",
        unit="nodes/s",
        runs=tuple(NODES / each.seconds for each in again),
        command="syncgraph apply $DIR/repository --yes --json",
        notes=(f"{_middle(again):.2f} s",),
    )


@contextmanager
def runtimes(directory: Path) -> Iterator[dict[str, int]]:
    """Running node runtimes: their ports by name, once all are ready. All are stopped at the end."""
    with ExitStack() as stack:
        logs = {}
        for number in range(1, NODES + 1):
            name = f"n-{number:02d}"
            logs[name] = _start(stack, directory, name)
        deadline = time.monotonic() + READY_S
        ports: dict[str, int] = {}
        for name, log in logs.items():
            while (port := _ready_port(log)) is None:
                if time.monotonic() > deadline:
                    raise CannotMeasure(
                        f"the runtime {name} isn't ready after {READY_S:.0f} s: {log.read_text()[-500:]}"
                    )
                time.sleep(0.05)
            ports[name] = port
        yield ports


def _start(stack: ExitStack, directory: Path, name: str) -> Path:
    state = directory / "nodes" / name
    state.parent.mkdir(parents=True, exist_ok=True)
    (directory / "trees" / name).mkdir(parents=True)
    log_path = state.with_name(f"{name}.log")
    command = [sys.executable, "-m", "node_runtime.cli", "run", "--state", str(state)]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--listen", "127.0.0.1:0", "--log-json"],
            env={**os.environ, **environment(directory / "state")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    stack.callback(_wait, process)
    stack.callback(process.terminate)
    return log_path


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _ready_port(log: Path) -> int | None:
    """The port that a runtime listens at, once it says that it is ready."""
    port = None
    for line in log.read_text().splitlines():
        message = json.loads(line)["message"] if line.startswith("{") and line.endswith("}") else ""
        if message.startswith("listening "):
            port = int(message.rpartition("port=")[2])
        if message.startswith("ready "):
            return port
    return None


def _write(directory: Path, ports: dict[str, int]) -> None:
    lines = []
    for name, port in ports.items():
        runtime = f"{{port: {port}, state: '{directory}/nodes/{name}'}}"
        lines.append(f"    - {{name: {name}, access: local, address: 127.0.0.1, runtime: {runtime}}}")
    hub, *spokes = (f'"{name}:{directory}/trees/{name}"' for name in ports)
    star = f"hub: {hub}, spokes: [{', '.join(spokes)}], direction: to-spokes"
    graph = f"    - {{name: star, shape: hub-and-spoke, {star}}}"
    write_documents(directory / "repository", "\n".join(lines), graph)


def _apply(directory: Path, expected: str) -> Measured:
    settings = {**environment(directory / "state"), "SYNCGRAPH_PASSPHRASE": PASSPHRASE}
    command: list[str | Path] = [*syncgraph(), "apply", directory / "repository", "--yes", "--json"]
    measured = run(command, environment=settings)
    outcomes = [node["outcome"] for node in json.loads(measured.output)["nodes"]]
    if outcomes.count(expected) != NODES:
        raise CannotMeasure(f"not all {NODES} nodes are {expected}: {', '.join(sorted(set(outcomes)))}")
    return measured


def _middle(measured: list[Measured]) -> float:
    return sorted(each.seconds for each in measured)[len(measured) // 2]
