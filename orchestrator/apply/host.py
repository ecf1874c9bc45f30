"""The host contract: one node's control conversation, however it is reached.

Every implementation keeps to this:

- Nothing is opened before the first request; then one conversation is kept until `close`.
- A request that can't be delivered or answered raises `Unreachable`, whatever the reason, and only
  that. The next request starts over with a new conversation.
- After `Unreachable` it isn't known whether the node carried the request out. Every request may be repeated:
  a node accepts the plan that it runs already, and the certificates that it holds.
- A node that refuses says so in a `Refused` reply; that is an answer, not an error.
- `close` may be called twice, and after `Unreachable`.

Read next: `conversation` (what all byte streams share), then `local` and `ssh`.
"""

from __future__ import annotations

from typing import Protocol

from schemas.control import Reply, Request

CONNECT_TIMEOUT_S = 15.0
REPLY_TIMEOUT_S = 60.0  # a hub of 10,000 edges checks and stores its plan in a few seconds
KEPT_TIMEOUT_S = 3600.0  # an answer about kept versions waits for a disk: one large file may be copied


class Unreachable(Exception):
    """A node can't be talked to. The operator acts on `reason`; the other nodes go on."""

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(f"{node}: {reason}")
        self.node = node
        self.reason = reason


class Host(Protocol):
    """One node, as the orchestrator talks to it."""

    @property
    def node(self) -> str:
        """The node's name in the inventory."""

    async def request(self, request: Request) -> Reply:
        """Ask, and wait for the answer. Raises `Unreachable`."""

    async def close(self) -> None:
        """Hang up."""
