"""`syncgraph completion`: print a shell completion script."""

from __future__ import annotations

import click

from orchestrator.cli.output import echo

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", metavar="|".join(SHELLS), type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print a completion script for a shell.

    \b
    Examples:
      eval "$(syncgraph completion bash)"                                  # in ~/.bashrc
      eval "$(syncgraph completion zsh)"                                   # in ~/.zshrc
      syncgraph completion fish > ~/.config/fish/completions/syncgraph.fish
    """
    from click.shell_completion import get_completion_class

    from orchestrator.cli import syncgraph

    completion = get_completion_class(shell)
    assert completion is not None  # click knows the three shells
    script = completion(syncgraph, {}, "syncgraph", "_SYNCGRAPH_COMPLETE").source_template
    names = {
        "complete_func": "_syncgraph_completion",
        "complete_var": "_SYNCGRAPH_COMPLETE",
        "prog_name": "syncgraph",
    }
    echo(script % names)
