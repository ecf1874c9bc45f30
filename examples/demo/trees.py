"""The demo's files: what it writes, and how it looks at the trees. It knows nothing of syncgraph.

Next: `demo.py`, which tells the story.
"""

from __future__ import annotations

import hashlib
import os
import random
import stat
from dataclasses import dataclass
from pathlib import Path

FILM_BYTES = 50_000_000
OWN_DIRECTORY = b".syncgraph"  # where a runtime keeps what is on its way in; no part of the tree
ODD_NAMES = (
    "naïve café.txt",
    "Zoe\u0308 (two code points).txt",
    "日本語/資料 第一.txt",
    "emoji/🗂️ 📈.txt",
    "شعر/قصيدة.txt",
    " leading and trailing .txt",
    "-rf *;$HOME'\".txt",
    "two\nlines.txt",
    "x" * 255,
)
NOT_UTF8 = b"latin-1 \xe9t\xe9.txt"


@dataclass(frozen=True, slots=True)
class Seen:
    """One path as a look at the tree finds it. Equal for equal paths of two trees in step."""

    kind: str  # "file", "directory" or "link"
    size_bytes: int = 0  # of a file
    mtime_ns: int = 0  # of a file
    mode: int = 0  # of a file or directory
    link: bytes = b""  # of a link


Tree = dict[bytes, Seen]


def look(root: Path) -> Tree:
    """Every path below `root`, by its bytes."""
    found: Tree = {}
    top = os.fsencode(root)
    waiting = [b""]
    while waiting:
        directory = waiting.pop()
        for entry in os.scandir(os.path.join(top, directory)):
            path = os.path.join(directory, entry.name)
            if path == OWN_DIRECTORY:
                continue
            status = entry.stat(follow_symlinks=False)
            mode = stat.S_IMODE(status.st_mode)
            if entry.is_symlink():
                found[path] = Seen("link", link=os.readlink(entry.path))
            elif entry.is_dir(follow_symlinks=False):
                found[path] = Seen("directory", mode=mode)
                waiting.append(path)
            else:
                found[path] = Seen("file", status.st_size, status.st_mtime_ns, mode)
    return found


def settled(roots: list[Path]) -> Tree | None:
    """The tree that all `roots` hold alike; None while they differ or change under our eyes."""
    try:
        first, *others = (look(root) for root in roots)
    except FileNotFoundError:
        return None
    return first if all(other == first for other in others) else None


def fingerprint(root: Path) -> str:
    """SHA-256 over every path, kind, mode, link and all content below `root`."""
    total = hashlib.sha256()
    for path, seen in sorted(look(root).items()):
        total.update(b"%d:%s %s %o %s\n" % (len(path), path, seen.kind.encode(), seen.mode, seen.link))
        if seen.kind == "file":
            with open(os.path.join(os.fsencode(root), path), "rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def write(path: Path, content: bytes | str = b"") -> None:
    """A file with its directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def fill_hub(root: Path, chance: random.Random) -> None:
    """Most of the demo's files: text, empty files, one big one, deep directories, odd names, links."""
    for number in range(240):
        lines = chance.randrange(1, 400)
        write(root / f"docs/{number // 40:02}/report-{number:03}.txt", f"line of report {number}\n" * lines)
    for number in range(30):
        write(root / f"empty/{number:02}")
    write(root / "media/film.bin", chance.randbytes(FILM_BYTES))
    deep = root
    for level in range(24):
        deep /= f"level-{level:02}"
    write(deep / "at the bottom.txt", "24 directories down\n")
    for name in ODD_NAMES:
        write(root / "odd names" / name, f"{name!r}\n")
    write(root / "notes/minutes.txt", "Minutes\n- all present\n")
    tool = root / "bin/hello"
    write(tool, "#!/bin/sh\necho hello\n")
    tool.chmod(0o755)
    (root / "empty directory").mkdir()
    (root / "links").mkdir()
    (root / "links/film").symlink_to("../media/film.bin")
    (root / "links/docs").symlink_to("../docs")
    (root / "links/dangling").symlink_to("nowhere/at all")
    try:
        (root / os.fsdecode(NOT_UTF8)).write_bytes(b"its name isn't UTF-8\n")
    except OSError:
        return  # this file system takes only UTF-8 names


def fill_spoke(root: Path, chance: random.Random, name: str) -> None:
    """What a spoke brings along."""
    for number in range(60):
        size_bytes = chance.randrange(100, 40_000)
        write(root / f"from {name}/photo-{number:02}.jpg", chance.randbytes(size_bytes))
