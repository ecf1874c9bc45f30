"""Two replicas in one process, real trees on disk, linked over a pair of sockets; and a peer played by hand.

async with sites(tmp_path) as (left, right):     # two empty directories, each with an index of its own
    left.write({"a.txt": "text", "d/b": b"bytes", "empty/": None})
    mine, theirs = await sync(left, right, one_way(left, right))
    assert right.tree() == left.tree()
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import stat
from collections.abc import AsyncIterator, Generator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node_runtime.daemon.link import Link
from node_runtime.daemon.replica import Replica
from node_runtime.daemon.talk import Manner, Talk
from node_runtime.exchange.messages import PROTOCOL, AnyMessage, Bye, End, Hello, Tally
from node_runtime.exchange.session import SessionClosed
from node_runtime.net.stream import StreamSession
from node_runtime.replica.filters import Filters
from node_runtime.replica.path import RESERVED
from schemas.plans import FilterRule, ReplicaRef, ReplicationPlan, SyncPlan, digest
from tests.support.waiting import until

DEADLINE_S = 20.0  # reached only by a test that fails
Seen = tuple[str, bytes, int]  # kind, content, permission bits
Content = str | bytes | Path | None  # None for a directory; a Path for a symbolic link to it


@dataclass
class Site:
    """One replica: a directory, and the index that belongs to it."""

    node: str
    root: Path
    replica: Replica

    def write(self, tree: Mapping[str | bytes, Content]) -> None:
        """Write paths; names that end in "/" are directories."""
        write(self.root, tree)

    def tree(self) -> dict[bytes, Seen]:
        """Everything in the directory but what belongs to the runtime."""
        return tree_of(self.root)

    def texts(self) -> dict[str, str]:
        """The regular files and what is in them."""
        return {
            path.decode(): content.decode()
            for path, (kind, content, _) in self.tree().items()
            if kind == "file"
        }

    def kept(self) -> set[bytes]:
        """The contents in the kept versions."""
        found = (self.root / ".syncgraph" / "versions").rglob("*")
        return {path.read_bytes() for path in found if path.is_file() and not path.is_symlink()}


def write(root: Path, tree: Mapping[str | bytes, Content]) -> None:
    """Write paths below `root`; names that end in "/" are directories."""
    for name, content in tree.items():
        path = os.path.join(os.fsencode(root), os.fsencode(name))
        os.makedirs(path if content is None else os.path.dirname(path), exist_ok=True)
        if isinstance(content, Path):
            os.symlink(content, path)
        elif content is not None:
            with open(path, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)


def glance(root: Path) -> dict[bytes, Seen]:
    """A tree that is being changed; nothing at all where something went while it was looked at."""
    try:
        return tree_of(root)
    except OSError:
        return {}


def same(one: Path, other: Path) -> bool:
    """Whether two trees that are being changed hold something, and the same."""
    return bool(seen := glance(one)) and seen == glance(other)


def tree_of(root: Path) -> dict[bytes, Seen]:
    """Files, directories and links below `root` that don't belong to the runtime."""
    top = os.fsencode(root)
    seen: dict[bytes, Seen] = {}
    for directory, names, files in os.walk(top):
        if directory == top:
            names[:] = [name for name in names if name != RESERVED]
        for name in names + files:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            mode = stat.S_IMODE(status.st_mode)
            relative = os.path.relpath(path, top)
            if stat.S_ISLNK(status.st_mode):
                seen[relative] = ("symlink", os.readlink(path), 0)
            elif stat.S_ISDIR(status.st_mode):
                seen[relative] = ("directory", b"", mode)
            elif stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    seen[relative] = ("file", file.read(), mode)
    return seen


def remove(path: Path) -> None:
    """Delete whatever is there."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


async def open_site(directory: Path, node: str, *, filters: tuple[FilterRule, ...] = ()) -> Site:
    """A replica at `directory`/`node`, its index beside it. Opening it again goes on where it was."""
    root = directory / node
    replica = Replica(node, str(root), directory / f"{node}.db", Filters(filters))
    await replica.open(create=True)
    return Site(node, root, replica)


@asynccontextmanager
async def sites(directory: Path, *nodes: str) -> AsyncIterator[list[Site]]:
    """Open replicas, "left" and "right" unless named otherwise; all are closed at the end."""
    opened = [await open_site(directory, node) for node in nodes or ("left", "right")]
    try:
        yield opened
    finally:
        for site in opened:
            await site.replica.close()


def edge(source: Site, target: Site, direction: str, **changes: Any) -> ReplicationPlan:
    """An edge between two sites that runs once; the source's node ends it."""
    fields: dict[str, Any] = {
        "edge": f"t/g/{source.node}~{target.node}",
        "source": ReplicaRef(source.node, str(source.root)),
        "target": ReplicaRef(target.node, str(target.root)),
        "direction": direction,
        "dials": source.node,
        "sync": SyncPlan(mode="once"),
    }
    return ReplicationPlan(**{**fields, **changes})


def one_way(source: Site, target: Site, **changes: Any) -> ReplicationPlan:
    """Entries flow from `source` to `target`."""
    return edge(source, target, "one-way", **changes)


def two_way(source: Site, target: Site, **changes: Any) -> ReplicationPlan:
    """Entries flow both ways."""
    return edge(source, target, "two-way", **changes)


async def pair_of_sessions() -> tuple[StreamSession, StreamSession]:
    """Two sessions over a pair of local sockets."""
    loop = asyncio.get_running_loop()
    made = []
    for end in socket.socketpair():
        session = StreamSession()
        await loop.create_connection(lambda session=session: session, sock=end)  # type: ignore[misc]
        made.append(session)
    return made[0], made[1]


class _Scan:
    """A scan that begins when it is waited for, so that none is left running where nobody does."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def __await__(self) -> Generator[Any, None, object]:
        return self._replica.scan().__await__()


def link(plan: ReplicationPlan, end: End, site: Site, session: StreamSession, manner: Manner) -> Link:
    """One end, which scans its tree as it starts."""
    talk = Talk(plan, end, site.node, site.replica, session, manner)
    return Link(talk, _Scan(site.replica))


async def sync(
    source: Site, target: Site, plan: ReplicationPlan, *, dry_run: bool = False
) -> tuple[Tally, Tally]:
    """Run an edge until it is in step; what the source's end did, and what the target's did."""
    manner = Manner(dry_run=dry_run, durable=False)
    near, far = await pair_of_sessions()
    links = [link(plan, "source", source, near, manner), link(plan, "target", target, far, manner)]
    running = [asyncio.create_task(each.run()) for each in links]
    try:
        await asyncio.wait_for(asyncio.gather(*running), DEADLINE_S)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return await links[0].tally(), await links[1].tally()


async def sync_cut_off(source: Site, target: Site, plan: ReplicationPlan, *, after_bytes: int) -> int:
    """Run an edge and cut its session once so many content bytes have come; how many had in the end."""
    near, far = await pair_of_sessions()
    links = [link(plan, "source", source, near, Manner()), link(plan, "target", target, far, Manner())]
    running = [asyncio.create_task(each.run()) for each in links]
    await until(lambda: links[1].progress().bytes_on_wire > after_bytes, "some of it has come")
    near.close()
    assert all(isinstance(end, SessionClosed) for end in await outcome(running))
    return links[1].progress().bytes_on_wire


class HandPeer:
    """The other end of an edge, played by hand: says whatever a test wants, hears what comes back."""

    def __init__(self, plan: ReplicationPlan, end: End, session: StreamSession) -> None:
        self.session = session
        node = (plan.source if end == "source" else plan.target).node
        self.hello = Hello(PROTOCOL, plan.edge, digest(plan), end, node, 77, b"i" * 16, 1_000_000)

    async def say(self, *messages: AnyMessage) -> None:
        for message in messages:
            await self.session.send(message)

    async def hear(self, kind: type[Any] | tuple[type[Any], ...]) -> Any:
        """The next message of this kind, or of one of these; others are passed over. Raises SessionClosed."""
        while True:
            message = await asyncio.wait_for(self.session.receive(), DEADLINE_S)
            if isinstance(message, kind):
                return message

    async def refusal(self) -> str:
        """The reason with which the other end leaves."""
        try:
            bye: Bye = await self.hear(Bye)
        except SessionClosed as closed:
            return closed.reason
        return bye.reason


@asynccontextmanager
async def against(
    site: Site, plan: ReplicationPlan, *, manner: Manner | None = None
) -> AsyncIterator[tuple[HandPeer, asyncio.Task[None]]]:
    """A real end at `site` and a peer played by hand, greeted; the task ends as the real end's `run` does."""
    end: End = "source" if plan.source.node == site.node else "target"
    other: End = "target" if end == "source" else "source"
    near, far = await pair_of_sessions()
    real = link(plan, end, site, near, manner or Manner(durable=False))
    running = asyncio.create_task(real.run())
    peer = HandPeer(plan, other, far)
    try:
        await peer.say(peer.hello)
        await peer.hear(Hello)
        yield peer, running
    finally:
        far.close()
        near.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def outcome(running: Iterable[asyncio.Task[None]]) -> list[BaseException | None]:
    """How tasks ended, within the deadline."""
    return await asyncio.wait_for(asyncio.gather(*running, return_exceptions=True), DEADLINE_S)
