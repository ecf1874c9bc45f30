"""How long the orchestrator takes to start, to read documents, and to plan, as whole processes.

Planning is measured twice. `plan_new_fleet` has every node answer as one that was never enrolled, which is
the most that a plan can hold: every node's whole plan is new. `syncgraph plan` itself asks every node; one
machine has no 5,000 nodes to ask, so there it finds that none runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from bench.case import Bound, CannotMeasure, Figure, Plan
from bench.measure import Measured, environment, run, syncgraph

SPOKES = 5_000
MEMBERS = 200
LINES = 50

INVENTORY = """\
apiVersion: syncgraph/v1
kind: Inventory
metadata: {{name: fleet}}
spec:
  nodes:
{nodes}
"""

TOPOLOGY = """\
apiVersion: syncgraph/v1
kind: Topology
metadata: {{name: fleet}}
spec:
  inventory: [inventory.yaml]
  graphs:
{graphs}
"""


def start(plan: Plan) -> Iterator[Figure]:
    """The two commands whose delay people feel most."""
    program, settings = syncgraph(), environment(plan.directory / "state")
    run([*program, "--version"], environment=settings)
    yield _seconds(
        "`syncgraph --version`, warm, whole process",
        [run([*program, "--version"], environment=settings) for _ in range(plan.runs)],
        "syncgraph --version",
        Bound(0.2, at_most=True),
    )
    write_documents(plan.directory, fifty_line_nodes(), fifty_line_graphs())
    lines = len((plan.directory / "topology.yaml").read_text().splitlines())
    if lines != LINES:
        raise CannotMeasure(f"the topology has {lines} lines instead of {LINES}")
    run([*program, "validate", plan.directory], environment=settings)
    yield _seconds(
        f"`validate` of a {LINES}-line topology, warm, whole process",
        [run([*program, "validate", plan.directory], environment=settings) for _ in range(plan.runs)],
        "syncgraph validate $DIR",
        Bound(1.0, at_most=True),
    )


def hub(plan: Plan) -> Iterator[Figure]:
    """One hub and 5,000 spokes, named by a range."""
    nodes = _local(plan.directory, "hub") + _local(plan.directory, f"spoke-[0001:{SPOKES}]")
    ends = f'hub: "hub:/srv/content", spokes: ["spoke-[0001:{SPOKES}]:/srv/content"], direction: to-spokes'
    write_documents(plan.directory, nodes, f"    - {{name: fan, shape: hub-and-spoke, {ends}}}")
    yield from _plan_figures(plan, f"hub with {SPOKES:,} spokes", peak_bytes=400_000_000)


def mesh(plan: Plan) -> Iterator[Figure]:
    """200 nodes, everybody with everybody: 19,900 edges."""
    members = f"m-[001:{MEMBERS}]"
    graph = f'    - {{name: all, shape: full-mesh, members: ["{members}:/srv/content"]}}'
    write_documents(plan.directory, _local(plan.directory, members), graph)
    yield from _plan_figures(plan, f"full mesh of {MEMBERS}", peak_bytes=None)


def _plan_figures(plan: Plan, of_what: str, peak_bytes: int | None) -> Iterator[Figure]:
    """validate, then plan: two commands, as a pipeline runs them; their times are added."""
    settings = environment(plan.directory / "state")
    validate: list[str | Path] = [*syncgraph(), "validate", plan.directory]
    new_fleet: list[str | Path] = [sys.executable, "-m", "bench.plan_new_fleet", plan.directory]
    asking: list[str | Path] = [*syncgraph(), "plan", plan.directory]
    checked = [run(validate, environment=settings) for _ in range(plan.runs)]
    planned = [run(new_fleet, environment=settings) for _ in range(plan.runs)]
    # 1: no node answers, which is what is measured
    asked = [run(asking, environment=settings, expect=(1,)) for _ in range(plan.runs)]
    command = "syncgraph validate $DIR && python -m bench.plan_new_fleet $DIR"
    note = planned[-1].output.decode().strip().splitlines()[-1]
    parts = f"validate {checked[-1].seconds:.2f} s, plan {planned[-1].seconds:.2f} s; {note}"
    yield Figure(
        what=f"validate + plan, {of_what}, every node new",
        unit="s",
        runs=tuple(a.seconds + b.seconds for a, b in zip(checked, planned, strict=True)),
        command=command,
        floor="≤ 3 s",
        bound=Bound(3.0, at_most=True),
        notes=(parts,),
    )
    if peak_bytes is not None:
        yield Figure(
            what=f"the same, memory of the larger of the two, {of_what}",
            unit="MB",
            runs=tuple(max(a.peak_bytes, b.peak_bytes) / 1e6 for a, b in zip(checked, planned, strict=True)),
            command=command,
            floor=f"≤ {peak_bytes / 1e6:.0f} MB",
            bound=Bound(peak_bytes / 1e6, at_most=True),
        )
    yield Figure(
        what=f"`syncgraph plan`, {of_what}, nodes of this machine of which none runs",
        unit="s",
        runs=tuple(each.seconds for each in asked),
        command="syncgraph plan $DIR",
        notes=(f"{asked[-1].peak_bytes / 1e6:.0f} MB",),
    )


def write_documents(directory: Path, nodes: str, graphs: str) -> None:
    """An inventory and a topology. `nodes` and `graphs` are YAML list items, indented by four."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "inventory.yaml").write_text(INVENTORY.format(nodes=nodes.rstrip("\n")))
    (directory / "topology.yaml").write_text(TOPOLOGY.format(graphs=graphs.rstrip("\n")))


def fifty_line_graphs() -> str:
    """Every shape once, until the document has fifty lines."""
    shapes = [
        'name: pair\n      shape: bidirectional\n      between: ["n-01:/pair", "n-02:/pair"]',
        "name: star\n      shape: hub-and-spoke\n      hub: n-01:/star\n"
        "      spokes: {selector: role=office, path: /star}\n      direction: to-spokes",
        "name: mesh\n      shape: full-mesh\n      members: {selector: role=lab, path: /mesh}",
        'name: line\n      shape: chain\n      nodes: ["n-01:/line", "n-02:/line", "n-03:/line"]',
        'name: circle\n      shape: ring\n      nodes: ["n-01:/circle", "n-02:/circle", "n-03:/circle"]',
        'name: single\n      shape: one-way\n      source: "n-01:/single"\n      target: "n-02:/single"',
    ]
    lines = [line for shape in shapes for line in f"    - {shape}".splitlines()]
    missing = LINES - len(TOPOLOGY.format(graphs="").splitlines()) - len(lines) + 1
    for number in range(missing // 3):
        pair = f'between: ["n-01:/more-{number}", "n-02:/more-{number}"]'
        lines += [f"    - name: more-{number}", "      shape: bidirectional", f"      {pair}"]
    lines += ["    # Every shape once, and some more pairs."] * (missing % 3)
    return "\n".join(lines)


def fifty_line_nodes() -> str:
    """The nodes that `fifty_line_graphs` names."""
    return (
        '    - {name: "n-[01:03]", address: "$(name).example.net"}\n'
        '    - {name: "office-[01:20]", address: "$(name).example.net", labels: {role: office}}\n'
        '    - {name: "lab-[01:05]", address: "$(name).example.net", labels: {role: lab}}\n'
    )


def _local(directory: Path, names: str) -> str:
    state = f"{directory}/nodes/$(name)"
    return f'    - {{name: "{names}", access: local, address: 127.0.0.1, runtime: {{state: "{state}"}}}}\n'


def _seconds(what: str, measured: list[Measured], command: str, bound: Bound) -> Figure:
    peak = max(each.peak_bytes for each in measured)
    return Figure(
        what=what,
        unit="s",
        runs=tuple(each.seconds for each in measured),
        command=command,
        floor=f"≤ {bound.value:.1f} s",
        bound=bound,
        notes=(f"{peak / 1e6:.0f} MB",),
    )
