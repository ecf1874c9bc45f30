"""A fleet as one SVG file that needs no other program and follows the reader's light or dark mode.

Decides looks only: `picture` says what is shown, `layout` where. Plain classes with a media query rather than
variables, since several converters know no variables. The same fleet gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape

from orchestrator.model.compile import Compiled
from orchestrator.render.layout import BOX_HEIGHT, Layout, Point, layout
from orchestrator.render.picture import Box, Line, Panel, panels
from schemas.plans import Mode

MARGIN = 28.0
PADDING = 22.0
HEADING = 46.0  # height of a panel's own title
TOP = 92.0  # height of the drawing's title and legend
MIN_DRAWING_WIDTH = 620.0
STUB = 9.0  # as long as an arrowhead
ARROWS_UP_TO = 40  # lines in a circle; in a denser one arrowheads only make a blot

MODES: tuple[Mode, ...] = ("continuous", "scheduled", "once")
_LIGHT = {
    ".paper": "fill:#ffffff",
    ".panel": "fill:#f6f8fb;stroke:#e1e7ef",
    ".box": "fill:#ffffff;stroke:#c3cedd",
    ".strong": "fill:#0f1b2d",
    ".soft": "fill:#5b6b82",
    ".continuous": "stroke:#2563eb",
    ".scheduled": "stroke:#d97706",
    ".once": "stroke:#8b3fd9",
    ".head-continuous": "fill:#2563eb",
    ".head-scheduled": "fill:#d97706",
    ".head-once": "fill:#8b3fd9",
}
_DARK = {
    ".paper": "fill:#0d1420",
    ".panel": "fill:#141d2d;stroke:#253247",
    ".box": "fill:#1c283b;stroke:#415472",
    ".strong": "fill:#e8eef7",
    ".soft": "fill:#93a4bd",
    ".continuous": "stroke:#6aa5ff",
    ".scheduled": "stroke:#f5b04a",
    ".once": "stroke:#c08bff",
    ".head-continuous": "fill:#6aa5ff",
    ".head-scheduled": "fill:#f5b04a",
    ".head-once": "fill:#c08bff",
}
_FONTS = (
    "text{font-family:ui-sans-serif,system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif}"
    ".path{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:10px}"
    ".line{fill:none;stroke-width:1.6}.thin{stroke-width:.7;opacity:.55}"
)


def svg(compiled: Compiled) -> str:
    """The whole drawing."""
    drawn = [(panel, layout(panel)) for panel in panels(compiled)]
    inner = max((placed.width for _, placed in drawn), default=0.0)
    width = max(MIN_DRAWING_WIDTH, inner + 2 * (MARGIN + PADDING))
    parts: list[str] = []
    y = TOP
    for panel, placed in drawn:
        height = HEADING + placed.height + PADDING
        parts.extend(_panel(panel, placed, y, width - 2 * MARGIN, height))
        y += height + MARGIN * 0.75
    if not drawn:
        parts.append(_text(MARGIN, y, "No edges: nothing is replicated.", "soft", 13))
        y += MARGIN
    height = y + MARGIN * 0.25
    return "\n".join([*_opening(compiled, width, height), *parts, "</svg>"]) + "\n"


def _opening(compiled: Compiled, width: float, height: float) -> Iterator[str]:
    size = f'width="{_n(width)}" height="{_n(height)}" viewBox="0 0 {_n(width)} {_n(height)}"'
    title = escape(f"The fleet {compiled.fleet}")
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{_attribute(title)}">'
    yield f"<title>{title}</title>"
    light = "".join(f"{name}{{{rule}}}" for name, rule in _LIGHT.items())
    dark = "".join(f"{name}{{{rule}}}" for name, rule in _DARK.items())
    yield f"<style>{_FONTS}{light}@media (prefers-color-scheme:dark){{{dark}}}</style>"
    yield "<defs>"
    for mode in MODES:
        # Two markers rather than auto-start-reverse, which SVG 1.1 readers don't know.
        for end, tip, head in (("end", 9, "M0 1 10 5 0 9 2.5 5z"), ("start", 1, "M10 1 0 5 10 9 7.5 5z")):
            yield (
                f'<marker id="{mode}-{end}" viewBox="0 0 10 10" refX="{tip}" refY="5" markerWidth="9" '
                f'markerHeight="9" markerUnits="userSpaceOnUse" orient="auto">'
                f'<path class="head-{mode}" d="{head}"/></marker>'
            )
    yield "</defs>"
    yield f'<rect class="paper" width="{_n(width)}" height="{_n(height)}"/>'
    yield _text(MARGIN, 40, compiled.fleet, "strong", 20, weight=650)
    counts = f"{len(compiled.nodes):,} nodes · {len(compiled.edges):,} edges"
    yield _text(MARGIN, 62, counts, "soft", 12.5)
    yield from _legend(compiled, width)


def _legend(compiled: Compiled, width: float) -> Iterator[str]:
    """What the colours and arrowheads mean, as far as they occur."""
    entries: list[tuple[str, Mode, bool]] = []
    used = {edge.settings.sync.mode for edge in compiled.edges}
    entries.extend((mode, mode, False) for mode in MODES if mode in used)
    if any(edge.direction == "two-way" for edge in compiled.edges):
        tint = next(mode for mode in MODES if mode in used)
        entries.append(("two-way", tint, True))
    widths = [46 + 6.6 * len(text) for text, _, _ in entries]
    x = width - MARGIN - sum(widths)
    for (text, mode, two_way), entry_width in zip(entries, widths, strict=True):
        start = f' marker-start="url(#{mode}-start)"' if two_way else ""
        yield f'<path class="line {mode}" d="M{_n(x)} 58h24" marker-end="url(#{mode}-end)"{start}/>'
        yield _text(x + 31, 62, text, "soft", 11.5)
        x += entry_width


def _panel(panel: Panel, placed: Layout, top: float, width: float, height: float) -> Iterator[str]:
    shape = panel.shape or "written one by one"
    count = f"{panel.edges:,} edge{'' if panel.edges == 1 else 's'}"
    size = f'width="{_n(width)}" height="{_n(height)}"'
    yield f'<rect class="panel" x="{_n(MARGIN)}" y="{_n(top)}" {size} rx="10"/>'
    yield _text(MARGIN + PADDING, top + 27, panel.name, "strong", 13.5, weight=600)
    yield _text(MARGIN + width - PADDING, top + 27, f"{shape} · {count}", "soft", 11.5, anchor="end")
    left = MARGIN + (width - placed.width) / 2
    yield f'<g transform="translate({_n(left)} {_n(top + HEADING)})">'
    dense = placed.round and len(panel.lines) > ARROWS_UP_TO
    for line in panel.lines:
        yield _line(line, placed, dense)
    for box in panel.boxes:
        yield from _box(box, placed)
    yield "</g>"


def _line(line: Line, placed: Layout, dense: bool) -> str:
    source, target = placed.centres[line.source], placed.centres[line.target]
    if line.source == line.target:
        path = _loop(source, placed.box_width)
    elif placed.round:
        start, end = _border(source, target, placed.box_width), _border(target, source, placed.box_width)
        path = f"M{_p(start)}L{_p(end)}"
    else:
        path = _curve(source, target, placed.box_width)
    ends = "" if dense else f' marker-end="url(#{line.mode}-end)"'
    if line.two_way and not dense:
        ends += f' marker-start="url(#{line.mode}-start)"'
    thin = " thin" if dense else ""
    return f'<path class="line {line.mode}{thin}" d="{path}"{ends}/>'


def _curve(source: Point, target: Point, width: float) -> str:
    """From side to side, leaving and arriving by a level stub, which arrowheads take their angle from."""
    (x1, y1), (x2, y2) = source, target
    if x1 == x2:
        x = x1 + width / 2
        return _between((x, y1), (x + STUB, y1), (x + STUB, y2), (x, y2), bend=40)
    way = 1 if x2 > x1 else -1
    x1, x2 = x1 + way * width / 2, x2 - way * width / 2
    bend = abs(x2 - x1) / 2 - STUB
    return _between((x1, y1), (x1 + way * STUB, y1), (x2 - way * STUB, y2), (x2, y2), bend=way * bend)


def _between(start: Point, leave: Point, arrive: Point, end: Point, *, bend: float) -> str:
    """A stub, a curve whose controls lie `bend` px beyond the stubs, and a stub."""
    beyond = leave[0] + bend, leave[1]
    back = arrive[0] + (bend if leave[0] == arrive[0] else -bend), arrive[1]
    return f"M{_p(start)}L{_p(leave)}C{_p(beyond)} {_p(back)} {_p(arrive)}L{_p(end)}"


def _border(centre: Point, towards: Point, width: float) -> Point:
    """Where the straight line from a box's centre leaves the box."""
    dx, dy = towards[0] - centre[0], towards[1] - centre[1]
    share = min(
        width / 2 / abs(dx) if dx else float("inf"), BOX_HEIGHT / 2 / abs(dy) if dy else float("inf"), 1.0
    )
    return centre[0] + dx * share, centre[1] + dy * share


def _loop(centre: Point, width: float) -> str:
    """From a pile of boxes back to itself: each of its members with each other one."""
    x, y = centre[0] + width / 2, centre[1]
    return _between((x, y - 11), (x + STUB, y - 11), (x + STUB, y + 11), (x, y + 11), bend=30)


def _box(box: Box, placed: Layout) -> Iterator[str]:
    x, y = placed.centres[box.key]
    width = placed.box_width
    left, top = x - width / 2, y - BOX_HEIGHT / 2
    for sheet in (2, 1, 0) if box.count > 1 else (0,):  # the sheets of a pile look out above it
        yield (
            f'<rect class="box" x="{_n(left + 5 * sheet)}" y="{_n(top - 4 * sheet)}" '
            f'width="{_n(width - 10 * sheet)}" height="{_n(BOX_HEIGHT)}" rx="8"/>'
        )
    room = int((width - 20) / 6.2)
    yield f"<g><title>{escape(f'{box.title} {box.subtitle}')}</title>"
    yield _text(x, y - 3, _cut(box.title, int((width - 20) / 7.2)), "strong", 13, weight=600, anchor="middle")
    yield _text(x, y + 13, _cut(box.subtitle, room), "soft path", None, anchor="middle")
    yield "</g>"


def _cut(text: str, room: int) -> str:
    """Text with its middle left out: both ends of names and paths tell more than the middle."""
    if len(text) <= room:
        return text
    head = (room - 1) // 2
    return f"{text[:head]}…{text[-(room - 1 - head) :]}"


def _text(
    x: float, y: float, text: str, style: str, size: float | None, *, weight: int = 400, anchor: str = "start"
) -> str:
    font = f' font-size="{_n(size)}"' if size else ""
    heavy = f' font-weight="{weight}"' if weight != 400 else ""
    end = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text class="{style}" x="{_n(x)}" y="{_n(y)}"{font}{heavy}{end}>{escape(text)}</text>'


def _attribute(escaped: str) -> str:
    return escaped.replace('"', "&quot;")


def _n(number: float) -> str:
    """A number as short as one tenth of a pixel allows."""
    return f"{number:.1f}".removesuffix(".0")


def _p(point: Point) -> str:
    return f"{_n(point[0])} {_n(point[1])}"
