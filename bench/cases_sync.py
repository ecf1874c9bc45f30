"""`syncgraph sync` between two local directories, with rsync in the same run beside it.

Every run starts from the same state: an empty target, no index, nothing waiting to be written to the
disk; the source is in the page cache, for both programs alike.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.case import Bound, Figure, Plan
from bench.machine import file_system
from bench.measure import Measured, environment, required, run, syncgraph
from bench.trees import check_same, remove_tree, write_tree

MANY, MANY_BYTES = 20_000, 10_240
STILL, STILL_BYTES = 100_000, 1_024
LARGE, LARGE_BYTES = 20, 100_000_000


@dataclass(frozen=True, slots=True)
class Pair:
    """A source and the two targets that it is brought to."""

    directory: Path
    run: int = 0  # each has targets of its own

    @property
    def source(self) -> Path:
        return self.directory / "source"

    @property
    def target(self) -> Path:
        return self.directory / f"target-{self.run}"

    @property
    def rsync_target(self) -> Path:
        return self.directory / f"rsync-{self.run}"

    @property
    def state(self) -> Path:
        return self.directory / f"state-{self.run}"

    def sync(self, *options: str) -> Measured:
        command = [*syncgraph(), "sync", str(self.source), str(self.target), "--json", *options]
        return run(command, environment=environment(self.state))

    def rsync(self, *options: str) -> Measured:
        return run([required("rsync"), "-a", *options, f"{self.source}/", f"{self.rsync_target}/"])

    def clear(self) -> None:
        """Have no targets, and nothing that waits to be written."""
        for tree in (self.target, self.rsync_target, self.state):
            remove_tree(tree)


def from_nothing(first: Pair, runs: int, *options: str, clear: bool) -> tuple[list[Measured], list[Measured]]:
    """Into empty targets, each program in turn.

    A virtual machine's memory costs several times as much when it is used for the first time, so an
    unmeasured copy goes first; or else whoever is measured first would pay for both. With `clear`, what was
    made is removed before the next run, where there is no room for all. Many small files are left until the
    end, so that no run makes files where others were just removed.
    """
    first.rsync()
    if clear:
        first.clear()
    ours, theirs = [], []
    for number in range(1, runs + 1):
        pair = Pair(first.directory, number)
        os.sync()
        ours.append(pair.sync(*(f"--{option}" for option in options)))
        check_same(pair.source, pair.target)
        if clear:
            pair.clear()
        os.sync()
        theirs.append(pair.rsync(*(f"--{option}" for option in options)))
        if clear:
            pair.clear()
    return ours, theirs


def rates(amount: float, measured: list[Measured]) -> tuple[float, ...]:
    """Amount a second of each run."""
    return tuple(amount / each.seconds for each in measured)


def costs(measured: list[Measured]) -> str:
    """Processor time and memory, for the notes."""
    cpu_s = sorted(each.cpu_s for each in measured)[len(measured) // 2]
    peak = max(each.peak_bytes for each in measured)
    return f"{cpu_s:.1f} s of processor time in all its processes, {peak / 1e6:.0f} MB in the largest"


def many_small(plan: Plan) -> Iterator[Figure]:
    """20,000 files of 10 KB."""
    for directory in _places(plan):
        pair = Pair(directory)
        write_tree(pair.source, MANY, MANY_BYTES)
        ours, theirs = from_nothing(pair, plan.runs, clear=False)
        yield Figure(
            what=f"`sync` of {MANY:,} files of 10 KB, local to local, on {_kind(directory)}",
            unit="files/s",
            runs=rates(MANY, ours),
            command=_command(directory, plan),
            floor="≥ 2,500 files/s",
            bound=Bound(2_500),
            beside="rsync -a",
            beside_runs=rates(MANY, theirs),
            notes=(f"syncgraph: {costs(ours)}", f"rsync: {costs(theirs)}"),
        )
        remove_tree(directory)


def nothing_changed(plan: Plan) -> Iterator[Figure]:
    """100,000 files that are in step already."""
    pair = Pair(plan.directory)
    write_tree(pair.source, STILL, STILL_BYTES)
    pair.sync()
    pair.rsync()
    ours = [pair.sync() for _ in range(plan.runs)]
    theirs = [pair.rsync() for _ in range(plan.runs)]
    summary = json.loads(ours[-1].output)
    yield Figure(
        what=f"`sync` again, nothing changed, {STILL:,} files, whole process, on {_kind(plan.directory)}",
        unit="files/s",
        runs=rates(STILL, ours),
        command=_command(plan.directory, plan),
        floor="≥ 50,000 files/s",
        bound=Bound(50_000),
        beside="rsync -a",
        beside_runs=rates(STILL, theirs),
        notes=(
            f"syncgraph: {costs(ours)}; {summary['bytesOnWire']} content bytes crossed the session",
            f"rsync: {costs(theirs)}",
        ),
    )


def large_files(plan: Plan) -> Iterator[Figure]:
    """2 GB in 100 MB files: as it is, and again waiting for the disk."""
    for directory in _places(plan):
        pair = Pair(directory)
        write_tree(pair.source, LARGE, LARGE_BYTES)
        yield _large(pair, plan, "", "nothing waits for the disk, in either program")
        if directory == plan.directory:
            yield _large(pair, plan, "fsync", "both wait until everything has reached the disk")
        remove_tree(directory)


def _large(pair: Pair, plan: Plan, option: str, note: str) -> Figure:
    ours, theirs = from_nothing(pair, plan.runs, *filter(None, [option]), clear=True)
    megabytes = LARGE * LARGE_BYTES / 1e6
    theirs_mbps = sorted(rates(megabytes, theirs))
    flag = f" --{option}" if option else ""
    return Figure(
        what=f"`sync{flag}` of 2 GB in 100 MB files, local to local, on {_kind(pair.directory)}",
        unit="MB/s",
        runs=rates(megabytes, ours),
        command=_command(pair.directory, plan) + flag,
        floor="≥ half of rsync's rate",
        bound=Bound(theirs_mbps[len(theirs_mbps) // 2] / 2),
        beside=f"rsync -a{flag}",
        beside_runs=rates(megabytes, theirs),
        notes=(note, f"syncgraph: {costs(ours)}", f"rsync: {costs(theirs)}"),
    )


def _places(plan: Plan) -> list[Path]:
    return [plan.directory, *([plan.memory] if plan.memory is not None else [])]


def _kind(directory: Path) -> str:
    return file_system(directory).partition(" ")[0]


def _command(directory: Path, plan: Plan) -> str:
    place = "$DIR" if directory == plan.directory else "/dev/shm/$DIR"
    return f"syncgraph sync {place}/source {place}/target --json"
