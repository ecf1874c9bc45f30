"""How many logins may be under way at once: in all, and at one server.

An sshd starts to drop logins at random when ten are unfinished (MaxStartups 10:30:100), so one server gets
fewer than that, and this machine's processor sets the sum. Only logins count, not open conversations.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

LOGINS = 32
LOGINS_PER_ADDRESS = 8


class LoginGates:
    """The gates of one run."""

    def __init__(self, logins: int = LOGINS, per_address: int = LOGINS_PER_ADDRESS) -> None:
        self._all = asyncio.Semaphore(logins)
        self._by_address: defaultdict[tuple[str, int], asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(per_address)
        )

    @asynccontextmanager
    async def login(self, address: str, port: int) -> AsyncIterator[None]:
        """Wait for a turn at that server, then for one in all, so that a slow server holds back no other."""
        async with self._by_address[address, port], self._all:
            yield
