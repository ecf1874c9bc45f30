"""`syncgraph graph`: the topology as a drawing, without asking any node."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.fleet import compile_or_stop
from orchestrator.cli.output import paths_argument
from orchestrator.errors import OperatorError

FORMATS = ("mermaid", "dot", "svg")
SUFFIXES = {".mmd": "mermaid", ".mermaid": "mermaid", ".dot": "dot", ".gv": "dot", ".svg": "svg"}


@click.command("graph")
@paths_argument
@click.option(
    "--format",
    "language",
    type=click.Choice(FORMATS),
    help="Drawing language.  [default: by the suffix of FILE, else mermaid]",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write to FILE instead of standard output.",
)
def command(paths: tuple[Path, ...], language: str | None, out: Path | None) -> None:
    """Draw the topology. Touches no node.

    Mermaid is drawn by code hosts, DOT by Graphviz; SVG needs no other program and follows the reader's
    light or dark mode. In fleets of more than 200 nodes, Mermaid and SVG show alike nodes as one box.

    \b
    Examples:
      syncgraph graph                          # Mermaid, to standard output
      syncgraph graph my-fleet -o fleet.svg
      syncgraph graph --format dot | dot -Tpdf -o fleet.pdf
    """
    import orchestrator.render as render

    language = language or _language_of(out)
    compiled = compile_or_stop(paths, as_json=False)
    draw = {"mermaid": render.mermaid, "dot": render.dot, "svg": render.svg}[language]
    text = draw(compiled)
    if out is None:
        click.echo(text, nl=False, color=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OperatorError(f"{out} can't be written: {error.strerror}; choose another file") from None


def _language_of(out: Path | None) -> str:
    """What the suffix of a file asks for. Raises OperatorError where it asks for what isn't drawn here."""
    if out is None or not out.suffix:
        return FORMATS[0]
    language = SUFFIXES.get(out.suffix.lower())
    if language is None:
        raise OperatorError(
            f"{out}: can't draw {out.suffix}; name a file that ends with {', '.join(SUFFIXES)},"
            f" or say --format {'|'.join(FORMATS)}"
        )
    return language
