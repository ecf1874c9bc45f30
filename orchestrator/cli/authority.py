"""`syncgraph authority`: the key that a node must know before it can be reached at its runtime's own port."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from orchestrator.cli.fleet import authority_file, state_option
from orchestrator.cli.output import echo, json_option, paths_argument, print_json


@click.command("authority")
@paths_argument
@json_option
@state_option
def command(paths: Sequence[Path], as_json: bool, state: Path | None) -> None:
    """Print the public key of the fleet's certificate authority, and make the authority if there is none.

    Nodes that are reached over the system's SSH server get it with the first apply. A node that is reached at
    its runtime's own port trusts nobody yet, so it is told by hand whom to obey: give it this key.

    A new authority's passphrase is asked for, or taken from SYNCGRAPH_PASSPHRASE or from the file that
    SYNCGRAPH_PASSPHRASE_FILE names.

    \b
    Examples:
      syncgraph authority > fleet-authority.pub
      syncgraph-node init --authority fleet-authority.pub --node branch-07    # on the node
    """
    authority = authority_file(state, paths)
    key = authority.public_key or authority.open(create=True).public_key
    if as_json:
        print_json({"state": str(authority.state), "publicKey": key})
    else:
        echo(key)
