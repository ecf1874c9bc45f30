"""A node on this machine, reached through the control socket in its state directory (access "local").

It decides where that socket is. The directory's mode is the only lock on this door: who may enter it may
command the node.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from orchestrator.apply.conversation import Broken, Conversation
from orchestrator.apply.host import CONNECT_TIMEOUT_S, Unreachable
from schemas.control import Reply, Request

SOCKET_NAME = "control.sock"


def state_directory(written: str | None, environ: Mapping[str, str]) -> Path:
    """A node's state directory: as the inventory has it, or else the runtime's own default.

    Source of the default: XDG Base Directory Specification 0.8, where a relative value counts as unset.
    """
    if written:
        return Path(written).expanduser()
    if environ.get("SYNCGRAPH_NODE_STATE"):
        return Path(environ["SYNCGRAPH_NODE_STATE"])
    if environ.get("XDG_STATE_HOME", "").startswith("/"):
        return Path(environ["XDG_STATE_HOME"]) / "syncgraph-node"
    return Path("~/.local/state/syncgraph-node").expanduser()


class LocalHost:
    """A node runtime on this machine."""

    def __init__(self, node: str, state: Path) -> None:
        self.node = node
        self._state = state
        self._conversation: Conversation | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def request(self, request: Request) -> Reply:
        """Ask, and wait for the answer. Raises `Unreachable`."""
        try:
            return await (self._conversation or await self._open()).ask(request)
        except (Broken, OSError) as error:
            await self.close()
            raise Unreachable(self.node, str(error)) from None

    async def close(self) -> None:
        """Hang up."""
        writer, self._writer, self._conversation = self._writer, None, None
        if writer is not None:
            writer.close()

    async def _open(self) -> Conversation:
        path = self._state / SOCKET_NAME
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                reader, self._writer = await _connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            raise Broken(
                f"no node runtime runs here with the state directory {self._state}; "
                f"start it: syncgraph-node run --state {self._state}"
            ) from None
        except PermissionError:
            raise Broken(f"{path} belongs to another user; run as the user of the node runtime") from None
        except TimeoutError:
            raise Broken(f"{path} accepts no connection within {CONNECT_TIMEOUT_S:.0f} s") from None
        self._conversation = Conversation(reader, self._writer)
        return self._conversation


async def _connect(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a socket whose path may be longer than the 107 bytes that sockaddr_un holds."""
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        return await asyncio.open_unix_connection(f"/proc/self/fd/{descriptor}/{path.name}")
    finally:
        os.close(descriptor)
