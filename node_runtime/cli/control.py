"""`syncgraph-node control`: the control socket, carried over standard input and output.

An orchestrator runs this through the system's sshd. Nothing is understood here, so an old program carries the
requests of a new one.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path

import click
import msgspec

from node_runtime.cli import state_option
from node_runtime.errors import NodeError

CHUNK_BYTES = 256 * 1024


@click.command()
@state_option
def command(state: Path) -> None:
    """Speak the control protocol on stdin and stdout: one JSON request a line, one JSON reply a line.

    \b
    Example:
      echo '{"op":"identify"}' | syncgraph-node control
    """
    from node_runtime.daemon.layout import Layout, connect_control
    from schemas.control import Refused

    try:
        connection = connect_control(Layout(state.absolute()))
    except NodeError as error:
        # The orchestrator reads a reply, not standard error.
        sys.stdout.buffer.write(msgspec.json.encode(Refused(str(error))) + b"\n")
        sys.stdout.buffer.flush()
        raise
    with connection:
        threading.Thread(target=_send_requests, args=(connection,), daemon=True).start()
        while chunk := _receive(connection):
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()


def _send_requests(connection: socket.socket) -> None:
    """Carry standard input to the socket; its end is passed on, so that the runtime answers and closes."""
    try:
        while chunk := os.read(sys.stdin.fileno(), CHUNK_BYTES):
            connection.sendall(chunk)
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        # The runtime is gone. The main thread sees the same and ends the program.
        return


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(CHUNK_BYTES)
    except ConnectionResetError:
        raise NodeError("the node runtime ended the conversation") from None
