"""Where the authority is kept, and its public half, which needs no passphrase.

It decides which directory belongs to which repository. Apart from `authority`, so that commands that only
look load no cryptographic library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

STATE_VARIABLE = "SYNCGRAPH_STATE"
STATE_NAME = ".syncgraph"
KEY_NAME = "authority"


def state_directory(given: Path | None, paths: Sequence[Path], environ: Mapping[str, str]) -> Path:
    """The directory that holds the authority: as `given`, by the environment, or the repository's.

    The repository of `paths` is the nearest directory at or above the first of them that holds an authority
    already, or the working tree of a Git repository; otherwise the directory of the first path itself.
    """
    if given is not None:
        return given
    if environ.get(STATE_VARIABLE):
        return Path(environ[STATE_VARIABLE])
    first = (paths[0] if paths else Path()).resolve()
    start = first if first.is_dir() else first.parent
    for directory in (start, *start.parents):
        if (directory / STATE_NAME / KEY_NAME).is_file() or (directory / ".git").exists():
            return directory / STATE_NAME
    return start / STATE_NAME


def public_path(key_path: Path) -> Path:
    """The file beside the key that nodes may be given."""
    return key_path.with_name(key_path.name + ".pub")


def public_key_at(key_path: Path) -> str:
    """The public key of the authority at `key_path`, without comment; "" where there is none."""
    try:
        return " ".join(public_path(key_path).read_text("utf-8").split()[:2])
    except (OSError, UnicodeDecodeError):
        return ""
