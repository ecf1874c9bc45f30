"""Two trees that were full before they ever met."""

from __future__ import annotations

from pathlib import Path

import pytest

from node_runtime.daemon import taking
from node_runtime.daemon.giving import CREDIT_BATCHES
from tests.support.engine import one_way, sites, sync

pytestmark = pytest.mark.anyio


async def test_a_mirror_asks_about_all_that_it_held_without_flooding_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "CHALLENGE_PATHS", 1)
    count = 8 * CREDIT_BATCHES  # questions, twice as many as there may be answers that wait
    async with sites(tmp_path) as (left, right):
        left.write({f"both/{number}": "the same on both sides" for number in range(count)})
        right.write({f"both/{number}": "the same on both sides" for number in range(count)})
        right.write({f"here/{number}": f"only at the mirror {number}" for number in range(count)})
        await sync(left, right, one_way(left, right, deletes="propagate"))
        assert right.texts() == left.texts()
