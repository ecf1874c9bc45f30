"""What a replica keeps: what its edges ask for together, and when it looks."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from node_runtime.daemon.replica import PRUNE_S, Replica
from node_runtime.daemon.tending import most_keeping, specs_of
from node_runtime.replica.filters import Filters
from schemas.plans import DEFAULT_RETENTION, RetentionPlan
from tests.support.plans import edge_between, plan_of
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


def put_aside(tree: Path, name: str) -> Path:
    version = tree / ".syncgraph" / "versions" / f"{name}~20200101T000000.000"
    version.parent.mkdir(parents=True, exist_ok=True)
    version.write_bytes(b"old")
    return version


def test_of_several_edges_the_most_is_kept() -> None:
    brief, long = RetentionPlan(60.0, 9, 100), RetentionPlan(3600.0, 1, 200)
    assert most_keeping([brief, long]) == RetentionPlan(3600.0, 9, 200)
    assert most_keeping([brief, DEFAULT_RETENTION]) == RetentionPlan(DEFAULT_RETENTION.deleted_s, 9, None)
    assert most_keeping([brief]) == brief


def test_each_replica_has_what_its_own_edges_ask_for() -> None:
    brief = RetentionPlan(60.0, 1, 100)
    plan = plan_of("a", edge_between("a:/x", "b:/x", retention=brief), edge_between("a:/y", "b:/y"))
    assert {path: spec.retention for path, spec in specs_of(plan).items()} == {
        "/x": brief,
        "/y": DEFAULT_RETENTION,
    }


async def test_old_versions_go_after_a_scan_and_nobody_looks_again_within_an_hour(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    first = put_aside(tree, "first")

    async def opened() -> Replica:
        replica = Replica("n", str(tree), tmp_path / "index.db", Filters(()), retention=RetentionPlan(0.0, 0))
        await replica.open(create=False)
        return replica

    replica = await opened()
    await replica.scan()
    await until(lambda: not first.exists(), "the old version goes")
    await until(lambda: replica.index.meta("pruned") is not None, "that is remembered")
    await replica.close()
    second = put_aside(tree, "second")
    replica = await opened()
    try:
        await replica.scan()
        assert replica._pruning is not None
        await replica._pruning
        assert second.exists()
        long_ago = str(time.time() - PRUNE_S).encode()
        await replica.work(lambda: replica.index.set_meta("pruned", long_ago))
        await replica.scan()
        await until(lambda: not second.exists(), "after an hour it looks again")
        assert os.listdir(tree / ".syncgraph" / "versions") == []
    finally:
        await replica.close()
