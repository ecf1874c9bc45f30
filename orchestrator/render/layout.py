"""Where the boxes of a panel stand: trees from left to right, meshes and rings in a circle.

Decides centres in pixels, from the top left of the panel's own canvas. Linear in boxes and lines. Must not
know colours or SVG.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from dataclasses import dataclass

from orchestrator.render.picture import Box, Line, Panel

BOX_HEIGHT = 46.0
ROW_GAP = 14.0
COLUMN_GAP = 110.0
TITLE_CHARACTER = 7.6  # mean width in px of the title's font; generous, since the reader's font isn't known
SUBTITLE_CHARACTER = 6.3
MIN_WIDTH, MAX_WIDTH = 112.0, 300.0

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Layout:
    """Centres of boxes, by key, on a canvas."""

    width: float
    height: float
    box_width: float
    centres: dict[str, Point]
    round: bool  # straight lines across a circle, rather than curves between columns


def layout(panel: Panel) -> Layout:
    """The layout that suits the panel's shape."""
    width = min(MAX_WIDTH, max(MIN_WIDTH, *map(_text_width, panel.boxes)))
    if panel.shape in ("full-mesh", "ring") and len(panel.boxes) > 2:
        return _circle(panel.boxes, panel.lines, width)
    return _columns(panel, width)


def _text_width(box: Box) -> float:
    return 28 + max(len(box.title) * TITLE_CHARACTER, len(box.subtitle) * SUBTITLE_CHARACTER)


def _circle(boxes: tuple[Box, ...], lines: tuple[Line, ...], width: float) -> Layout:
    """Evenly on a circle that is large enough for neighbours at its top, where they stand side by side."""
    count = len(boxes)
    radius = max(110.0, count * (width + 18) / (2 * math.pi))
    if count <= 4:
        radius = max(radius, width * 0.75)
    middle_x, middle_y = radius + width / 2, radius + BOX_HEIGHT / 2
    centres = {
        key: (
            middle_x + radius * math.sin(2 * math.pi * position / count),
            middle_y - radius * math.cos(2 * math.pi * position / count),
        )
        for position, key in enumerate(_around(boxes, lines))
    }
    left = min(x for x, _ in centres.values()) - width / 2
    top = min(y for _, y in centres.values()) - BOX_HEIGHT / 2
    centres = {key: (x - left, y - top) for key, (x, y) in centres.items()}
    right = max(x for x, _ in centres.values()) + width / 2
    bottom = max(y for _, y in centres.values()) + BOX_HEIGHT / 2
    return Layout(right, bottom, width, centres, round=True)


def _around(boxes: tuple[Box, ...], lines: tuple[Line, ...]) -> list[str]:
    """Keys in the order of a ring's lines, so that neighbours stand beside each other; a mesh's in any."""
    following: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        following[line.source].append(line.target)
        following[line.target].append(line.source)
    if any(len(near) != 2 for near in following.values()):
        return [box.key for box in boxes]
    order = [boxes[0].key]
    seen = {boxes[0].key}
    while len(order) < len(boxes):
        near = [key for key in following[order[-1]] if key not in seen]
        if not near:
            return [box.key for box in boxes]
        order.append(near[0])
        seen.add(near[0])
    return order


def _columns(panel: Panel, width: float) -> Layout:
    """A tidy tree: a column for each distance from the root, a parent in the middle of its children."""
    children = _forest(panel)
    row: dict[str, float] = {}
    column: dict[str, int] = {}
    next_row = 0
    order: list[str] = []
    stack = [(key, 0) for key in reversed(children[""])]
    while stack:
        key, depth = stack.pop()
        column[key] = depth
        order.append(key)
        if not children[key]:
            row[key] = next_row
            next_row += 1
        stack.extend((child, depth + 1) for child in reversed(children[key]))
    for key in reversed(order):
        if children[key]:
            row[key] = (row[children[key][0]] + row[children[key][-1]]) / 2
    centres = {
        key: (
            width / 2 + column[key] * (width + COLUMN_GAP),
            BOX_HEIGHT / 2 + row[key] * (BOX_HEIGHT + ROW_GAP),
        )
        for key in order
    }
    return Layout(
        max(x for x, _ in centres.values()) + width / 2,
        max(y for _, y in centres.values()) + BOX_HEIGHT / 2,
        width,
        centres,
        round=False,
    )


def _forest(panel: Panel) -> dict[str, list[str]]:
    """A spanning forest, breadth first from the natural roots; the roots are the children of ""."""
    near: dict[str, list[str]] = defaultdict(list)
    for line in panel.lines:
        if line.source != line.target:
            near[line.source].append(line.target)
            near[line.target].append(line.source)
    children: dict[str, list[str]] = defaultdict(list)
    seen: set[str] = set()
    for root in _roots(panel, near):
        if root in seen:
            continue
        seen.add(root)
        children[""].append(root)
        queue = deque([root])
        while queue:
            key = queue.popleft()
            for other in near[key]:
                if other not in seen:
                    seen.add(other)
                    children[key].append(other)
                    queue.append(other)
    return children


def _roots(panel: Panel, near: dict[str, list[str]]) -> list[str]:
    """Where to start, best first: a tree's top, a hub, a chain's first end, then whatever only gives."""
    keys = [box.key for box in panel.boxes]
    gets = {line.target for line in panel.lines}
    gives = {line.source for line in panel.lines}
    if panel.shape == "hub-and-spoke":
        single = {box.key for box in panel.boxes if box.count == 1}
        return sorted(keys, key=lambda key: (-len(near[key]), key not in single))
    if panel.shape == "tree" and not all(line.two_way for line in panel.lines):
        tops = [key for key in keys if key not in gets]
        if len(tops) > 1:  # to-root: the one that gives to nobody
            tops = [key for key in keys if key not in gives]
        return [*tops, *keys]
    return [*(key for key in keys if key not in gets), *sorted(keys, key=lambda key: -len(near[key]))]
