"""The near end of an ad hoc sync: starts the far end, runs the edge, and tells how it goes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from node_runtime.daemon.adhoc import (
    Channel,
    FarEndGone,
    identity,
    local_far_end,
    open_far_end,
    plan_for,
    run_end,
    whole_path,
)
from node_runtime.daemon.link import Link
from node_runtime.daemon.talk import Manner
from node_runtime.errors import NodeError
from node_runtime.exchange.messages import End, Tally
from node_runtime.exchange.session import SessionClosed
from node_runtime.replica.path import show
from schemas.adhoc import Event, FarEnd, Moving, Opening, PlannedChange, Request, Start, Summary
from schemas.plans import ReplicaRef, ReplicationPlan
from schemas.status import ConflictReport, PathProblem

SSH_FAILED = 255
COMMAND_NOT_FOUND = (126, 127)  # by POSIX shells
EVENT_S = 0.2
LEAVE_S = 10.0  # for the far end to answer a goodbye
INTERRUPTED = "interrupted; run it again to go on where it ended"
FAR_END_EXIT_S = 10.0


async def pair(request: Request, emit: Callable[[Event], None]) -> None:
    """Carry out a request; SIGTERM ends a watch in good order.

    Raises NodeError or SessionClosed where it can't be done.
    """
    began = time.monotonic()
    near_path = whole_path(request.near)
    near_takes = request.both or not request.near_is_source
    if not os.path.isdir(near_path) and (os.path.lexists(near_path) or not near_takes):
        raise NodeError(f"{request.near} isn't a directory; a sync works on directories")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGTERM, stop.set
    )  # before there is a far end to end
    channel, child = await open_far_end(list(request.command) or local_far_end())
    try:
        plan = await _unless(stop, _agree(request, channel, near_path), child)
        mine, theirs = await _run(request, plan, near_path, channel, emit, stop)
        emit(_summary(mine, theirs, time.monotonic() - began, request))
    except FarEndGone:
        raise NodeError(INTERRUPTED if stop.is_set() else await _why_gone(request, child)) from None
    finally:
        channel.close()
        await _end(child)


async def _unless(
    stop: asyncio.Event, agreeing: Coroutine[Any, Any, ReplicationPlan], child: asyncio.subprocess.Process
) -> ReplicationPlan:
    """Agree, or end the far end that is waited for: it may be asking for a password."""
    stopped = asyncio.create_task(stop.wait())
    stopped.add_done_callback(lambda task: None if task.cancelled() else child.terminate())
    try:
        return await agreeing
    finally:
        stopped.cancel()


async def _why_gone(request: Request, child: asyncio.subprocess.Process) -> str:
    """What the exit code of a far end that never answered means. ssh(1): its own failures are 255."""
    code = await asyncio.wait_for(child.wait(), FAR_END_EXIT_S)
    if request.command and code == SSH_FAILED:
        return "ssh could not connect; its own message says why"
    if request.command and code in COMMAND_NOT_FOUND:
        return (
            "the far side has no syncgraph-node on its PATH; install it there, or say where it is:"
            " --remote-command /path/to/syncgraph-node"
        )
    return f"the far end ended with exit code {code} before it answered"


async def _agree(request: Request, channel: Channel, near_path: str) -> ReplicationPlan:
    """Settle with the far end who is who, and what the edge is."""
    far_takes = request.both or request.near_is_source
    await channel.say(Opening(request.far, far_takes))
    far: FarEnd = await channel.hear(FarEnd)
    if far.error:
        raise NodeError(far.error)
    node = socket.gethostname()
    if far.identity == identity():
        inside = os.path.commonpath([near_path, far.path])
        if inside in (near_path, far.path):
            what = "are the same directory" if near_path == far.path else "lie one inside the other"
            raise NodeError(f"{near_path} and {far.path} {what}")
    same_name = far.node == node and far.identity != identity()
    far_node = f"{far.node}-2" if same_name else far.node
    plan = plan_for(request, ReplicaRef(node, near_path), ReplicaRef(far_node, far.path))
    start = Start(
        plan, not request.near_is_source, request.watch, request.dry_run, request.durable, request.delta
    )
    await channel.say(start)
    return plan


async def _run(
    request: Request,
    plan: ReplicationPlan,
    near_path: str,
    channel: Channel,
    emit: Callable[[Event], None],
    stop: asyncio.Event,
) -> tuple[Tally, Tally]:
    near_end: End = "source" if request.near_is_source else "target"
    manner = Manner(request.watch, request.dry_run, request.durable, request.delta)
    node = socket.gethostname()
    links: list[Link] = []
    running = asyncio.create_task(
        run_end(plan, near_end, node, near_path, manner, channel.session, links.append)
    )
    telling = asyncio.create_task(_tell(links, emit))
    stopped = asyncio.create_task(stop.wait())
    tasks = (running, telling, stopped)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)  # `telling`: nobody listens any more
        if request.watch and links and not running.done():
            with suppress(SessionClosed):  # then `running` has ended with the reason
                await links[0].leave()
            await asyncio.wait([running], timeout=LEAVE_S)
        if not running.done():
            raise NodeError(INTERRUPTED)
        return running.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _tell(links: list[Link], emit: Callable[[Event], None]) -> None:
    """Say how far it is, now and then."""
    while True:
        await asyncio.sleep(EVENT_S)
        for link in links:
            near, far = link.progress(), link.peer_progress
            state = "in-step" if link.in_step else "syncing" if link.talk.scanned else "scanning"
            emit(
                Moving(
                    state,
                    near.pending_files + far.pending_files,
                    near.pending_bytes + far.pending_bytes,
                    near.files + far.files,
                    near.bytes_on_wire + far.bytes_on_wire,
                )
            )


async def _end(child: asyncio.subprocess.Process) -> None:
    """The far end ends by itself once the session is over; a stuck one is stopped."""
    try:
        await asyncio.wait_for(child.wait(), FAR_END_EXIT_S)
    except TimeoutError:
        child.kill()
        await child.wait()


def _summary(mine: Tally, theirs: Tally, seconds: float, request: Request) -> Summary:
    conflicts = dict(theirs.conflicts) | dict(mine.conflicts)
    failed = dict(theirs.failed) | dict(mine.failed)
    return Summary(
        files=mine.files + theirs.files,
        directories=mine.directories + theirs.directories,
        bytes=mine.content_bytes + theirs.content_bytes,
        bytes_on_wire=mine.bytes_on_wire + theirs.bytes_on_wire,
        renamed=mine.renamed + theirs.renamed,
        deleted=mine.deleted + theirs.deleted,
        conflicts=tuple(
            ConflictReport(show(path), None if copy is None else show(copy))
            for path, copy in sorted(conflicts.items())
        ),
        failed=tuple(PathProblem(show(path), reason) for path, reason in sorted(failed.items())),
        seconds=round(seconds, 3),
        dry_run=request.dry_run,
        files_held=mine.files_held,
        planned=_planned(mine, theirs, request.near_is_source),
        planned_more=mine.planned_more + theirs.planned_more,
        held="; ".join(filter(None, (mine.held, theirs.held))),
    )


def _planned(mine: Tally, theirs: Tally, near_is_source: bool) -> tuple[PlannedChange, ...]:
    """What a dry run would do in both trees, by path."""
    at_source, at_target = (mine, theirs) if near_is_source else (theirs, mine)
    ends: tuple[tuple[End, Tally], ...] = (("source", at_source), ("target", at_target))
    changes = sorted(
        ((change, end) for end, tally in ends for change in tally.planned), key=lambda each: each[0].path
    )
    return tuple(
        PlannedChange(
            change.action,
            show(change.path),
            show(change.former) if change.action == "rename" else None,
            end,
        )
        for change, end in changes
    )
