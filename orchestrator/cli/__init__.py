"""The `syncgraph` command. One module a command, imported only when it is called.

`COMMANDS` is the whole table; what a command does lives below this package, so that it can be called
from Python as well.
"""

from __future__ import annotations

import importlib
import sys

import click

VERSION = "0.1.0"

# name: (module, one line of help); the module holds a click command called `command`
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("orchestrator.cli.init", "Write a small working repository."),
    "validate": ("orchestrator.cli.validate", "Check topologies and inventories."),
    "authority": ("orchestrator.cli.authority", "Print the key that nodes obey; make it if there is none."),
    "plan": ("orchestrator.cli.plan", "Show what an apply would change."),
    "apply": ("orchestrator.cli.apply", "Push the plans to the nodes."),
    "status": ("orchestrator.cli.status", "Show what the nodes are doing."),
    "conflicts": ("orchestrator.cli.conflicts", "Show edits that met, and end such conflicts."),
    "approve": ("orchestrator.cli.approve", "Let deletes go that a guard holds back."),
    "graph": ("orchestrator.cli.graph", "Draw the topology."),
    "explain": ("orchestrator.cli.explain", "Say where an edge's settings come from."),
    "destroy": ("orchestrator.cli.destroy", "Stop all replication; the files stay."),
    "sync": ("orchestrator.cli.sync", "Bring two directories in step, now, without YAML."),
    "versions": ("orchestrator.cli.versions", "List what a sync overwrote or deleted, and kept."),
    "restore": ("orchestrator.cli.restore", "Bring kept files back, one or a whole tree."),
    "schema": ("orchestrator.cli.schema", "Print the JSON Schema of a document."),
    "completion": ("orchestrator.cli.completion", "Print a shell completion script."),
}


class LazyGroup(click.Group):
    """A group that lists its commands without importing them: `--version` and `--help` stay instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in reading order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name; the nearest spelling is click's to suggest."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands, from `COMMANDS` alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="syncgraph")
def syncgraph() -> None:
    """Declare replication graphs in YAML; keep the files of a fleet in step.

    \b
    Examples:
      syncgraph init my-fleet
      syncgraph plan my-fleet
      syncgraph apply my-fleet
      syncgraph sync ./site web-1:/srv/site
    """


def main() -> None:
    """Entry point: every failure is a message and an exit code, never a traceback."""
    from orchestrator.errors import OperatorError

    try:
        syncgraph.main(prog_name="syncgraph")
    except OperatorError as error:
        click.echo(f"{click.style('error:', fg='red', bold=True)} {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
