"""`syncgraph-node kept`: versions of an ad hoc replica. Request on stdin, reply on stdout, both JSON."""

from __future__ import annotations

import sys

import click
import msgspec

from schemas.control import Refused, Reply
from schemas.kept import ListVersions, Restore


@click.command(hidden=True)
def command() -> None:
    """Answer requests about kept versions, one a line. `syncgraph versions` and `restore` start this."""
    from node_runtime.daemon.kept import local
    from node_runtime.errors import NodeError

    decoder = msgspec.json.Decoder(ListVersions | Restore)
    for line in sys.stdin.buffer:
        try:
            reply: Reply = local(decoder.decode(line))
        except (NodeError, msgspec.DecodeError) as error:
            reply = Refused(str(error))
        sys.stdout.buffer.write(msgspec.json.encode(reply) + b"\n")
        sys.stdout.buffer.flush()
