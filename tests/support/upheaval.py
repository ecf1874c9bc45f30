"""One edge with every kind of work waiting on it: two trees that were in step, then edited at either side.

Each content is unlike all others, so that it can be found again, and mtimes that decide are written down.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from node_runtime.exchange.messages import End
from schemas.plans import Direction, ReplicationPlan, SyncPlan
from tests.support.crashing import Ends, Strike
from tests.support.engine import Seen, remove, tree_of, write
from tests.support.plans import edge_between

_RANDOM = random.Random(20261122)
LARGE = _RANDOM.randbytes(2_400_000)  # comes in three blocks
LARGE_EDITED = LARGE[:1_200_000] + _RANDOM.randbytes(1_300_000)
AN_HOUR_AGO_NS = 1_763_800_000 * 10**9

IN_STEP: dict[str | bytes, str | bytes | Path | None] = {
    "edited": "edited, before",
    "large edited": LARGE,
    "renamed": "renamed, the same",
    "over": "renamed over, before",
    "under": "renamed over, after",
    "directory/a": "in the directory, a",
    "directory/below/b": "in the directory, b",
    "directory/edited": "in the directory, before",
    "gone": "gone, before",
    "gone directory/a": "gone with its directory",
    "mode": "its mode changes",
    "mode directory/a": "its directory's mode changes",
    "swapped/a": "swapped, a",
    "swapped/b": "swapped, b",
    "file to directory": "was a file",
    "directory to file/a": "was in a directory",
    "link to link": Path("edited"),
    "file to link": "was no link",
    "disputed": "disputed, before",
    "edited and gone": "edited here, gone there, before",
}


Tree = dict[bytes, Seen]
Trees = tuple[Tree, Tree]  # the source's and the target's


@dataclass(frozen=True)
class Sides:
    """The two trees of an edge, and where its indexes are."""

    source: Path
    target: Path
    state: Path
    direction: Direction

    @property
    def edge(self) -> ReplicationPlan:
        ends = (f"left:{self.source}", f"right:{self.target}")
        return edge_between(*ends, direction=self.direction, sync=SyncPlan(mode="once"))

    @property
    def roots(self) -> tuple[Path, Path]:
        return self.source, self.target

    def trees(self) -> Trees:
        return tree_of(self.source), tree_of(self.target)

    def kept(self) -> set[bytes]:
        """The contents among the kept versions of both."""
        found = set()
        for root in self.roots:
            for path in (root / ".syncgraph" / "versions").rglob("*"):
                if path.is_file() and not path.is_symlink():
                    found.add(path.read_bytes())
        return found


def prepared(ends: Ends, directory: Path, direction: Direction) -> Sides:
    """Two trees that were in step and aren't any more."""
    shutil.rmtree(directory, ignore_errors=True)
    sides = Sides(directory / "left", directory / "right", directory / "state", direction)
    write(sides.source, IN_STEP)
    ends.run(sides.edge, sides.state)
    assert sides.trees()[0] == sides.trees()[1]
    edit_source(sides.source)
    edit_target(sides.target)
    return sides


def strikes(end: End, steps: Iterable[str]) -> Iterator[Strike]:
    """One at each step that an end took."""
    times = Counter[str]()
    for step in steps:
        times[step] += 1
        yield Strike(end, step, times[step])


def spread(points: Sequence[Strike], wanted: int) -> list[Strike]:
    """As many of them as `wanted`, evenly; all of them where SYNCGRAPH_ALL_STEPS is set."""
    wanted = len(points) if os.environ.get("SYNCGRAPH_ALL_STEPS") else min(wanted, len(points))
    return [points[at * len(points) // wanted] for at in range(wanted)]


def contents(*trees: Tree) -> set[bytes]:
    """What regular files hold."""
    return {content for tree in trees for kind, content, _ in tree.values() if kind == "file"}


def edit_source(root: Path) -> None:
    """Every kind of edit once, and two that the other side contests."""
    write(root, {"edited": "edited, after", "large edited": LARGE_EDITED, "new/file": "new", "new/empty": ""})
    write(root, {"new/large": LARGE[::-1], "new/link": Path("file"), "empty/directory/": None})
    write(root, {"copied": "its mode changes", "directory/edited": "in the directory, after"})
    os.makedirs(root / "moved")
    os.rename(root / "renamed", root / "moved" / "renamed too")
    os.replace(root / "under", root / "over")
    os.rename(root / "directory", root / "moved" / "directory")
    _swap(root / "swapped" / "a", root / "swapped" / "b")
    for name in ("gone", "gone directory", "file to directory", "directory to file", "link to link"):
        remove(root / name)
    remove(root / "file to link")
    write(root, {"file to directory/in it": "was a file, now in one", "directory to file": "is a file now"})
    write(root, {"link to link": Path("over"), "file to link": Path("edited")})
    (root / "mode").chmod(0o600)
    (root / "mode directory").chmod(0o700)
    write(root, {"disputed": "disputed, by the source", "edited and gone": "edited at the source"})
    os.utime(root / "disputed", ns=(AN_HOUR_AGO_NS, AN_HOUR_AGO_NS))


def edit_target(root: Path) -> None:
    """What the source's edits meet."""
    remove(root / "edited and gone")
    write(root, {"disputed": "disputed, by the target", "only there/file": "new at the target"})
    os.utime(root / "disputed", ns=(AN_HOUR_AGO_NS + 10**9, AN_HOUR_AGO_NS + 10**9))


def _swap(one: Path, other: Path) -> None:
    between = one.with_name("between")
    os.rename(one, between)
    os.rename(other, one)
    os.rename(between, other)
