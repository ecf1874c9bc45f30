"""A real directory, its index, and a scan of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node_runtime.disk.index import Index
from node_runtime.disk.root import Root
from node_runtime.disk.scanner import ScanResult, scan
from node_runtime.replica.filters import Filters

LOCAL = 77
Scan = Callable[[], ScanResult]


def later() -> int:
    """A clock a minute ahead: nothing is so fresh that a scan would distrust it."""
    return time.time_ns() + 60_000_000_000


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
def root(tree: Path) -> Iterator[Root]:
    opened = Root.open(str(tree), create=False)
    yield opened
    opened.close()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path / "replica.db", LOCAL, "boot-1") as opened:
        yield opened


@pytest.fixture
def rescan(root: Root, index: Index) -> Scan:
    def run() -> ScanResult:
        return scan(root, index, Filters(()), local_id=LOCAL, node="here", now_ns=later)

    return run
