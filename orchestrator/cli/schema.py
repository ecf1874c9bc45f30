"""`syncgraph schema`: print the JSON Schema of a document."""

from __future__ import annotations

import click

from orchestrator.cli.output import echo

NAMES = ("topology", "inventory", "node-plan", "status")


@click.command(epilog="Example: syncgraph schema topology > topology.schema.json")
@click.argument("name", metavar="|".join(NAMES), type=click.Choice(NAMES))
def command(name: str) -> None:
    """Print the JSON Schema of a document, for editors and other programs."""
    from schemas.files import schema_text

    echo(schema_text(name), newline=False)
