"""Every pair of edits that two sides can make of one path, and what becomes of them on each kind of edge.

`cases.txt` is the table: what there was, what each side did, and the outcome on each kind of edge. All pairs
lie side by side in one tree, each in a directory of its own, so that one sync decides them all.

    file: edited deleted | f=left | f=left | f=left | f=left

A path is shown with its content, "->" what a link says, "/" for an empty directory, ":600" its mode where
that isn't the usual one; "f!" is a conflict copy of f. Of two edits the right one is the later. Where an
edge's rules contradict each other, as a file that replaces a directory from which nothing may be deleted,
the engine reports the path: "(f failed)".
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.plans import FilterRule
from tests.support.engine import Content, Site, edge, remove, sites, sync, tree_of, write

pytestmark = pytest.mark.anyio

TABLE = Path(__file__).with_name("cases.txt")
EDGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("two-way", {}),
    ("one-way", {}),
    ("one-way", {"deletes": "keep"}),
    ("one-way", {"target_changes": "keep"}),
)
AT_NS = 1_700_000_000 * 10**9
SECOND_NS = 10**9
SIDES = ("left", "right")
COPY = re.compile(r"\.sync-conflict-[\w-]+")

Edit = Callable[[Path, str], None]  # of the path, by this side

ANCESTORS: dict[str, dict[str | bytes, Content]] = {
    "file": {"f": "base"},
    "directory": {"f/x": "base"},
    "nothing": {},
}


@pytest.fixture(autouse=True)
def usual_modes() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def put(name: str, content: Callable[[str], Content]) -> Edit:
    return lambda path, side: write(path.parent, {name: content(side)})


def clear(path: Path, side: str) -> None:
    remove(path)


def then(*edits: Edit) -> Edit:
    def all_of_them(path: Path, side: str) -> None:
        for each in edits:
            each(path, side)

    return all_of_them


def rename(path: Path, side: str) -> None:
    path.rename(path.with_name(f"by {side}"))


TO_FILE = put("f", str)
TO_LINK = put("f", lambda side: Path(f"to {side}"))
TO_DIRECTORY = put("f/y", str)
EDITS: dict[str, dict[str, Edit]] = {
    "file": {
        "unchanged": then(),
        "edited": TO_FILE,
        "mode": lambda path, side: path.chmod(0o600 if side == "left" else 0o640),
        "deleted": clear,
        "renamed": rename,
        "to-directory": then(clear, TO_DIRECTORY),
        "to-link": then(clear, TO_LINK),
    },
    "directory": {
        "unchanged": then(),
        "edited": put("f/x", str),
        "added": put("f/y", str),
        "mode": lambda path, side: path.chmod(0o700 if side == "left" else 0o750),
        "deleted": clear,
        "renamed": rename,
        "to-file": then(clear, TO_FILE),
        "to-link": then(clear, TO_LINK),
    },
    "nothing": {
        "unchanged": then(),
        "created": TO_FILE,
        "directory": TO_DIRECTORY,
        "link": TO_LINK,
        "excluded": put("f.tmp", str),
    },
}


def pairs() -> list[tuple[str, str, str]]:
    """Each pair of edits, by the ancestor that they share."""
    return [(what, one, other) for what, edits in EDITS.items() for one in edits for other in edits]


def directory_of(pair: tuple[str, str, str]) -> str:
    return " ".join(pair)


def settle_times(root: Path, at_ns: int) -> None:
    for path in root.rglob("*"):
        if ".syncgraph" not in path.parts and path.lstat().st_mtime_ns > AT_NS + 10 * SECOND_NS:
            os.utime(path, ns=(at_ns, at_ns), follow_symlinks=False)


def shown(site: Site, pair: tuple[str, str, str]) -> str:
    """What became of a pair at one side, as the table has it."""
    tree = {os.fsdecode(path): seen for path, seen in tree_of(site.root / directory_of(pair)).items()}
    words = []
    for path, (kind, content, mode) in sorted(tree.items()):
        usual = {"file": 0o644, "directory": 0o755, "symlink": 0}[kind]
        suffix = "" if mode == usual else f":{mode:o}"
        name = COPY.sub("!", path)
        if kind == "symlink":
            words.append(f"{name}->{content.decode()}")
        elif kind == "file":
            words.append(f"{name}={content.decode()}{suffix}")
        elif suffix or not any(other.startswith(f"{path}/") for other in tree):
            words.append(f"{name}/{suffix}")
    return ", ".join(words) or "-"


async def outcomes(directory: Path, direction: str, rules: dict[str, Any]) -> dict[tuple[str, str, str], str]:
    """Every pair through the engine: what the target's side came to. The other side is as it must be."""
    async with sites(directory) as both:
        left, right = both
        plan = edge(left, right, direction, filters=(FilterRule("exclude", "*.tmp"),), **rules)
        for pair in pairs():
            left.write({f"{directory_of(pair)}/": None})
            write(left.root / directory_of(pair), ANCESTORS[pair[0]])
        settle_times(left.root, AT_NS)
        await sync(left, right, plan)
        assert left.tree() == right.tree()
        for pair in pairs():
            for site, edit in zip(both, pair[1:], strict=True):
                EDITS[pair[0]][edit](site.root / directory_of(pair) / "f", site.node)
        for later, site in enumerate(both, 1):
            settle_times(site.root, AT_NS + later * SECOND_NS)
        before = {pair: shown(left, pair) for pair in pairs()}
        await sync(left, right, plan)
        _, theirs = await sync(left, right, plan)  # what waited for something else to go first
        failed = {os.fsdecode(path): reason for path, reason in theirs.failed}
        for pair in pairs():
            if "excluded" in pair:
                continue  # each side keeps its own
            mine = shown(left, pair)
            assert mine == (shown(right, pair) if direction == "two-way" else before[pair]), pair
        return {pair: shown(right, pair) + unfinished(pair, failed) for pair in pairs()}


def unfinished(pair: tuple[str, str, str], failed: dict[str, str]) -> str:
    """The paths of a pair that the engine reports as failed, as the table has them."""
    inside = f"{directory_of(pair)}/"
    paths = sorted(path.removeprefix(inside) for path in failed if path.startswith(inside))
    return "".join(f" ({path} failed)" for path in paths)


def table() -> dict[tuple[str, str, str], list[str]]:
    """What `cases.txt` says."""
    expected = {}
    for line in TABLE.read_text().splitlines():
        if line and not line.startswith("#"):
            pair, *cells = (cell.strip() for cell in line.split("|"))
            ancestor, one, other = pair.replace(":", "").split()
            expected[ancestor, one, other] = cells
    return expected


@pytest.mark.parametrize("column", range(len(EDGES)), ids=["two-way", "mirror", "keep-deletes", "keep-edits"])
async def test_every_pair_of_edits(tmp_path: Path, column: int) -> None:
    came = await outcomes(tmp_path, *EDGES[column])
    assert came == {pair: cells[column] for pair, cells in table().items()}
