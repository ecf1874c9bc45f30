"""What carries messages: the one interface that every transport stands behind.

A transport may carry blocks by another way than messages, out of order and unreliably in between, as
long as every block arrives in the end. Today's only one is a byte stream (`net/stream.py`), inside SSH
or a local socket.
"""

from __future__ import annotations

from typing import Protocol

from node_runtime.exchange.messages import AnyMessage, Blocks


class SessionClosed(Exception):
    """The session is over. `reason` is empty where the peer left in good order."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason or "the session was closed")
        self.reason = reason


class Session(Protocol):
    """One authenticated conversation between two nodes about one edge."""

    async def send(self, message: AnyMessage) -> None:
        """Queue a message; ordered and reliable. Waits while the peer is slow. Raises SessionClosed."""

    async def send_blocks(self, blocks: Blocks) -> None:
        """Queue content; may overtake and be overtaken. Waits while the peer is slow.

        Raises SessionClosed.
        """

    async def receive(self) -> AnyMessage:
        """The next message or content. Raises SessionClosed."""

    def close(self, reason: str = "") -> None:
        """Flush what was sent, then end the session; both ends see SessionClosed. Safe to call twice."""
