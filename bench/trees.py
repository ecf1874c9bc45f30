"""Work data: directory trees that are the same on every machine, by their seed."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

from bench.case import CannotMeasure

SEED = 20_261_122
FILES_A_DIRECTORY = 100
PIECE_BYTES = 4 * 1024 * 1024


def write_tree(root: Path, files: int, file_bytes: int) -> None:
    """`files` files of `file_bytes` each, no two alike, a hundred in a directory."""
    source = random.Random(SEED)
    for number in range(files):
        directory = root / f"d{number // FILES_A_DIRECTORY:05d}"
        if number % FILES_A_DIRECTORY == 0:
            directory.mkdir(parents=True)
        with open(directory / f"f{number:07d}.bin", "wb", buffering=0) as file:
            for offset in range(0, file_bytes, PIECE_BYTES):
                file.write(source.randbytes(min(PIECE_BYTES, file_bytes - offset)))


def remove_tree(root: Path) -> None:
    """Remove what an earlier run left, and have the disk done with it before the next is timed."""
    if root.exists():
        shutil.rmtree(root)
    os.sync()


def check_same(source: Path, target: Path) -> None:
    """Raise CannotMeasure unless all files of `source` are in `target`, with their sizes and times."""
    missing = _listing(source).items() - _listing(target).items()
    if missing:
        raise CannotMeasure(f"{len(missing)} files of {source} are not in {target}; the figure would be void")


def _listing(root: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for directory, below, names in os.walk(root):
        below[:] = [name for name in below if name != ".syncgraph"]
        for name in names:
            path = os.path.join(directory, name)
            status = os.stat(path)
            found[os.path.relpath(path, root)] = (status.st_size, status.st_mtime_ns)
    return found
