"""`syncgraph-node serve`: the far end of an ad hoc sync, on stdin and stdout. Called by programs only."""

from __future__ import annotations

import asyncio
import sys

import click

from node_runtime.cli.memory import keep_freed_buffers
from node_runtime.errors import NodeError
from node_runtime.exchange.session import SessionClosed


@click.command(hidden=True)
def command() -> None:
    """Be the far end of `syncgraph sync`. Its near end starts this, here or over ssh."""
    from node_runtime.daemon.adhoc import serve

    keep_freed_buffers()
    try:
        asyncio.run(serve())
    except SessionClosed:
        sys.exit(1)  # the near end says why
    except NodeError as error:
        click.echo(f"syncgraph-node serve: {error}", err=True)
        sys.exit(1)
