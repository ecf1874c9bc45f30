"""Keeps one replica open and its index up to date for as long as edges need it.

A replica of which some edge is continuous is scanned once, then watched, and scanned again now and then
in case the watch missed something. One that is only synced once or on a schedule is scanned when a run
asks for it. Where a tree can't be watched it is scanned more often instead, and says so.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from node_runtime.daemon.replica import ROOT, Replica
from node_runtime.disk.errors import DiskError
from node_runtime.disk.scanner import STILL_WRITING
from node_runtime.errors import NodeError
from node_runtime.exchange.conversation import pulls
from node_runtime.exchange.messages import End
from node_runtime.replica.filters import Filters
from node_runtime.replica.version import replica_id
from schemas.plans import DEFAULT_RETENTION, FilterRule, NodePlan, ReplicaRef, ReplicationPlan, RetentionPlan

if TYPE_CHECKING:
    from node_runtime.disk.watcher import Watcher

log = logging.getLogger(__name__)

REOPEN_S = 10.0  # between tries to open a root that is missing
UNWATCHED_RESCAN_S = 60.0  # between scans of a tree that can't be watched
CHECK_S = 10.0  # between looks whether the directory is still the one that was opened
DOUBT_S = 60.0  # between whole scans while there are deletions that aren't believed
MAX_UNREST_S = 60.0  # a file that is written without a pause is taken as it is after so long
MAX_DEBOUNCES = 10  # a tree that never rests is read all the same


@dataclass(frozen=True, slots=True)
class ReplicaSpec:
    """All that the edges of a plan ask of one replica."""

    path: str
    rules: tuple[FilterRule, ...]  # excluded from the index: what all edges exclude alike
    continuous: bool
    creates: bool  # some edge brings entries here, so a missing directory may be made
    debounce_s: float
    rescan_s: float
    marker: bool = False  # without its marker file, nothing that is missing counts as deleted
    anew: bool = False  # a missing directory is made though an index remembers one, which is dropped
    retention: RetentionPlan = DEFAULT_RETENTION


def specs_of(plan: NodePlan) -> dict[str, ReplicaSpec]:
    """What each replica of this node must be, by path."""
    edges: dict[str, list[tuple[ReplicationPlan, bool]]] = {}
    for edge in plan.edges:
        ends: tuple[tuple[End, ReplicaRef], ...] = (("source", edge.source), ("target", edge.target))
        for end, replica in ends:
            if replica.node == plan.node:
                edges.setdefault(replica.path, []).append((edge, pulls(edge.direction, end)))
    return {path: _spec(path, uses) for path, uses in edges.items()}


def _spec(path: str, uses: list[tuple[ReplicationPlan, bool]]) -> ReplicaSpec:
    rules = {edge.filters for edge, _ in uses}
    live = [edge.sync for edge, _ in uses if edge.sync.mode == "continuous"]
    return ReplicaSpec(
        path,
        rules.pop() if len(rules) == 1 else (),
        bool(live),
        any(takes for _, takes in uses),
        min((sync.debounce_s for sync in live), default=0.0),
        min((sync.rescan_s for sync in live), default=0.0),
        any(edge.guards.require_marker for edge, _ in uses),
        retention=most_keeping(edge.retention for edge, _ in uses),
    )


def most_keeping(plans: Iterable[RetentionPlan]) -> RetentionPlan:
    """What a replica keeps of which several edges ask: for each key, the most."""
    asked = list(plans)
    sizes = [plan.size_bytes for plan in asked]
    return RetentionPlan(
        max(plan.deleted_s for plan in asked),
        max(plan.versions for plan in asked),
        None if None in sizes else max(size for size in sizes if size is not None),
    )


class Tending:
    """One replica, from the first try to open it to its close."""

    def __init__(
        self,
        node: str,
        state: Path,
        spec: ReplicaSpec,
        identity: str = "",
        *,
        patient: bool = True,
        on_replaced: Callable[[], None] = lambda: None,
    ) -> None:
        """`identity` is given where the node's name doesn't tell machines apart. Who isn't patient is told
        at once that the replica can't be opened. `on_replaced` is called when another directory stands at
        the path (mounted, unmounted, put back): it takes a new `Tending` to go on with that one."""
        self.spec = spec
        self._patient = patient
        self._on_replaced = on_replaced
        self.problem = ""  # why the replica isn't open, or what is wrong with its directory
        self.blocked = False  # by that problem: nothing can be brought in step
        local_id = replica_id(identity or node, spec.path)
        file = state / "replicas" / f"{local_id:016x}.db"
        self.replica = Replica(node, spec.path, file, Filters(spec.rules), local_id, spec.retention)
        self.replica.needs_marker = spec.marker
        if spec.anew and not os.path.lexists(spec.path):
            for name in (file.name, f"{file.name}-wal", f"{file.name}-shm"):
                file.with_name(name).unlink(missing_ok=True)
        self._creates = spec.creates and not file.exists()
        self._open = asyncio.Event()
        self._first_scan: asyncio.Task[None] | None = None
        self._dirty: set[bytes] = set()
        self._scan_all = False
        self._touched = asyncio.Event()
        self._restless: dict[bytes, float] = {}  # still being written: since when, on the monotonic clock
        self._task = asyncio.create_task(self._run())

    @property
    def is_open(self) -> bool:
        """Whether the replica can be used."""
        return self._open.is_set()

    async def opened(self) -> None:
        """Wait until the replica can be used. Raises what `patient` says."""
        opening = asyncio.create_task(self._open.wait())
        try:
            await asyncio.wait([opening, self._task], return_when=asyncio.FIRST_COMPLETED)
            if not self._open.is_set():
                self._task.result()
        finally:
            opening.cancel()

    def fresh(self, *, stays: bool) -> asyncio.Task[None]:
        """The scan that a run has to wait for: the first one of a watched tree where the run stays."""
        if stays and self.spec.continuous:
            assert self._first_scan is not None, "opened"
            if self._first_scan.done() and self._first_scan.exception() is not None:
                self._first_scan = asyncio.create_task(self._scan(self._rest_s))
            return self._first_scan
        return asyncio.create_task(self._scan(0.0))  # a run that ends has no later look at what rests by then

    async def close(self) -> None:
        """Stop watching and close the replica."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.replica.close()

    async def _run(self) -> None:
        while True:
            try:
                await self.replica.open(self._creates)
                break
            except NodeError as error:
                if not self._patient:
                    raise
                self.problem = str(error)
                log.error("replica %s: %s", self.spec.path, error)
            await asyncio.sleep(REOPEN_S)
        self.problem = ""
        if not self.spec.continuous:
            self._open.set()
            return
        watcher = self._watch()
        self._first_scan = asyncio.create_task(self._scan(self._rest_s))
        self._open.set()
        try:
            await asyncio.wait([self._first_scan])
            await self._follow(self.spec.rescan_s if watcher else min(self.spec.rescan_s, UNWATCHED_RESCAN_S))
        finally:
            if watcher is not None:
                await asyncio.to_thread(watcher.stop)

    def _watch(self) -> Watcher | None:
        """Started before the first scan, so that nothing falls between the two."""
        from node_runtime.disk.watcher import Watcher  # watchdog is slow to import and often not needed

        loop = asyncio.get_running_loop()

        def on_paths(paths: set[bytes]) -> None:
            loop.call_soon_threadsafe(self._touch, paths)

        def on_overflow() -> None:
            loop.call_soon_threadsafe(self._touch, None)

        watcher = Watcher(self.replica.root.path, on_paths, on_overflow)
        try:
            watcher.start()
        except DiskError as error:
            self.problem = f"{error}; until then it is scanned every {UNWATCHED_RESCAN_S:.0f} s"
            log.warning("replica %s: %s", self.spec.path, self.problem)
            return None
        return watcher

    def _touch(self, paths: set[bytes] | None) -> None:
        if paths is None:
            self._scan_all = True
        else:
            self._dirty |= paths
        self._touched.set()

    async def _follow(self, rescan_s: float) -> None:
        """Read what was touched once it rests, and everything now and then."""
        due = time.monotonic() + rescan_s
        while True:
            try:
                async with asyncio.timeout(min(rescan_s, CHECK_S)):
                    await self._touched.wait()
            except TimeoutError:
                self._scan_all |= time.monotonic() >= due
            else:
                await self._rest()
            dirty, self._dirty = self._dirty, set()
            everything, self._scan_all = self._scan_all or self.blocked, False
            try:
                if everything:
                    due = time.monotonic() + rescan_s
                    await self._scan(self._rest_s)
                    if ROOT in self.replica.problems:
                        due = min(due, time.monotonic() + DOUBT_S)
                elif dirty:
                    await self._look_at(dirty)
                else:
                    self.replica.root.check()
            except DiskError as error:
                self._block(error)

    async def _look_at(self, dirty: set[bytes]) -> None:
        result = await self.replica.scan_paths(dirty, self._rest_s)
        if result.deletes_suppressed:
            self._touch(None)  # a whole scan puts it into the status, and is done again until it is over
        restless = {path for path, why in result.problems if why == STILL_WRITING}
        for path in dirty - restless:
            self._restless.pop(path, None)
        await self._wait_for_rest(restless)

    async def _wait_for_rest(self, restless: set[bytes]) -> None:
        """Look again at files that are still being written; take one as it is that never rests."""
        now = time.monotonic()
        for path in restless:
            self._restless.setdefault(path, now)
        tired = [path for path in restless if now - self._restless[path] > MAX_UNREST_S]
        for path in tired:
            del self._restless[path]
        if tired:
            await self.replica.scan_paths(tired)
        if restless.difference(tired):
            asyncio.get_running_loop().call_later(
                self.spec.debounce_s, self._touch, restless.difference(tired)
            )

    @property
    def _rest_s(self) -> float:
        """How long a file must have been left alone; a little less than the pause that was just made."""
        return 0.9 * self.spec.debounce_s

    async def _rest(self) -> None:
        for _ in range(MAX_DEBOUNCES):
            self._touched.clear()
            try:
                async with asyncio.timeout(self.spec.debounce_s):
                    await self._touched.wait()
            except TimeoutError:
                return

    async def _scan(self, rest_s: float) -> None:
        try:
            result = await self.replica.scan(rest_s)
        except DiskError as error:
            self._block(error)
            raise
        if self.blocked:
            self.blocked, self.problem = False, ""
        if self.spec.continuous:
            await self._wait_for_rest({path for path, why in result.problems if why == STILL_WRITING})

    def _block(self, error: DiskError) -> None:
        if str(error) != self.problem:
            log.error("replica %s: %s", self.spec.path, error)
        self.blocked, self.problem = True, str(error)
        if self._is_replaced():
            self._on_replaced()

    def _is_replaced(self) -> bool:
        root = self.replica.root
        try:
            found = os.stat(root.path)
        except OSError:
            return False
        return stat.S_ISDIR(found.st_mode) and (found.st_dev, found.st_ino) != (root.device, root.inode)
