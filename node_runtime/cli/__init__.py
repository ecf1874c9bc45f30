"""The `syncgraph-node` command. One module a command, imported only when it is called.

`COMMANDS` is the whole table. What a command does lives in `node_runtime.daemon`; here are only words,
options and exit codes. Next: `run`, then `control`, which an orchestrator calls over the system's sshd.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from node_runtime import VERSION

# name: (module, one line of help); the module holds a click command called `command`
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("node_runtime.cli.init", "Make this node's key and print its public half."),
    "run": ("node_runtime.cli.run", "Run the node runtime in the foreground."),
    "status": ("node_runtime.cli.status", "Show what the running node runtime is doing."),
    "control": ("node_runtime.cli.control", "Speak the control protocol on stdin and stdout."),
    "pair": ("node_runtime.cli.pair", "Bring two directories in step; called by `syncgraph sync`."),
    "kept": ("node_runtime.cli.kept", "Kept versions of a directory; called by `syncgraph restore`."),
    "serve": ("node_runtime.cli.serve", "Be the far end of a pair on stdin and stdout."),
}
HIDDEN = frozenset({"kept", "pair", "serve"})  # called by programs only; left out of --help


class LazyGroup(click.Group):
    """A group that lists its commands without importing them: `--version` and `--help` stay instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command for people, in reading order."""
        return [name for name in COMMANDS if name not in HIDDEN]

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
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


def default_state() -> Path:
    """Where the state lives when nobody says: $SYNCGRAPH_NODE_STATE, else the XDG state directory.

    Source: XDG Base Directory Specification 0.8, where a relative value counts as unset.
    """
    named = os.environ.get("SYNCGRAPH_NODE_STATE")
    if named:
        return Path(named)
    xdg = os.environ.get("XDG_STATE_HOME", "")
    base = Path(xdg) if xdg.startswith("/") else Path.home() / ".local" / "state"
    return base / "syncgraph-node"


def state_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The --state option that every command about one runtime takes."""
    return click.option(
        "--state",
        type=click.Path(file_okay=False, path_type=Path),
        default=default_state,
        show_default="$SYNCGRAPH_NODE_STATE or ~/.local/state/syncgraph-node",
        help="The node's state directory.",
    )(command)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="syncgraph-node")
def syncgraph_node() -> None:
    """Run one node of a fleet: keep this machine's replicas in step with its peers'.

    \b
    Examples:
      syncgraph-node init --state /var/lib/syncgraph-node
      syncgraph-node run --state /var/lib/syncgraph-node
      syncgraph-node status
    """


def main() -> None:
    """Entry point: every failure is a message and an exit code, never a traceback."""
    from node_runtime.errors import NodeError

    try:
        syncgraph_node.main(prog_name="syncgraph-node")
    except NodeError as error:
        click.echo(f"{click.style('error:', fg='red', bold=True)} {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"{click.style('error:', fg='red', bold=True)} {where}{error.strerror or error}", err=True)
        sys.exit(1)
