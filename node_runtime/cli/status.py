"""`syncgraph-node status`: what the runtime on this machine says of itself."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from node_runtime.cli import state_option
from node_runtime.errors import NodeError
from schemas.status import EdgeStatus, NodeStatus

SHOWN_PATHS = 10  # of the failed paths of one edge; --json has them all
_COLOURS = {"in-step": "green", "failed": "red", "held": "yellow", "connecting": "yellow"}


@click.command()
@state_option
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(state: Path, as_json: bool) -> None:
    """Show what the running node runtime is doing. Exits 1 if an edge has failed.

    \b
    Examples:
      syncgraph-node status
      syncgraph-node status --json
    """
    report = _ask(state)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2))
    else:
        _print(report)
    if any(edge.state == "failed" for edge in report.edges):
        sys.exit(1)


def _ask(state: Path) -> NodeStatus:
    from node_runtime.daemon.layout import Layout, connect_control
    from schemas.control import Refused, Report, Status, decode_reply

    with connect_control(Layout(state.absolute())) as connection, connection.makefile("rwb") as stream:
        stream.write(msgspec.json.encode(Status()) + b"\n")
        stream.flush()
        line = stream.readline()
    if not line:
        raise NodeError("the node runtime ended the conversation; its log says why")
    try:
        reply = decode_reply(line)
    except msgspec.DecodeError as error:
        raise NodeError(f"the node runtime speaks another version: {error}; restart it") from None
    if isinstance(reply, Report):
        return reply.status
    raise NodeError(reply.reason if isinstance(reply, Refused) else "the node runtime gave another answer")


def _print(report: NodeStatus) -> None:
    expires = report.certificate_expires_at
    plan = f"generation {report.generation}, {report.digest[:12]}" if report.digest else "(none)"
    click.echo(f"node         {report.node or '(not enrolled)'}")
    click.echo(f"version      {report.version}, started {_moment(report.started_at)}")
    click.echo(f"plan         {plan}")
    click.echo(f"certificate  {f'until {_moment(expires)}' if expires else '(none)'}")
    for replica in report.replicas:
        told = click.style(f"  {replica.problem}", fg="red") if replica.problem else ""
        click.echo(f"replica      {replica.path}: {replica.files} files, {replica.bytes} bytes{told}")
    for edge in report.edges:
        state = click.style(edge.state, fg=_COLOURS.get(edge.state))
        click.echo(f"edge         {edge.edge}  {state}{_rest(edge)}")
        for problem in edge.failed[:SHOWN_PATHS]:
            click.echo(f"               failed: {problem.path}: {problem.reason}")


def _rest(edge: EdgeStatus) -> str:
    """What else there is to say of an edge, from the most to the least urgent."""
    parts = [
        edge.detail,
        f"{edge.failed_count} failed" if edge.failed_count else "",
        f"{edge.conflict_count} conflicts" if edge.conflict_count else "",
        f"{edge.pending_files} files, {edge.pending_bytes} bytes to go" if edge.pending_files else "",
        f"in step {_moment(edge.in_step_at)}" if edge.in_step_at else "",
        f"next run {_moment(edge.next_run_at)}" if edge.next_run_at else "",
    ]
    said = ", ".join(part for part in parts if part)
    return f"  {said}" if said else ""


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
