"""What is asked about kept versions, answered: which replica a path lies in, what is kept, what comes back.

Decides how much one answer does: a listing is cut, a restore stops after a while or so many paths and says
where to go on, so that no answer is long and no other work of a replica waits for long. It works on an open
root and knows neither edges nor indexes; `edges` says which replicas there are, and has what was restored
scanned. Without a runtime, `local` does the same for a directory that was synced ad hoc.

Read on in `disk/restore`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain

from node_runtime.disk.errors import DiskError, explain
from node_runtime.disk.restore import Outcome, Restorer, Unknown, choose
from node_runtime.disk.root import Root
from node_runtime.disk.versions import History, Kept, histories, history
from node_runtime.errors import NodeError
from node_runtime.replica.path import RESERVED, key, parent, show
from schemas.kept import (
    MAX_LISTED,
    KeptVersion,
    KeptVersions,
    ListVersions,
    Restore,
    Restored,
    RestoredPath,
)

MAX_PATHS = 500  # brought back, or looked at in vain, in one answer
MAX_S = 5.0  # spent on one answer before it is given; a single large file may take longer


def expanded(path: str) -> str:
    """An absolute path in plain form. Raises NodeError."""
    found = os.path.normpath(os.path.expanduser(path) if path.startswith("~") else path)
    if not found.startswith("/") or "\0" in found:
        raise NodeError(f"{path!r} isn't an absolute path; name the file as it is called on the node")
    return found.replace("//", "/", 1) if found.startswith("//") else found


def locate(roots: Iterable[str], path: str) -> tuple[str, bytes]:
    """The root among these that a path lies in, and the path below it. Raises NodeError."""
    wanted = expanded(path)
    roots = sorted(roots)
    for root in roots:
        if wanted == root or wanted.startswith(root.rstrip("/") + "/"):
            relative = os.fsencode(wanted[len(root) :].strip("/"))
            if relative.partition(b"/")[0] == RESERVED:
                raise NodeError(f"{path} is our own; name the path that a file had in the replica")
            return root, relative
    here = f"; here are {', '.join(roots[:5])}" if roots else ""
    raise NodeError(f"{path} lies in no replica of this node{here}")


def local_root(path: str) -> str:
    """The directory above a path (or the path itself) that holds kept versions. Raises NodeError."""
    directory = expanded(os.path.abspath(path))
    while not os.path.isdir(os.path.join(directory, os.fsdecode(RESERVED), "versions")):
        if directory == "/":
            raise NodeError(
                f"nothing is kept of {path}: no directory above it has .syncgraph/versions; "
                "a sync keeps what it overwrites or deletes, in the directory where it does so"
            )
        directory = os.path.dirname(directory)
    return directory


def list_versions(root: Root, relative: bytes, limit: int) -> KeptVersions:
    """What is kept of a path and of all paths below it."""
    found: list[KeptVersion] = []
    more = total_bytes = 0
    with _said(root):
        for each in _histories(root, relative):
            for kept in each.versions:
                total_bytes += kept.size
                if len(found) < min(limit, MAX_LISTED):
                    found.append(_listed(each, kept))
                else:
                    more += 1
    return KeptVersions(root.path, tuple(found), more, total_bytes)


def restore(root: Root, relative: bytes, request: Restore) -> tuple[Restored, list[bytes]]:
    """Bring back what one answer has room for; also the paths that were changed in the root itself."""
    at_ms = None if request.at is None else round(request.at * 1000)
    began = time.monotonic()
    done: list[RestoredPath] = []
    changed: list[bytes] = []
    looked_at = unknown = 0
    last: bytes | None = None
    with ExitStack() as stack:
        stack.enter_context(_said(root))
        into, prefix = _destination(request, stack)
        restorer = Restorer(root, into, dry_run=request.dry_run)
        stack.callback(restorer.close)
        for each in _histories(root, relative, request.after):
            if looked_at >= MAX_PATHS or (looked_at and time.monotonic() - began > MAX_S):
                return Restored(root.path, tuple(done), unknown, last), changed
            looked_at, last = looked_at + 1, each.path
            try:
                kept = _wanted(root, each, relative, at_ms)
            except Unknown:
                unknown += 1
                continue
            if kept is None:
                continue
            target = each.path if into is None else prefix + _below(each.path, relative)
            outcome = restorer.restore(each, kept, target)
            done.append(_told(each, kept, outcome))
            if outcome.action == "restored" and into is None and not request.dry_run:
                changed.append(each.path)
    return Restored(root.path, tuple(done), unknown, None), changed


def _wanted(root: Root, each: History, relative: bytes, at_ms: int | None) -> Kept | None:
    """The version to bring back; None where a directory is restored as it stands and this path is there."""
    if at_ms is None and each.path != relative and not each.is_cut and root.stamp(each.path) is not None:
        return None
    return choose(each, at_ms)


def _histories(root: Root, relative: bytes, after: bytes = b"") -> Iterator[History]:
    own = history(root, relative) if relative else None
    if own is not None and after and key(own.path) <= key(after):
        own = None
    return chain([own] if own else [], histories(root, relative, after))


def _destination(request: Restore, stack: ExitStack) -> tuple[Root | None, bytes]:
    """The other directory, made if it is missing, and the path in it; None: where everything was."""
    if not request.to:
        return None, b""
    directory, rest = expanded(request.to), b""
    if RESERVED in os.fsencode(directory).split(b"/"):
        raise NodeError(f"{request.to} is our own; name another directory")
    while request.dry_run and directory != "/" and not os.path.lexists(directory):
        rest = os.fsencode(os.path.basename(directory)) + b"/" + rest
        directory = os.path.dirname(directory)
    into = Root.open(directory, create=not request.dry_run)
    stack.callback(into.close)
    return into, rest


def _below(path: bytes, relative: bytes) -> bytes:
    """A path as it is called in another directory: from the last name of what was asked for."""
    return path[len(parent(relative)) :].lstrip(b"/")


@contextmanager
def _said(root: Root) -> Iterator[None]:
    """What the disk refuses, as a sentence."""
    try:
        yield
    except OSError as error:
        raise DiskError(f"the kept versions of {root.path} can't be read: {explain(error)}") from error


def _listed(each: History, kept: Kept) -> KeptVersion:
    return KeptVersion(
        show(each.path) + ("…" if each.is_cut else ""),
        kept.when_ms / 1000,
        kept.size,
        kept.mtime_ns / 1e9,
        kept.why,
    )


def _told(each: History, kept: Kept, outcome: Outcome) -> RestoredPath:
    return RestoredPath(show(each.path), outcome.action, kept.when_ms / 1000, kept.size, outcome.reason)


def local(request: ListVersions | Restore) -> KeptVersions | Restored:
    """The same without a runtime. Raises NodeError."""
    root = Root.open(local_root(request.path), create=False)
    try:
        _, relative = locate([root.path], request.path)
        if isinstance(request, ListVersions):
            return list_versions(root, relative, request.limit)
        return restore(root, relative, request)[0]
    finally:
        root.close()
