"""`syncgraph-node init`: a state directory with a key, before the first run."""

from __future__ import annotations

from pathlib import Path

import click

from node_runtime.cli import state_option
from node_runtime.errors import NodeError


@click.command()
@state_option
@click.option(
    "--authority",
    default="",
    metavar="FILE|KEY",
    help="Public key of the only authority that may enrol this node, and reach it on its own port before.",
)
@click.option("--node", default="", metavar="NAME", help="The only name that it may be enrolled under.")
def command(state: Path, authority: str, node: str) -> None:
    """Make this node's key, if it has none, and print its public half.

    Not needed where the orchestrator reaches the node over the system's SSH server. Needed, with
    --authority, where it reaches the runtime's own port: the printed key goes into the inventory as hostKey.

    \b
    Examples:
      syncgraph-node init
      syncgraph-node init --authority fleet-authority.pub --node branch-07
    """
    from node_runtime.daemon.identity import name_authority
    from node_runtime.daemon.layout import Layout

    layout = Layout(state.absolute())
    layout.create()
    if authority or node or not layout.public_key.exists():
        with layout.lock():
            name_authority(layout, _key_text(authority), node)
    click.echo(layout.public_key.read_text().strip())


def _key_text(given: str) -> str:
    """The key itself: given as text, or in a file."""
    if not given or given.startswith("ssh-"):
        return given
    try:
        return Path(given).read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it isn't a text file"
        raise NodeError(f"--authority: can't read {given}: {reason}") from None
