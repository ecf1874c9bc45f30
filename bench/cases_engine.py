"""What the replica engine costs: a million files, and files of which little has changed.

The trees are made the same at both ends before the clock starts, so that a first meeting hashes both and
moves nothing.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.case import Bound, CannotMeasure, Figure, Plan
from bench.cases_sync import Pair
from bench.measure import Measured
from bench.trees import SEED, check_same, remove_tree, write_tree

MILLION, MILLION_BYTES = 1_000_000, 1_024
SIZES = (10_000, 100_000, MILLION)
CHANGED = 1_000
BIG, PIECE = 1_000_000_000, 10_000_000
MEMORY_BYTES = 250e6
NEEDED_BYTES = 14_000_000_000  # of two trees of a million files, in memory
INDEX_BYTES = 400


def many_files(plan: Plan) -> Iterator[Figure]:
    """Trees of 10,000 to 1,000,000 files: met for the first time, unchanged, and hardly changed."""
    place = plan.directory
    if plan.memory is not None and shutil.disk_usage(plan.memory).free >= NEEDED_BYTES:
        place = plan.memory
    nothing_s = _of_nothing(Pair(place / "nothing"), plan.runs)
    per_file: dict[int, float] = {}
    for count in SIZES:
        pair = Pair(place / str(count))
        write_tree(pair.source, count, MILLION_BYTES)
        shutil.copytree(pair.source, pair.target)
        first = pair.sync()
        if json.loads(first.output)["bytesOnWire"]:
            raise CannotMeasure("content crossed between two equal trees")
        again = [pair.sync() for _ in range(plan.runs)]
        per_file[count] = (statistics.median(each.seconds for each in again) - nothing_s) / count
        if count == 100_000:
            yield _met(first, pair)
        if count == MILLION:
            yield from _of_a_million(pair, first, again)
            yield _hardly_changed(pair, statistics.median(each.seconds for each in again))
        remove_tree(pair.directory)
    yield Figure(
        what="nothing changed: time per file where it is longest ÷ shortest, 10,000 to 1,000,000 files",
        unit="×",
        runs=(max(per_file.values()) / min(per_file.values()),),
        command="syncgraph sync /dev/shm/$DIR/source /dev/shm/$DIR/target --json",
        floor="≤ 1.3 ×",
        bound=Bound(1.3, at_most=True),
        notes=(
            f"less the {nothing_s:.2f} s that a sync of two empty directories takes",
            *(f"{count:,} files: {seconds * 1e6:.1f} µs a file" for count, seconds in per_file.items()),
        ),
    )


def _of_nothing(pair: Pair, runs: int) -> float:
    """How long programs take to start and to find out that there is nothing to do."""
    pair.source.mkdir(parents=True)
    pair.sync()
    return statistics.median(pair.sync().seconds for _ in range(runs))


def _met(first: Measured, pair: Pair) -> Figure:
    return Figure(
        what="two equal trees of 100,000 files meet for the first time, nothing crosses",
        unit="s",
        runs=(first.seconds,),
        command=_command(pair),
        floor="≤ 15 s",
        bound=Bound(15, at_most=True),
    )


def _of_a_million(pair: Pair, first: Measured, again: list[Measured]) -> Iterator[Figure]:
    yield Figure(
        what="first index of 1,000,000 files of 1 KB, at both ends at once",
        unit="files/s",
        runs=(MILLION / first.seconds,),
        command=_command(pair),
        floor="≥ 15,000 files/s",
        bound=Bound(15_000),
    )
    sizes = [path.stat().st_size for path in pair.state.rglob("*") if path.is_file()]
    yield Figure(
        what="the index of 1,000,000 files, the larger of both ends, log included",
        unit="bytes a file",
        runs=(max(sizes) / MILLION,),
        command=_command(pair),
        floor=f"≤ {INDEX_BYTES} bytes a file",
        bound=Bound(INDEX_BYTES, at_most=True),
    )
    yield Figure(
        what="1,000,000 files in 10,000 directories, nothing changed, whole process, both ends at once",
        unit="files/s",
        runs=tuple(MILLION / each.seconds for each in again),
        command=_command(pair),
        floor="≥ 100,000 files/s",
        bound=Bound(100_000),
    )
    yield Figure(
        what="the same, memory of the larger end",
        unit="MB",
        runs=tuple(each.peak_bytes / 1e6 for each in again),
        command=_command(pair),
        floor=f"≤ {MEMORY_BYTES / 1e6:.0f} MB",
        bound=Bound(MEMORY_BYTES / 1e6, at_most=True),
    )


def _hardly_changed(pair: Pair, unchanged_s: float) -> Figure:
    for number in range(0, MILLION, MILLION // CHANGED):
        path = pair.source / f"d{number // 100:05d}" / f"f{number:07d}.bin"
        path.write_bytes(b"changed" * 100)
    changed = pair.sync()
    if json.loads(changed.output)["files"] != CHANGED:
        raise CannotMeasure("not all changes arrived")
    return Figure(
        what="1,000,000 files, 1,000 changed: seconds more than nothing changed",
        unit="s",
        runs=(changed.seconds - unchanged_s,),
        command=_command(pair),
        floor="< 1 s",
        bound=Bound(1, at_most=True),
    )


def _insert(file: Path) -> None:
    # Not by way of this program's memory: a child's peak counts from that of its parent, see getrusage(2).
    longer = file.with_suffix(".longer")
    longer.write_bytes(random.Random(1).randbytes(1_000_000))
    with file.open("rb") as before, longer.open("ab") as opened:
        shutil.copyfileobj(before, opened, PIECE)
    longer.replace(file)


def _append(file: Path) -> None:
    with file.open("ab") as opened:
        opened.write(random.Random(2).randbytes(1_000_000))


def _scatter(file: Path) -> None:
    source = random.Random(3)
    with file.open("r+b") as opened:
        for _ in range(100):
            opened.seek(source.randrange(BIG))
            opened.write(source.randbytes(4096))


EDITS: tuple[tuple[str, Callable[[Path], None], float], ...] = (
    ("1 MB inserted at the front", _insert, 1.1),
    ("1 MB appended", _append, 1.1),
    ("100 scattered edits of 4 KB", _scatter, 14),
)


def changed_files(plan: Plan) -> Iterator[Figure]:
    """One file of 1 GB, edited in three ways."""
    pair = Pair(plan.memory or plan.directory)
    pair.source.mkdir()
    file = pair.source / "big"
    source = random.Random(SEED)
    with file.open("wb") as opened:
        for _ in range(0, BIG, PIECE):
            opened.write(source.randbytes(PIECE))
    pair.sync()
    for what, edit, most_megabytes in EDITS:
        edit(file)
        os.sync()
        measured = pair.sync("--no-whole-file")
        check_same(pair.source, pair.target)
        yield Figure(
            what=f"a file of 1 GB, {what}: content on the wire",
            unit="MB",
            runs=(json.loads(measured.output)["bytesOnWire"] / 1e6,),
            command=f"{_command(pair)} --no-whole-file",
            floor=f"≤ {most_megabytes} MB",
            bound=Bound(most_megabytes, at_most=True),
            notes=(f"{measured.seconds:.1f} s for the whole process; the list of chunks isn't content",),
        )


def _command(pair: Pair) -> str:
    return f"syncgraph sync {pair.directory.name}/source {pair.directory.name}/target --json"
