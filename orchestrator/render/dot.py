"""A fleet in Graphviz's DOT, for other programs: every node and every edge, nothing put together.

Syntax: https://graphviz.org/doc/info/lang.html
"""

from __future__ import annotations

from itertools import groupby

from orchestrator.model.compile import Compiled

_COLOURS = {"continuous": "#2563eb", "scheduled": "#d97706", "once": "#7c3aed"}


def dot(compiled: Compiled) -> str:
    """The digraph's text."""
    lines = [
        f"digraph {_quoted(compiled.fleet)} {{",
        "  rankdir=LR;",
        '  node [shape=box, style=rounded, fontname="Helvetica"];',
        '  edge [fontname="Helvetica", fontsize=10];',
    ]
    used = {replica.node for edge in compiled.edges for replica in (edge.source, edge.target)}
    lines.extend(f"  {_quoted(node)};" for node in sorted(used))
    for graph, edges in groupby(compiled.edges, key=lambda edge: f"{edge.topology}/{edge.graph}"):
        lines.append(f"  // {graph}")
        for edge in edges:
            mode = edge.settings.sync.mode
            attributes = {
                "label": f"{edge.graph}: {mode}",
                "tooltip": f"{edge.source} to {edge.target}",
                "color": _COLOURS[mode],
                "dir": "both" if edge.direction == "two-way" else "forward",
            }
            said = ", ".join(f"{name}={_quoted(value)}" for name, value in attributes.items())
            lines.append(f"  {_quoted(edge.source.node)} -> {_quoted(edge.target.node)} [{said}];")
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
