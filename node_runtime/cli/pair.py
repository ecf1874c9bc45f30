"""`syncgraph-node pair`: the near end of an ad hoc sync. Request on stdin, events on stdout, all JSON."""

from __future__ import annotations

import asyncio
import sys

import click
import msgspec

from node_runtime.cli.memory import keep_freed_buffers
from schemas.adhoc import Event, Failure, Request


def emit(event: Event) -> None:
    """One event, one line, at once."""
    sys.stdout.buffer.write(msgspec.json.encode(event) + b"\n")
    sys.stdout.buffer.flush()


@click.command(hidden=True)
def command() -> None:
    """Bring two directories in step. `syncgraph sync` starts this; people call that."""
    from node_runtime.daemon.pairing import pair
    from node_runtime.errors import NodeError
    from node_runtime.exchange.session import SessionClosed

    keep_freed_buffers()
    try:
        request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
        asyncio.run(pair(request, emit))
    except SessionClosed as closed:
        emit(Failure(closed.reason or "the far end left"))
        sys.exit(1)
    except (NodeError, msgspec.DecodeError) as error:
        emit(Failure(str(error)))
        sys.exit(1)
