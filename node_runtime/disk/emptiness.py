"""When an empty root may be believed: a disk that isn't mounted looks like one from which all was deleted.

Two cases, beside that of a root without its `marker`. Another directory than the one that the rows are
about, and empty: the mount point of something that isn't mounted, so nothing may be put there either. The
same directory, emptied: nothing is deleted elsewhere until a person puts something there, or some of what was
there is back. What peers put there in the meantime says nothing. Called by `scanner`.
"""

from __future__ import annotations

import os

from node_runtime.disk.errors import DiskError
from node_runtime.disk.index import Index
from node_runtime.disk.marker import MARKER, is_missing
from node_runtime.disk.root import Root

_ROOT_META = "root_inode"  # which directory the rows are about
_EMPTIED_META = "emptied_at_seq"  # the last change before the root was found empty; b"" otherwise


def mind_stranger(root: Root, index: Index) -> None:
    """`DiskError` where the root is empty and not the directory that the rows are about."""
    inode, before = str(root.inode).encode(), index.meta(_ROOT_META)
    if before == inode:
        return
    if before is not None and root.is_empty() and index.has_children(b""):
        raise DiskError(
            f"{root.path} is empty and not the directory that was synced before; mount or restore it, or put"
            " any file there if it is meant to be empty (nothing was deleted anywhere)"
        )
    index.set_meta(_ROOT_META, inode)


def why_no_deletes(root: Root, index: Index, missing: int) -> str:
    """Why it mustn't be believed that `missing` paths were deleted; "" where it may."""
    if is_emptied(root, index):
        return (
            f"{root.path} is empty but {missing} paths are on record;"
            " mount or restore it, or put any file there if it is meant to be empty"
        )
    if is_missing(root, index):
        marker = f"{root.path}/{os.fsdecode(MARKER)}"
        return (
            f"{marker} is missing, so this may be another disk, and no delete is believed ({missing} paths on"
            " record aren't there); mount the right one, or make that file if this is it"
        )
    return ""


def is_emptied(root: Root, index: Index) -> bool:
    """Whether the root is empty, or was and holds nothing since but what peers have sent."""
    emptied = index.meta(_EMPTIED_META)
    if root.is_empty():
        if not emptied:
            index.set_meta(_EMPTIED_META, str(index.max_seq).encode())
        return True
    if not emptied:
        return False
    old = (row for row in index.walk() if row.seq <= int(emptied) and not row.entry.deleted)
    if not any(root.stamp(row.entry.path) for row in old):
        return True
    index.set_meta(_EMPTIED_META, b"")
    return False


def note_local_find(index: Index) -> None:
    """Something of one's own is in the root: it is meant to be as it is."""
    if index.meta(_EMPTIED_META):
        index.set_meta(_EMPTIED_META, b"")
