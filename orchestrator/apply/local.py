"""A node on this machine, reached through the control socket in its state directory (access "local").

It decides where that socket is. The directory's mode is the only lock on this door: who may enter it may
command the node.
"""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from orchestrator.apply.conversation import Broken, Conversation, StreamHost
from orchestrator.apply.host import CONNECT_TIMEOUT_S

SOCKET_NAME = "control.sock"
MAX_ADDRESS_BYTES = 103  # of sun_path, less its NUL: 107 on Linux, 103 on the BSDs


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


class LocalHost(StreamHost):
    """A node runtime on this machine."""

    def __init__(self, node: str, state: Path) -> None:
        super().__init__(node)
        self._state = state
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> Conversation:
        """Connect to the control socket."""
        path = self._state / SOCKET_NAME
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                reader, self._writer = await _connect(path)
        except TimeoutError:
            raise Broken(f"{path} accepts no connection within {CONNECT_TIMEOUT_S:.0f} s") from None
        return Conversation(reader, self._writer)

    async def hang_up(self) -> None:
        """Close the connection."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def reason(self, error: BaseException) -> str:
        """One failure, for the operator."""
        if isinstance(error, FileNotFoundError | ConnectionRefusedError | NotADirectoryError):
            return (
                f"no node runtime runs here with the state directory {self._state}; "
                f"start it: syncgraph-node run --state {shlex.quote(str(self._state))}"
            )
        if isinstance(error, PermissionError):
            return f"{self._state} belongs to another user; run as the user of the node runtime"
        return str(error)


async def _connect(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a socket, also where its path is longer than an address may be."""
    if len(os.fsencode(path)) <= MAX_ADDRESS_BYTES:
        return await asyncio.open_unix_connection(path)
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        return await asyncio.open_unix_connection(f"/proc/self/fd/{descriptor}/{path.name}")
    finally:
        os.close(descriptor)
