"""The report: what was promised, what came out, and misses that can't be overlooked."""

from __future__ import annotations

import pytest

from bench.case import Bound, Figure
from bench.report import Circumstances, Outcome, all_well, markdown, number

CIRCUMSTANCES = Circumstances(
    taken="2026-11-22 12:00 UTC",
    command="python -m bench",
    machine=[("processor", "a processor, 2 cores")],
    file_system="ext4 at /",
    load=0.1,
    load_is_high=False,
    runs=3,
)


def figure(*runs: float, bound: Bound | None = None, beside_runs: tuple[float, ...] = ()) -> Figure:
    return Figure(
        what="`sync` of files",
        unit="files/s",
        runs=runs,
        command="syncgraph sync $DIR/source $DIR/target",
        floor="≥ 100 files/s" if bound else "",
        bound=bound,
        beside="rsync -a" if beside_runs else "",
        beside_runs=beside_runs,
        notes=("a note",),
    )


def rows(report: str) -> list[list[str]]:
    table = [line for line in report.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def test_a_row_holds_floor_median_range_and_the_other_program() -> None:
    reached = figure(300, 100, 200, bound=Bound(100), beside_runs=(500, 400, 300))
    report = markdown([Outcome("sync", "sync of files", [reached])], CIRCUMSTANCES)
    assert rows(report) == [
        [
            "sync",
            "`sync` of files",
            "≥ 100 files/s",
            "200 files/s",
            "100 to 300",
            "2.00 ×",
            "rsync -a: 400 files/s (this is 0.50 × it)",
            "reached",
        ]
    ]
    assert "1 of 1 floors are reached." in report
    assert "`syncgraph sync $DIR/source $DIR/target`" in report
    assert "runs: 300, 100, 200 files/s" in report
    assert "a note" in report
    for _, value in CIRCUMSTANCES.machine:
        assert value in report


def test_a_missed_floor_is_marked_in_its_row_and_in_the_first_line() -> None:
    outcomes = [Outcome("sync", "sync of files", [figure(99, 99, 300, bound=Bound(100))])]
    report = markdown(outcomes, CIRCUMSTANCES)
    assert rows(report)[0][-1] == "**missed**"
    assert "0 of 1 floors are reached; **1 missed**" in report
    assert not all_well(outcomes)


def test_a_case_that_could_not_be_measured_keeps_its_row_and_says_why() -> None:
    outcomes = [Outcome("sync", "sync of files", [figure(5.0)], failure="rsync isn't\ninstalled")]
    report = markdown(outcomes, CIRCUMSTANCES)
    assert [row[-1] for row in rows(report)] == ["", "**not measured**"]
    assert "**1 cases could not be measured**" in report
    assert "rsync isn't installed" in report
    assert not all_well(outcomes)


def test_a_figure_without_a_floor_is_no_miss() -> None:
    outcomes = [Outcome("sync", "sync of files", [figure(5.0)])]
    assert all_well(outcomes)
    assert rows(markdown(outcomes, CIRCUMSTANCES))[0][5] == ""


def test_a_busy_machine_is_said() -> None:
    busy = Circumstances("now", "python -m bench", [], "ext4 at /", load=3.0, load_is_high=True, runs=3)
    assert "**the machine was not idle** (load 3.0)" in markdown([], busy)


@pytest.mark.parametrize(
    ("bound", "value", "met", "ratio"),
    [
        (Bound(100), 100, True, 1.0),
        (Bound(100), 50, False, 0.5),
        (Bound(2.0, at_most=True), 1.0, True, 2.0),
        (Bound(2.0, at_most=True), 4.0, False, 0.5),
    ],
)
def test_bounds_are_met_from_their_own_side(bound: Bound, value: float, met: bool, ratio: float) -> None:
    assert bound.met(value) is met
    assert bound.ratio(value) == ratio


@pytest.mark.parametrize(
    ("value", "text"), [(123456.7, "123,457"), (45.21, "45.2"), (0.0616, "0.0616"), (3.0, "3")]
)
def test_numbers_have_three_figures(value: float, text: str) -> None:
    assert number(value) == text
