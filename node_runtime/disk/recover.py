"""After the machine went down: is the content that peers sent really on the disk?

Publishing doesn't wait for the disk (no fsync for each file), so after a power failure a file may stand under
its final name empty, short or not at all while its row is in the index. A scan would take that for a user's
edit or deletion and send it out. So before the first scan after a reboot, every row whose content arrived
from a peer since the last flush is compared with the disk; where it differs the row is forgotten, and the
peers are asked for everything anew, as if the path had never been received.

A program that crashes loses nothing that it wrote: this is for the machine's crash alone.
"""

from __future__ import annotations

import os
import stat

from node_runtime.disk.hashing import hash_still
from node_runtime.disk.index import Index
from node_runtime.disk.root import GONE, REPLACED, Root, mtime_of
from node_runtime.disk.versions import Versions
from node_runtime.replica.entry import Kind, Row


def verify_unsettled(root: Root, index: Index) -> list[bytes]:
    """Compare what may not have reached the disk; the paths that hadn't.

    A damaged file is moved to the kept versions. Call it before the first scan of a run; it costs something
    only after a reboot.
    """
    damaged = []
    versions: Versions | None = None
    for row in list(index.unsettled_rows()):
        status = _status(root, row.entry.path)
        if status is not None and _is_intact(root, row, status):
            continue
        damaged.append(row.entry.path)
        if status is not None and not stat.S_ISDIR(status.st_mode):
            versions = versions or Versions(root)
            versions.keep(row.entry.path)
    if damaged:
        index.forget(damaged)
        index.reset_cursors()
    index.settle()
    return damaged


def _status(root: Root, path: bytes) -> os.stat_result | None:
    try:
        return root.lstat(path)
    except OSError as error:
        if error.errno in GONE:
            return None
        raise


def _is_intact(root: Root, row: Row, status: os.stat_result) -> bool:
    """Whether the path is what the row says, or something a user has made of it since."""
    assert row.stamp is not None
    mtime_ns = mtime_of(status)
    if row.stamp.ctime_ns < mtime_ns != row.stamp.mtime_ns and not stat.S_ISDIR(status.st_mode):
        return True  # written after it was placed: an edit, which the scan will find
    entry = row.entry
    if entry.kind is Kind.DIRECTORY:
        return stat.S_ISDIR(status.st_mode)
    if entry.kind is Kind.SYMLINK:
        return stat.S_ISLNK(status.st_mode) and root.readlink(entry.path) == entry.content
    if not stat.S_ISREG(status.st_mode) or status.st_size != entry.size:
        return False
    try:
        fd = root.open_read(entry.path)
    except OSError as error:
        if error.errno in REPLACED:
            return True  # changing at this moment: a user is at it
        raise
    try:
        read = hash_still(fd)
    finally:
        os.close(fd)
    return read is None or read[0] == entry.content
