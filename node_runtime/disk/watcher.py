"""Which paths of a replica are touched, as it happens: inotify through watchdog, and nowhere else.

Decides only what is worth a look: paths are reported, what became of them a scan finds out. What can't be
reported is admitted: a queue that overflowed, or a new directory that couldn't be watched, is a call to scan
everything.

watchdog's own observer is left out for two reasons (7.1): its event filter can't ask for attribute changes
without asking for every single write too, and it only logs an overflow and a watch that was refused. So its
descriptor reader and its watch group, which keep track of directories that move, are used with a mask and
ears of our own. Importing this module imports watchdog: import it where a replica is really watched.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable

from watchdog.observers.inotify import InotifyWatchGroup
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, InotifyFD, Mask
from watchdog.observers.inotify_move_event_grouper import GroupedInotifyEvent, PathedInotifyEvent

from node_runtime.disk.errors import DiskError, explain
from node_runtime.replica.path import RESERVED

_MASK = Mask(
    InotifyConstants.IN_CREATE
    | InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_MOVE
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_DELETE_SELF
    | InotifyConstants.IN_ATTRIB
)
_STOP_S = 10.0  # a reader that hasn't ended by then is stuck in the callback, which is the caller's


class Watcher:
    """Reports touched paths of one root, from threads of its own, until stopped.

    `on_paths` gets relative paths: a directory that appeared or moved stands for all it holds. `on_overflow`
    means that something was missed: scan the whole root. Neither may block for long.
    """

    def __init__(
        self, root_path: str, on_paths: Callable[[set[bytes]], None], on_overflow: Callable[[], None]
    ) -> None:
        self._top = os.fsencode(os.path.realpath(root_path))
        self._on_paths = on_paths
        self._on_overflow = on_overflow
        self._descriptor: InotifyFD | None = None
        self._group: _Group | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Watch every directory; `DiskError` where the system allows no more watches."""
        try:
            self._descriptor = InotifyFD()
        except OSError as error:
            raise DiskError(
                f"{os.fsdecode(self._top)} can't be watched: {error.strerror}; raise the sysctl"
                " fs.inotify.max_user_instances"
            ) from error
        self._descriptor.start()
        try:
            self._group = _Group(self._descriptor, self._top, self._on_overflow)
        except OSError as error:
            self.stop()
            if error.errno == errno.ENOSPC:
                raise DiskError(
                    f"{os.fsdecode(self._top)} has more directories than may be watched; raise the sysctl"
                    " fs.inotify.max_user_watches"
                ) from error
            raise DiskError(f"{os.fsdecode(self._top)} can't be watched: {explain(error)}") from error
        self._thread = threading.Thread(target=self._read, args=(self._group,), name="watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching. No callback runs after it returns."""
        if self._group is not None:
            self._group.deactivate()
            self._group = None
        if self._descriptor is not None:
            self._descriptor.stop()
            self._descriptor.join(_STOP_S)
            self._descriptor = None
        if self._thread is not None:
            self._thread.join(_STOP_S)
            self._thread = None

    def _read(self, group: _Group) -> None:
        while (event := group.read_event()) is not None:
            paths, root_gone = self._paths(event)
            if paths:
                self._on_paths(paths)
            if root_gone:
                self._on_overflow()

    def _paths(self, event: GroupedInotifyEvent) -> tuple[set[bytes], bool]:
        """The relative paths of an event (both ends of a move), and whether the root itself went away."""
        parts = [event] if isinstance(event, PathedInotifyEvent) else list(event)
        paths = {part.path[len(self._top) + 1 :] for part in parts}
        root_gone = any(part.ev.is_delete_self and part.path == self._top for part in parts)
        return {path for path in paths if path and not _is_ours(path)}, root_gone


class _Group(InotifyWatchGroup):
    """watchdog's bookkeeping of one tree's watches, made to speak up and to leave `.syncgraph` alone."""

    def __init__(self, descriptor: InotifyFD, top: bytes, on_missed: Callable[[], None]) -> None:
        self._on_missed = on_missed
        self._reserved = os.path.join(top, RESERVED)
        self._starting = True
        super().__init__(descriptor, top, _MASK, is_recursive=True)
        self._starting = False

    def on_queue_overflow(self) -> None:
        super().on_queue_overflow()
        self._on_missed()

    def on_event(self, event: InotifyEvent) -> None:
        if event.mask & InotifyConstants.IN_ATTRIB and not event.name:
            return  # a directory's own attributes: its parent reports them by name
        super().on_event(event)

    def _add_callback(self, path: bytes) -> None:
        if path == self._reserved or path.startswith(self._reserved + b"/"):
            return
        try:
            watch = self._inotify_fd.add_callback(path, self.event_mask, self._callback, self._id)
        except OSError as error:
            if self._starting and (error.errno == errno.ENOSPC or path == self.path):
                raise
            if error.errno == errno.ENOSPC:
                self._on_missed()
            return  # it vanished again, or can't be read: a scan reports that
        self._active_callbacks_by_path[path] = watch
        self._active_callbacks_by_watch[watch] = path


def _is_ours(path: bytes) -> bool:
    return path == RESERVED or path.startswith(RESERVED + b"/")
