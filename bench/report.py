"""Figures as Markdown: one table to read at a glance, then what each rests on.

It decides how a miss is shown: in the same table as the rest, in bold, and counted in the first line. All
that it prints is given to it, the date included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.case import Figure


@dataclass(slots=True)
class Outcome:
    """One case: its figures, or why there are none."""

    name: str
    what: str
    figures: list[Figure] = field(default_factory=list)
    failure: str = ""  # "" where all figures could be taken


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What all figures have in common."""

    taken: str  # date and time
    command: str
    machine: Sequence[tuple[str, str]]
    file_system: str  # that the work data are on
    load: float  # average of the minute before the first figure
    load_is_high: bool
    runs: int


def markdown(outcomes: Sequence[Outcome], circumstances: Circumstances) -> str:
    """The whole report."""
    parts = ["# Results", "", _verdict(outcomes), "", *_head(circumstances), ""]
    parts += ["| case | what | floor | median | range | against the floor | beside it | |", "|" + "---|" * 8]
    for outcome in outcomes:
        parts += [_row(outcome.name, figure) for figure in outcome.figures]
        if outcome.failure:
            parts.append(f"| {outcome.name} | {outcome.what} | | | | | | **not measured** |")
    parts += ["", "## What the figures rest on", ""]
    for outcome in outcomes:
        for figure in outcome.figures:
            parts += _details(outcome.name, figure)
        if outcome.failure:
            parts += [f"- **{outcome.name}** could not be measured: {_one_line(outcome.failure)}"]
    return "\n".join(parts) + "\n"


def all_well(outcomes: Sequence[Outcome]) -> bool:
    """Whether everything was measured and no floor is missed."""
    return not any(o.failure or any(figure.missed for figure in o.figures) for o in outcomes)


def _verdict(outcomes: Sequence[Outcome]) -> str:
    bound = [figure for outcome in outcomes for figure in outcome.figures if figure.bound is not None]
    missed = sum(figure.missed for figure in bound)
    failed = sum(bool(outcome.failure) for outcome in outcomes)
    words = f"{len(bound) - missed} of {len(bound)} floors are reached"
    if missed:
        words += f"; **{missed} missed**"
    if failed:
        words += f"; **{failed} cases could not be measured**"
    return words + "."


def _head(circumstances: Circumstances) -> list[str]:
    lines = [f"- taken {circumstances.taken} by `{circumstances.command}`"]
    lines += [f"- {name}: {value}" for name, value in circumstances.machine]
    lines.append(f"- work data ($DIR) on {circumstances.file_system}, in the page cache")
    lines.append(f"- runs of each figure: {circumstances.runs}; the median counts")
    if circumstances.load_is_high:
        lines.append(
            f"- **the machine was not idle** (load {circumstances.load:.1f}): it can do better than this"
        )
    else:
        lines.append(f"- load before the first run: {circumstances.load:.1f}")
    return lines


def _row(name: str, figure: Figure) -> str:
    against = verdict = beside = ""
    if figure.bound is not None:
        against = f"{figure.bound.ratio(figure.median):.2f} ×"
        verdict = "**missed**" if figure.missed else "reached"
    if figure.beside:
        theirs = sorted(figure.beside_runs)[len(figure.beside_runs) // 2]
        rate = figure.median / theirs
        beside = f"{figure.beside}: {number(theirs)} {figure.unit} (this is {rate:.2f} × it)"
    median = f"{number(figure.median)} {figure.unit}"
    spread = f"{number(min(figure.runs))} to {number(max(figure.runs))}"
    cells = (name, figure.what, figure.floor, median, spread, against, beside, verdict)
    return "| " + " | ".join(cells) + " |"


def _details(name: str, figure: Figure) -> list[str]:
    lines = [f"- **{name}**: {figure.what}", f"  - `{figure.command}`"]
    lines.append(f"  - runs: {', '.join(map(number, figure.runs))} {figure.unit}")
    if figure.beside:
        lines.append(f"  - {figure.beside}: {', '.join(map(number, figure.beside_runs))} {figure.unit}")
    return lines + [f"  - {_one_line(note)}" for note in figure.notes]


def number(value: float) -> str:
    """Three figures that mean something, thousands apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
