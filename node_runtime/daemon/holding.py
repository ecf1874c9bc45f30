"""What a guard holds back, from the pass that it stops to the index, where it survives the runtime.

`replica.guard` decides; here its questions are put together from decisions, and its answers are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import time

from node_runtime.disk.index import Index
from node_runtime.replica.entry import Entry, Row
from node_runtime.replica.guard import Change, Guard, change_of
from node_runtime.replica.path import show
from node_runtime.replica.reconcile import Decision
from schemas.status import HeldChanges

SHOWN = 20  # held paths listed in a status


def withheld(
    guard: Guard,
    latest: Mapping[bytes, Entry],
    index: Index,
    decide: Callable[[Row | None, Entry], Decision],
) -> list[bytes]:
    """The paths of `latest`, all that a peer's offer would still change here, that must wait."""
    if not guard.on:
        return []
    rows = index.get(latest)
    decided = {path: change_of(rows.get(path), decide(rows.get(path), peer)) for path, peer in latest.items()}
    changes = {path: change for path, change in decided.items() if change is not None}
    return guard.withhold(changes, lambda: index.count()[0], time())


def store(index: Index, edge: str, guard: Guard) -> None:
    """Keep what is held back, for the runtime's next start."""
    index.set_meta(_limit_of(edge), (guard.max_delete or "").encode())
    for change in Change:
        held = [path for path, its in guard.kept.items() if its is change]
        index.set_retries(_list_of(edge, change), held)


def load(index: Index, edge: str, guard: Guard) -> list[bytes]:
    """What was held back before, to be asked for anew: it may have come back meanwhile, and under another
    limit it may go. Under the same one it stays held until it is approved."""
    held = {path: change for change in Change for path in index.retries(_list_of(edge, change))}
    if index.meta(_limit_of(edge)) == (guard.max_delete or "").encode():
        guard.resume(held)
    return list(held)


def held_report(guard: Guard) -> HeldChanges | None:
    """What is held back, for a status; None where nothing is."""
    if not guard.held:
        return None
    deletes, replaces, directories = guard.tally()
    shown = tuple(show(path) for path in list(guard.held)[:SHOWN])
    return HeldChanges(guard.hold, deletes, replaces, directories, shown)


def guard_text(guard: Guard, edge: str) -> str:
    """What is held back and what a person can do about it."""
    return f"{guard.sentence()}; `syncgraph approve {edge}` lets go, or change guards.maxDelete and apply"


def _list_of(edge: str, change: Change) -> str:
    return f"{edge}#held-{change.value}"


def _limit_of(edge: str) -> str:
    return f"held-by:{edge}"
