"""The marker of a replica: a file that only the right disk has, so that another one isn't taken for it.

`emptiness` knows an empty mount point. A mount point that holds something, or another disk in the place of
the one that was synced, look like a tree from which much was deleted; there only a sign inside helps.
The first whole scan makes it, once: whoever moved the tree, or took the file away, puts it back by hand.
"""

from __future__ import annotations

import os

from node_runtime.disk.index import Index
from node_runtime.disk.root import Root
from node_runtime.replica.path import RESERVED

MARKER = RESERVED + b"/marker"
TEXT = b"syncgraph made this to know the directory again. Where it is missing, no delete is believed.\n"
_REQUIRED_META = "marker_required"
_MADE_META = "marker_made"


def require(index: Index, required: bool) -> None:
    """Whether some edge of this replica asks for the marker."""
    if bool(index.meta(_REQUIRED_META)) != required:
        index.set_meta(_REQUIRED_META, b"1" if required else b"")


def make(root: Root, index: Index) -> None:
    """After a whole scan: make the marker if it is asked for and was never made. May raise OSError."""
    if not index.meta(_REQUIRED_META) or index.meta(_MADE_META):
        return
    root.make_directories(RESERVED, 0o700)
    with root.parent(MARKER) as (directory_fd, name):
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=directory_fd)
        try:
            os.write(fd, TEXT)
            os.fsync(fd)
        finally:
            os.close(fd)
    index.set_meta(_MADE_META, b"1")


def is_missing(root: Root, index: Index) -> bool:
    """Whether the marker is asked for, was made, and isn't there."""
    return bool(index.meta(_REQUIRED_META) and index.meta(_MADE_META)) and root.stamp(MARKER) is None
