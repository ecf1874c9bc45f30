"""The guard as a law: what passes within an hour never exceeds the limit, and nothing asked is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from node_runtime.replica.entry import Row
from node_runtime.replica.guard import WINDOW_S, Change, Guard, change_of
from node_runtime.replica.reconcile import Action, Decision
from tests.support.trees import A, B, directory, file

FILES = 100
PATHS = st.integers(0, 30).map(lambda n: b"%d" % n)
PASSES = st.lists(
    st.tuples(st.dictionaries(PATHS, st.sampled_from(Change), max_size=12), st.floats(0, WINDOW_S / 2)),
    max_size=12,
)


def deletes(*names: int) -> dict[bytes, Change]:
    return {b"%d" % name: Change.DELETE for name in names}


def withhold(guard: Guard, changes: dict[bytes, Change], now_s: float = 0.0) -> set[bytes]:
    return set(guard.withhold(changes, lambda: FILES, now_s))


@given(PASSES, st.integers(0, 20))
def test_no_hour_lets_more_pass_than_the_limit(
    passes: list[tuple[dict[bytes, Change], float]], limit: int
) -> None:
    guard = Guard(str(limit), "g")
    now_s = 0.0
    passed: list[tuple[float, bytes]] = []
    for changes, pause_s in passes:
        now_s += pause_s
        waiting = withhold(guard, changes, now_s)
        assert waiting in (set(), set(changes)), "a pass goes or waits as a whole"
        assert waiting <= guard.held.keys()
        counted = {path for path, change in changes.items() if change is not Change.DIRECTORY}
        passed += [(now_s, path) for path in counted - waiting]
        assert len({path for then_s, path in passed if then_s >= now_s - WINDOW_S}) <= limit


@given(PASSES, st.integers(0, 20), st.integers(0, 12))
def test_an_approval_lets_go_what_was_shown_and_nothing_else(
    passes: list[tuple[dict[bytes, Change], float]], limit: int, shown_after: int
) -> None:
    guard = Guard(str(limit), "g")
    shown, hold = dict(guard.held), ""
    for number, (changes, _) in enumerate(passes):
        withhold(guard, changes)
        if number == shown_after:
            shown, hold = dict(guard.held), guard.hold
    if not hold:
        return
    everything = dict(guard.held)
    assert set(guard.approve(hold) or ()) == everything.keys() == guard.kept.keys()
    assert guard.approve(hold) == []
    later = {path: change for path, change in everything.items() if path not in shown}
    counted = [path for path, change in later.items() if change is not Change.DIRECTORY]
    assert withhold(guard, everything) == (later.keys() if len(counted) > limit else set())


def test_a_share_is_of_what_the_replica_held_before() -> None:
    guard = Guard("10%", "g")
    assert withhold(guard, deletes(*range(10))) == set()
    assert withhold(guard, deletes(10)) == set()  # of 110 by then: 100 are left, and ten were deleted
    assert withhold(guard, deletes(11)) == {b"11"}
    assert guard.sentence() == "1 delete is held back by maxDelete 10% of 111 files"


def test_an_hour_later_it_counts_anew() -> None:
    guard = Guard("2", "g")
    assert withhold(guard, deletes(1, 2), 0.0) == set()
    assert withhold(guard, deletes(3), WINDOW_S + 1.0) == set()


def test_an_approval_ends_once_the_edge_is_in_step() -> None:
    guard = Guard("0", "g")
    withhold(guard, deletes(1))
    guard.approve(guard.hold)
    guard.rest()
    assert withhold(guard, deletes(1)) == {b"1"}


def test_what_another_guard_holds_is_not_approved_here() -> None:
    guard = Guard("0", "g")
    withhold(guard, deletes(1))
    for other in ("", "g", "g.", "g.2", "h.1", "g.1.1", "g.-1"):
        assert guard.approve(other) is None
    nameless = Guard("0")
    withhold(nameless, deletes(1))
    assert (nameless.hold, nameless.approve(".1")) == ("", None)


def test_all_files_are_no_limit() -> None:
    assert not Guard("100%", "g").on
    assert not Guard(None, "g").on
    assert Guard("0", "g").on


def test_only_what_would_be_lost_is_a_change() -> None:
    before, after = file("x", "one", {A: 1}), file("x", "two", {A: 1, B: 2})
    row = Row(before, None)
    assert change_of(row, Decision(Action.UPDATE, after)) is Change.REPLACE
    assert change_of(row, Decision(Action.DELETE, after)) is Change.DELETE
    assert change_of(Row(directory("x", {A: 1}), None), Decision(Action.UPDATE, after)) is Change.DIRECTORY
    assert change_of(row, Decision(Action.UPDATE, after, keep_aside=b"x.sync-conflict")) is None
    assert change_of(row, Decision(Action.METADATA, after)) is None
    assert change_of(None, Decision(Action.CREATE, after)) is None
