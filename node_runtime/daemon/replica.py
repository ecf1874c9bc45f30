"""One open replica: its tree, its index, and the one thread that may change either.

Every scan, decision and change of a replica runs in its worker thread, one after the other, so a
decision and the change it leads to see the same index. Reading for peers runs in a second thread on a
connection of its own, so a long scan never stops content from flowing.

It doesn't know edges or sessions; `target` and `source` do the work of one edge, `link` talks.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from node_runtime.disk import marker
from node_runtime.disk.applier import Applier
from node_runtime.disk.errors import explain
from node_runtime.disk.index import Index
from node_runtime.disk.recover import verify_unsettled
from node_runtime.disk.retention import Pruned, prune
from node_runtime.disk.root import Root
from node_runtime.disk.scanner import STILL_WRITING, ScanResult, scan, scan_paths
from node_runtime.disk.staging import Staging
from node_runtime.disk.versions import Versions
from node_runtime.errors import NodeError
from node_runtime.replica.entry import Row
from node_runtime.replica.filters import Filters
from node_runtime.replica.path import show
from node_runtime.replica.version import replica_id
from schemas.plans import DEFAULT_RETENTION, RetentionPlan

T = TypeVar("T")
log = logging.getLogger(__name__)

A_DAY_S = 86_400
PRUNE_S = 3600.0  # between looks at the kept versions
PRUNE_SLICE_S = 0.05  # of them at a time: the worker thread has other things to do
_PRUNED = "pruned"  # in the index: when that was last done, Unix time in seconds
ROOT = b"."  # stands for the whole tree where a problem is about that
MAX_PROBLEMS = 10_000  # kept of one scan
SAID = 3  # problems named in a sentence


def boot_id() -> str:
    """Changes when the machine starts anew: file content that wasn't synced before may be gone."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class Replica:
    """A directory tree that is kept in step, with everything that it takes."""

    def __init__(
        self,
        node: str,
        path: str,
        index_file: Path,
        filters: Filters,
        local_id: int | None = None,
        retention: RetentionPlan = DEFAULT_RETENTION,
    ) -> None:
        """`local_id` is given where the node's name alone doesn't tell machines apart."""
        self.node = node
        self.path = path
        self.filters = filters  # what no edge of this replica wants
        self.local_id = replica_id(node, path) if local_id is None else local_id
        self.problems: dict[bytes, str] = {}  # what the last scan couldn't do, by path
        self.problem = ""  # the same in a sentence
        self.needs_marker = False  # to be set before it is opened
        self._index_file = index_file
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="replica")
        self._reader_thread = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._changed = asyncio.Event()
        self.held = (0, 0, 0)  # files, directories, bytes, as of the last count
        self._loop = asyncio.get_running_loop()
        self._stopping = False
        self._scanning = asyncio.Lock()
        self._retention = retention
        self._pruning: asyncio.Task[None] | None = None
        self._passes = 0  # looks at the tree that are under way

    async def open(self, create: bool) -> None:
        """Open the tree and its index. Raises NodeError where that can't be done."""
        await self.work(lambda: self._open(create))
        self.reader = await self.read(self.index.reader)

    def _open(self, create: bool) -> None:
        self._index_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.root = Root.open(self.path, create)
        try:
            self.index = Index.open(self._index_file, self.local_id, boot_id())
        except BaseException:
            self.root.close()
            raise
        marker.require(self.index, self.needs_marker)
        self.staging = Staging(self.root)
        self.versions = Versions(self.root)
        self.applier = Applier(self.root, self.index, self.staging, self.versions)
        verify_unsettled(self.root, self.index)
        self.staging.sweep(A_DAY_S)

    def interrupt(self) -> None:
        """End a scan that is under way; the replica is about to be closed."""
        self._stopping = True

    async def close(self) -> None:
        """Finish the job in hand and let go of everything."""
        self.interrupt()
        self.notify()
        if self._pruning is not None:
            self._pruning.cancel()
            await asyncio.gather(self._pruning, return_exceptions=True)
        await self.work(self._close)
        self._worker.shutdown(wait=False)
        self._reader_thread.shutdown(wait=False)

    def _close(self) -> None:
        for part in ("reader", "index", "staging", "root"):
            if hasattr(self, part):
                getattr(self, part).close()

    async def work(self, job: Callable[[], T]) -> T:
        """Run a job in the worker thread."""
        return await self._loop.run_in_executor(self._worker, job)

    async def read(self, job: Callable[[], T]) -> T:
        """Run a job that only reads in the reader thread."""
        return await self._loop.run_in_executor(self._reader_thread, job)

    def notify(self) -> None:
        """Wake whoever waits for changes of the index. From any thread."""
        self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds that depends on the index or on a scan."""
        while not holds():
            await self._changed.wait()

    @property
    def max_seq(self) -> int:
        """The last sequence number given in the index."""
        return self.index.max_seq

    async def scan(self, rest_s: float = 0.0) -> ScanResult:
        """Compare the whole tree with the index. Scans that overlap are one after the other.

        With `rest_s`, files that were changed more recently are left out and stand among the problems, as
        still being written: the caller looks at them again. Without, they are waited for a little.
        """
        async with self._scanning, self._pass():
            result = await self.work(lambda: self._scan(rest_s))
        await self._settle_down(result, tries=0 if rest_s else 3)
        await self.count()
        self.notify()
        if self._pruning is None or self._pruning.done():
            self._pruning = asyncio.create_task(self._prune_when_due())
        return result

    async def scan_paths(self, paths: Iterable[bytes], rest_s: float = 0.0) -> ScanResult:
        """Compare these paths alone; `rest_s` as for `scan`."""
        async with self._pass():
            return await self.work(lambda: self.scan_now(paths, rest_s))

    @asynccontextmanager
    async def _pass(self) -> AsyncIterator[None]:
        self._passes += 1
        try:
            yield
        finally:
            self._passes -= 1
            self.notify()

    @property
    def in_pass(self) -> bool:
        """Whether a look at the tree is under way: what it has found so far may be half of a rename."""
        return self._passes > 0

    async def count(self) -> tuple[int, int, int]:
        """How many files, directories and bytes the index holds."""
        self.held = await self.work(self.index.count)
        return self.held

    def _scan(self, rest_s: float) -> ScanResult:
        result = scan(
            self.root,
            self.index,
            self.filters,
            local_id=self.local_id,
            node=self.node,
            now_ns=time.time_ns,
            on_batch=self._on_batch,
            stop=lambda: self._stopping,
            rest_ns=int(rest_s * 1e9),
        )
        if result.complete and not result.deletes_suppressed:
            try:
                marker.make(self.root, self.index)
            except OSError as error:
                result.problems.append((marker.MARKER, f"can't be made: {explain(error)}"))
        return result

    async def _prune_when_due(self) -> None:
        now_s = time.time()
        before = await self.work(lambda: self.index.meta(_PRUNED))
        if before and 0 <= now_s - float(before) < PRUNE_S:
            return
        try:
            pruned = await self.prune(now_s)
        except (OSError, NodeError) as error:
            log.warning("replica %s: old versions can't be removed: %s", self.path, error)
            return
        await self.work(lambda: self.index.set_meta(_PRUNED, str(now_s).encode()))
        if pruned.removed:
            log.info("replica %s: removed %d old versions", self.path, pruned.removed)
        if pruned.over_bytes:
            log.warning(
                "replica %s: its kept versions take %d bytes more than retention.size; what was deleted "
                "within retention.deleted stays all the same",
                self.path,
                pruned.over_bytes,
            )

    async def prune(self, now_s: float) -> Pruned:
        """Remove kept versions that retention doesn't ask for, in slices between other work."""
        pruned = Pruned()
        steps = prune(self.root, self._retention, now_s, pruned, self._gone_since)

        def advance() -> bool:
            until = time.monotonic() + PRUNE_SLICE_S
            return any(time.monotonic() > until for _ in steps)

        while await self.work(advance):
            pass
        return pruned

    def _gone_since(self, path: bytes) -> float | None:
        row = self.index.get([path]).get(path)
        return row.entry.mtime_ns / 1e9 if row is not None and row.entry.deleted else None

    def scan_now(self, paths: Iterable[bytes], rest_s: float = 0.0) -> ScanResult:
        """As `scan_paths`, for a caller that is in the worker thread already."""
        return scan_paths(
            self.root,
            self.index,
            self.filters,
            list(paths),
            local_id=self.local_id,
            node=self.node,
            now_ns=time.time_ns,
            on_batch=self._on_batch,
            stop=lambda: self._stopping,
            rest_ns=int(rest_s * 1e9),
        )

    async def _settle_down(self, result: ScanResult, tries: int) -> None:
        """Look again at files that were being written; what stays restless is reported."""
        problems = result.problems if tries else [p for p in result.problems if p[1] != STILL_WRITING]
        while problems and tries:
            tries -= 1
            restless = [path for path, reason in problems if reason == STILL_WRITING]
            if not restless:
                break
            await asyncio.sleep(0.5)
            again = await self.work(lambda paths=restless: self.scan_now(paths))  # type: ignore[misc]
            problems = [p for p in problems if p[0] not in set(restless)] + list(again.problems)
        if result.deletes_suppressed:
            problems = [(ROOT, result.deletes_suppressed), *problems]
        self.problems = dict(problems[:MAX_PROBLEMS])
        said = [reason if path == ROOT else f"{show(path)}: {reason}" for path, reason in problems[:SAID]]
        if len(problems) > SAID:
            said.append(f"and {len(problems) - SAID:,} more")
        self.problem = "; ".join(said)

    def _on_batch(self, rows: list[Row]) -> None:
        self.notify()

    def settle(self) -> None:
        """Make everything that was applied durable. In the worker thread."""
        self.root.flush()
        self.index.settle()
