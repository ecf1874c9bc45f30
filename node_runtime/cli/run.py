"""`syncgraph-node run`: the runtime in the foreground; what a service unit starts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from node_runtime.cli import state_option
from node_runtime.cli.log import LEVELS, configure
from node_runtime.cli.memory import keep_freed_buffers
from schemas.control import DEFAULT_PORT


class Listen(click.ParamType[tuple[str, int]]):
    """HOST:PORT, [IPv6]:PORT, :PORT or PORT; without a host every address is meant."""

    name = "HOST:PORT"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """The host ("" for every address) and the port."""
        if isinstance(value, tuple):
            return value
        host, _, port = str(value).rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        if not port.isascii() or not port.isdigit() or int(port) > 65535 or (":" in host and not bracketed):
            self.fail(f"{value!r} isn't HOST:PORT, as in 0.0.0.0:{DEFAULT_PORT} or [::1]:{DEFAULT_PORT}")
        return host[1:-1] if bracketed else host.replace("*", ""), int(port)


@click.command()
@state_option
@click.option(
    "--listen",
    type=Listen(),
    default=f":{DEFAULT_PORT}",
    show_default=True,
    help="Where peers and the orchestrator connect; without a host, every address of this machine.",
)
@click.option(
    "--log-level", type=click.Choice(LEVELS), default="info", show_default=True, help="How much to log."
)
@click.option("--log-json", is_flag=True, help="Log one JSON object a line.")
def command(state: Path, listen: tuple[str, int], log_level: str, log_json: bool) -> None:
    """Run the node runtime in the foreground, until SIGTERM or Ctrl-C.

    The first start makes the node's key and state directory. The runtime then waits to be enrolled, and
    goes on with its current plan whenever the orchestrator is away.

    \b
    Examples:
      syncgraph-node run
      syncgraph-node run --state /var/lib/syncgraph-node --listen 10.0.0.7:7722
    """
    configure(log_level, log_json)
    from node_runtime.daemon.node import NodeRuntime

    async def serve() -> None:
        await NodeRuntime(state, listen).run()

    keep_freed_buffers()
    asyncio.run(serve())
