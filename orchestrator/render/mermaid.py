"""A fleet as a Mermaid flowchart, for README files and merge requests.

Mermaid draws at most 500 edges unless it is configured, which is why large fleets are put together first.
Syntax: https://mermaid.js.org/syntax/flowchart.html
"""

from __future__ import annotations

from orchestrator.model.compile import Compiled
from orchestrator.render.picture import Box, Line, panels

_COLOURS = {"continuous": "#2563eb", "scheduled": "#d97706", "once": "#7c3aed"}


def mermaid(compiled: Compiled) -> str:
    """The flowchart's text; each node once, whatever graphs it is in."""
    drawn = panels(compiled)
    boxes: dict[str, Box] = {}
    for panel in drawn:
        for box in panel.boxes:
            boxes.setdefault(box.key, box)
    names = {key: f"n{position}" for position, key in enumerate(sorted(boxes))}
    lines = ["flowchart LR"]
    for key, name in names.items():
        box = boxes[key]
        text = box.title if box.count == 1 else f"{box.title}<br/>{box.subtitle}"
        lines.append(f'  {name}["{_escaped(text)}"]')
    styles: dict[str, list[int]] = {}
    position = 0
    for panel in drawn:
        lines.append(f"  %% {panel.name}")
        for line in panel.lines:
            lines.append(f"  {_arrow(line, names)}")
            styles.setdefault(line.mode, []).append(position)
            position += 1
    for mode, positions in sorted(styles.items()):
        lines.append(f"  linkStyle {','.join(map(str, positions))} stroke:{_COLOURS[mode]}")
    return "\n".join(lines) + "\n"


def _arrow(line: Line, names: dict[str, str]) -> str:
    arrow = "<-->" if line.two_way else "-->"
    text = line.mode if line.count == 1 else f"{line.mode}, {line.count:,} edges"
    return f'{names[line.source]} {arrow}|"{text}"| {names[line.target]}'


def _escaped(text: str) -> str:
    """Inside double quotes only these need a code; the line break that we write ourselves stays."""
    return text.replace('"', "#quot;")
