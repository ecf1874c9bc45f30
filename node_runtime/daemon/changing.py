"""One decision, carried out on the disk. Runs in the replica's worker thread.

Knows how a decision becomes operations of the applier; not why it was made, nor what came before it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from node_runtime.daemon.counts import Counts
from node_runtime.daemon.replica import Replica
from node_runtime.disk.applier import Applied, Arrived, Outcome
from node_runtime.disk.staging import Loose
from node_runtime.replica.entry import Kind, Row
from node_runtime.replica.reconcile import Action, Decision
from node_runtime.replica.version import EMPTY, bump

_EMPTY = Loose(bytes.fromhex("af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"), b"")

Supply: TypeAlias = Arrived | bytes | None  # content: fetched, held under another path, or not here


class Changing:
    """Carries out decisions for one edge."""

    def __init__(
        self, replica: Replica, local_id: int, rows: dict[bytes, Row], counts: Counts, *, dry_run: bool
    ) -> None:
        """`rows` and `counts` are the target's own: decided and not yet in the index, and done so far."""
        self._index = replica.index
        self._applier = replica.applier
        self._local_id = local_id
        self._rows = rows
        self._counts = counts
        self._dry_run = dry_run
        self._by_action: dict[Action, Callable[[Decision, Row | None, Supply], Applied]] = {
            Action.METADATA: self._metadata,
            Action.CREATE: self._create,
            Action.UPDATE: self._create,
            Action.DELETE: self._delete,
        }

    def apply(self, decision: Decision, row: Row | None, supply: Supply) -> Applied:
        """Bring the disk from `row` to `decision.entry`, keeping aside first what the decision says."""
        if self._dry_run:
            self._counts.plan(decision)
            if decision.keep_aside is not None:
                self._counts.conflicts[decision.entry.path] = decision.keep_aside
            return Applied(Outcome.DONE, Row(decision.entry, None))
        if decision.keep_aside is not None and row is not None:
            aside = self._keep_aside(row, decision.keep_aside)
            if aside.outcome is not Outcome.DONE:
                return aside
            row = None
        return self._by_action[decision.action](decision, row, supply)

    def _keep_aside(self, row: Row, copy: bytes) -> Applied:
        applied = self._applier.keep_aside(row, copy)
        if applied.outcome is Outcome.DONE:
            assert applied.row is not None, "an applied entry has a row"
            before = self._rows.get(copy) or self._index.get([copy]).get(copy)
            if before is None or not before.entry.same_content(row.entry):
                base = before.entry.metadata_version if before is not None else EMPTY
                version = bump(base, self._local_id, int(time.time()))
                entry = msgspec.structs.replace(applied.row.entry, version=version, metadata_version=version)
                self._rows[copy] = Row(entry, applied.row.stamp)
            self._counts.conflicts[row.entry.path] = copy
        return applied

    def _metadata(self, decision: Decision, row: Row | None, supply: Supply) -> Applied:
        assert row is not None, "only what exists has metadata"
        return self._applier.set_metadata(decision.entry, row)

    def _delete(self, decision: Decision, row: Row | None, supply: Supply) -> Applied:
        assert row is not None, "only what exists is deleted"
        return self._applier.remove(decision.entry, row)

    def _create(self, decision: Decision, row: Row | None, supply: Supply) -> Applied:
        entry = decision.entry
        expected = None if row is None or row.entry.deleted else row
        if entry.kind is Kind.DIRECTORY:
            return self._applier.make_directory(entry, expected)
        if entry.kind is Kind.SYMLINK:
            return self._applier.make_symlink(entry, expected)
        if isinstance(supply, bytes):
            return self._applier.copy_file(entry, supply, expected)
        return self._applier.place_file(entry, supply or _EMPTY, expected)
