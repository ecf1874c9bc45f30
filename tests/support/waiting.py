"""Waiting for something to become true, in tests: with a deadline, and with what was seen when it passes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

DEADLINE_S = 15.0  # generous: reached only by a test that fails
POLL_S = 0.01


def wait_until(condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Return once `condition()` holds; fail with `what` if it never does."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        time.sleep(POLL_S)


async def until(condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    """The same on an event loop."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        await asyncio.sleep(POLL_S)
