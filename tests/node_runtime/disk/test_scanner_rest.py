"""A file that was changed a moment ago is left for another pass, where the caller asks for that."""

from pathlib import Path

import pytest

from node_runtime.disk.index import Index
from node_runtime.disk.root import Root
from node_runtime.disk.scanner import STILL_WRITING, scan
from node_runtime.replica.filters import Filters
from tests.node_runtime.disk.conftest import LOCAL

REST_NS = 1_000_000_000


@pytest.mark.parametrize(
    ("age_ns", "is_left"), [(0, True), (REST_NS - 1, True), (REST_NS, False), (-1, False)]
)
def test_only_a_file_that_rests_is_announced(
    tree: Path, root: Root, index: Index, age_ns: int, is_left: bool
) -> None:
    (tree / "film").write_bytes(b"the first half")
    changed_ns = (tree / "film").stat().st_mtime_ns
    result = scan(
        root,
        index,
        Filters(()),
        local_id=LOCAL,
        node="here",
        now_ns=lambda: changed_ns + age_ns,
        rest_ns=REST_NS,
    )
    assert result.problems == ([(b"film", STILL_WRITING)] if is_left else [])
    assert bool(index.get([b"film"])) is not is_left
