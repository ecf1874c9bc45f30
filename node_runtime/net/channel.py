"""One SSH channel as plain asyncio: a protocol on a transport, raw bytes both ways.

It decides nothing about who or what; it makes asyncssh's channels keep asyncio's contract to the
letter, where they differ: a write after the close is dropped, an abort is over at once without waiting
for the peer, a protocol that fails takes its own channel down and no other, and a protocol sees nothing
of a channel that was refused. Read on in `net/stream.py`, the protocol that sessions use.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

import asyncssh

from node_runtime.errors import PeerError

WINDOW_BYTES = 16 * 1024 * 1024  # in flight on one channel: 1 Gbit/s over 130 ms
PACKET_BYTES = 256 * 1024
WRITE_HIGH_BYTES = 1024 * 1024  # a writer is paused above this, beyond what the window took
CHANNEL_OPTIONS: dict[str, Any] = {"encoding": None, "window": WINDOW_BYTES, "max_pktsize": PACKET_BYTES}

log = logging.getLogger(__name__)


def because(error: BaseException | None) -> str:
    """An error of a connection in one line for people."""
    if error is None:
        return "the connection was closed"
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return f"it can't prove its name: {error.reason}"
    if isinstance(error, asyncssh.KeyExchangeFailed) and "host key" in error.reason:
        return "it shows no certificate of this fleet; it hasn't been enrolled yet, or it isn't that node"
    if isinstance(error, asyncssh.PermissionDenied):
        return "it refuses this node; its plan doesn't name us yet, or our certificate has expired"
    if isinstance(error, asyncssh.ChannelOpenError):
        return f"it refuses the channel: {error.reason}"
    if isinstance(error, asyncssh.DisconnectError):
        return error.reason
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there; is its node runtime running?"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


class ChannelTransport(asyncio.Transport):
    """asyncio's transport on top of an SSH channel."""

    def __init__(self, channel: Any, bridge: _Bridge) -> None:
        super().__init__()
        self._channel = channel
        self._bridge = bridge
        channel.set_write_buffer_limits(high=WRITE_HIGH_BYTES)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue bytes; dropped after a close, as asyncio has it."""
        if not self._channel.is_closing():
            self._channel.write(data)

    def close(self) -> None:
        """Send what is queued, then close. Nothing more is received."""
        self._channel.close()

    def abort(self) -> None:
        """Close now; what is queued is lost."""
        self._channel.abort()
        asyncio.get_running_loop().call_soon(self._bridge.connection_lost, None)

    def is_closing(self) -> bool:
        """Whether the channel is closing or closed."""
        return bool(self._channel.is_closing())

    def pause_reading(self) -> None:
        """Stop `data_received`; the peer is held back once the window is full."""
        self._channel.pause_reading()

    def resume_reading(self) -> None:
        """Go on with `data_received`."""
        self._channel.resume_reading()

    def write_eof(self) -> None:
        """Say that no more bytes come from this side."""
        self._channel.write_eof()

    def can_write_eof(self) -> bool:
        """SSH channels close by halves."""
        return True

    def get_write_buffer_size(self) -> int:
        """Bytes that wait here for the peer's window."""
        return int(self._channel.get_write_buffer_size())

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Marks for `pause_writing` and `resume_writing`, in bytes."""
        self._channel.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What asyncssh knows of the channel and its connection."""
        return self._channel.get_extra_info(name, default)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol on this transport."""
        assert self._bridge.protocol is not None
        return self._bridge.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand the channel to another protocol."""
        self._bridge.protocol = cast(asyncio.Protocol, protocol)


class _Bridge:
    """The half of both kinds of session: asyncssh's calls become the protocol's."""

    def __init__(self) -> None:
        self.protocol: asyncio.Protocol | None = None
        self._channel: Any = None
        self._begun = False
        self._lost = False

    def connection_made(self, chan: Any) -> None:
        """The channel is open, what it is for isn't settled."""
        self._channel = chan

    def begin(self) -> None:
        """The subsystem is granted: the protocol takes over."""
        assert self.protocol is not None
        self._begun = True
        self._call(self.protocol.connection_made, ChannelTransport(self._channel, self))

    def data_received(self, data: bytes, datatype: Any) -> None:
        """Bytes from the peer; there is no second stream (stderr) on a subsystem."""
        if datatype is None and self._begun and not self._lost:
            assert self.protocol is not None
            self._call(self.protocol.data_received, data)

    def eof_received(self) -> bool:
        """The peer sends no more. As in asyncio, the protocol keeps the channel open by saying so."""
        if self._begun and not self._lost:
            assert self.protocol is not None
            if not self._call(self.protocol.eof_received):
                self._channel.close()
        return True

    def pause_writing(self) -> None:
        """The peer is slower than we are."""
        if self._begun and not self._lost:
            assert self.protocol is not None
            self._call(self.protocol.pause_writing)

    def resume_writing(self) -> None:
        """The peer has caught up."""
        if self._begun and not self._lost:
            assert self.protocol is not None
            self._call(self.protocol.resume_writing)

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is gone; said once, and only to a protocol that knew of it."""
        if self._begun and not self._lost:
            assert self.protocol is not None
            self._lost = True
            self._call(self.protocol.connection_lost, exc if exc is None else PeerError(because(exc)))

    def _call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        """Call the protocol. Its failure must not reach asyncssh, which would end the whole connection."""
        try:
            return method(*arguments)
        except Exception as error:
            log.exception("a session failed; closing its channel")
            self._channel.abort()
            asyncio.get_running_loop().call_soon(self.connection_lost, error)
            return None


class ClientChannel(_Bridge, asyncssh.SSHClientSession[bytes]):
    """A channel that this side opened."""

    def __init__(self, factory: Callable[[], asyncio.Protocol]) -> None:
        super().__init__()
        self._factory = factory

    def session_started(self) -> None:
        """The peer granted the subsystem."""
        self.protocol = self._factory()
        self.begin()


class ServerChannel(_Bridge, asyncssh.SSHServerSession[bytes]):
    """A channel that the peer opened. Shell, exec and terminals are refused by what asyncssh's base says."""

    def __init__(self, subsystem: Callable[[str], asyncio.Protocol | None]) -> None:
        super().__init__()
        self._subsystem = subsystem

    def subsystem_requested(self, subsystem: str) -> bool:
        """Whether anything answers to this name, for this caller."""
        self.protocol = self._subsystem(subsystem)
        return self.protocol is not None

    def session_started(self) -> None:
        """The grant is on its way to the peer."""
        self.begin()
