"""What `versions` and `restore` share: whom to ask about kept versions, and which moment a person means.

`NODE:PATH` is asked of that node's runtime, a PATH alone of this machine's disk.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import OperatorError
from schemas.kept import ListVersions, Restore
from schemas.text import nearest, parse_duration

if TYPE_CHECKING:
    from orchestrator.model import Compiled
    from schemas.control import Reply

Ask = Callable[[ListVersions | Restore], "Reply"]

_WORDS = re.compile(r"\s*(weeks?|days?|hours?|minutes?|mins?|seconds?|secs?)\b")


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody who knows what is kept, and how to go on when nothing is."""

    ask: Ask
    path: str  # as the other side is to understand it
    elsewhere: tuple[str, ...] = ()  # where else the same files are


@contextmanager
def whom_to_ask(
    place: str, documents: Sequence[Path], state: Path | None, *, as_json: bool
) -> Iterator[Asked]:
    """The conversation about `NODE:PATH` or `PATH`. Raises OperatorError."""
    node, colon, path = place.partition(":")
    if not colon or not node or "/" in node:
        from orchestrator.adhoc import local_versions

        if documents:
            raise OperatorError(f"{place} names no node; write NODE:PATH to ask a node of {documents[0]}")
        with local_versions() as ask:
            yield Asked(_checked(ask), os.path.abspath(os.path.expanduser(place)))
        return
    with _node(node, path, documents, state, as_json=as_json) as asked:
        yield asked


@contextmanager
def _node(
    node: str, path: str, documents: Sequence[Path], state: Path | None, *, as_json: bool
) -> Iterator[Asked]:
    from orchestrator.apply.host import Unreachable
    from orchestrator.cli.fleet import accesses, authority_file, compile_or_stop, new_hosts

    compiled = compile_or_stop(documents, as_json=as_json)
    known = accesses(compiled)
    if node not in known:
        near = nearest(node, known)
        raise OperatorError(
            f"there is no node {node}"
            + (f'; did you mean "{near}"?' if near else f"; the nodes are {', '.join(sorted(known)[:8])}")
            + f" (a local file with a colon in its name: ./{node}:{path})"
        )
    nodes = {node: known[node]}
    doors = authority_file(state, documents).for_doors(nodes.values())
    with asyncio.Runner() as runner:
        hosts = new_hosts(nodes, doors)

        async def request(asked: ListVersions | Restore) -> Reply:
            async with hosts.use(node) as host:
                return await host.request(asked)

        def ask(asked: ListVersions | Restore) -> Reply:
            try:
                return runner.run(request(asked))
            except Unreachable as error:
                raise OperatorError(str(error)) from None

        try:
            yield Asked(_checked(ask, node), path, _elsewhere(compiled, node, path))
        finally:
            runner.run(hosts.close())


def _checked(ask: Ask, node: str = "") -> Ask:
    """A refusal is an error."""
    from schemas.control import Refused

    def checked(request: ListVersions | Restore) -> Reply:
        reply = ask(request)
        if isinstance(reply, Refused):
            raise OperatorError(f"{node}: {reply.reason}" if node else reply.reason)
        return reply

    return checked


def _elsewhere(compiled: Compiled, node: str, path: str) -> tuple[str, ...]:
    """The same path in the replicas that are linked to the one that it lies in."""
    found = set()
    for edge in compiled.edges:
        for here, there in ((edge.source, edge.target), (edge.target, edge.source)):
            if here.node == node and (path == here.path or path.startswith(here.path + "/")):
                found.add(f"{there.node}:{there.path}{path[len(here.path) :]}")
    return tuple(sorted(found))


def nothing_kept(place: str, asked: Asked) -> str:
    """What to say where nothing is kept."""
    text = (
        f"nothing is kept of {place}: a replica keeps what a sync overwrote or deleted in it, "
        "not what its own users did"
    )
    if asked.elsewhere:
        shown = ", ".join(asked.elsewhere[:4]) + (", …" if len(asked.elsewhere) > 4 else "")
        text += f"; that is kept where the change arrived: {shown}"
    return text


def parse_moment(text: str, now: float) -> float:
    """Unix time of "2026-11-22T10:15", "2h", "3 days ago" and the like. Raises OperatorError.

    A time without a zone is this machine's.
    """
    try:
        moment = datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError):
        short = _WORDS.sub(lambda match: match[1][0], text.strip().removesuffix("ago"))
        try:
            moment = now - parse_duration("".join(short.split()))
        except ValueError:
            raise OperatorError(
                f"{text!r} is no time; write it as 2026-11-22T10:15, 2026-11-22, 2h or '3 days ago'"
            ) from None
    if moment > now:
        raise OperatorError(f"{text!r} lies in the future; it is now {show_moment(now)}")
    return moment


def show_moment(moment: float) -> str:
    """A moment in a form that `parse_moment` takes."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
