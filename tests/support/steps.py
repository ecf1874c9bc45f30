"""Every call with which the engine changes a disk or speaks to its peer, as a step that has a name.

A step is called after who takes it and what it does: "publish.create link", "index.put commit",
"stream.send Ack". Nothing in the engine knows of this: for as long as `stepping` lasts, the calls
themselves are replaced, and only those that the engine makes are told of.

def around(step, call): ...            # before, instead of, or after call()
with stepping(around): ...
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import apsw

import node_runtime
from node_runtime.disk import syscalls
from node_runtime.disk.index import Index
from node_runtime.net.stream import StreamSession

Call = Callable[[], Any]
Around = Callable[[str, Call], Any]

_ENGINE = str(Path(node_runtime.__file__).parent)
_PASSED_OVER = ("contextlib", "functools")
_CHANGES = (
    (os, ("link", "rename", "unlink", "rmdir", "mkdir", "symlink", "chmod", "utime", "ftruncate")),
    (os, ("copy_file_range", "fdatasync")),
    (syscalls, ("rename_new", "rename_exchange", "flush_file_system")),
    (fcntl, ("ioctl",)),
)
_READS = ((os, ("listdir", "scandir", "readlink", "pread", "preadv", "lseek", "stat")),)
_OPEN_READ = "open_read"  # an os.open that makes nothing
READS = frozenset({_OPEN_READ, *(name for _, names in _READS for name in names)})
DISK_CALLS = READS | {"open", "pwrite"} | {name for _, names in _CHANGES for name in names}
_INDEX = ("put", "restamp", "forget", "add_retries", "set_retries", "set_cursor", "set_meta", "settle")


def caller(frame: FrameType | None) -> str:
    """The engine's function that makes a call: "module.function", or nothing where it isn't the engine's."""
    while frame is not None and Path(frame.f_code.co_filename).stem in _PASSED_OVER:
        frame = frame.f_back
    if frame is None or not frame.f_code.co_filename.startswith(_ENGINE):
        return ""
    return f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name.lstrip('_')}"


@contextlib.contextmanager
def stepping(around: Around) -> Iterator[None]:
    """Have each step of the engine in this process go through `around`, those that only look too."""
    with contextlib.ExitStack() as stack:
        for module, names in (*_CHANGES, *_READS):
            for name in names:
                _replace(stack, module, name, _told(name, getattr(module, name), around))
        for name in _INDEX:
            _replace(stack, Index, name, _told(name, getattr(Index, name), around))
        _replace(stack, os, "open", _open_told(os.open, around))
        _replace(stack, os, "pwrite", _write_told(os.pwrite, around))
        _replace(stack, StreamSession, "send", _send_told(StreamSession.send, around))
        hook = _commits_told(around)
        apsw.connection_hooks.append(hook)
        stack.callback(apsw.connection_hooks.remove, hook)
        yield


def _replace(stack: contextlib.ExitStack, owner: Any, name: str, new: Any) -> None:
    stack.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, new)


def _told(name: str, call: Callable[..., Any], around: Around) -> Callable[..., Any]:
    def told(*args: Any, **kwargs: Any) -> Any:
        who = caller(sys._getframe(1))
        return around(f"{who} {name}", lambda: call(*args, **kwargs)) if who else call(*args, **kwargs)

    return told


def _open_told(call: Callable[..., int], around: Around) -> Callable[..., int]:
    def told(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        who = caller(sys._getframe(1))
        if not who:
            return call(path, flags, *args, **kwargs)
        makes = flags & (os.O_CREAT | os.O_TMPFILE & ~os.O_DIRECTORY)
        step = f"{who} {'open' if makes else _OPEN_READ}"
        made: int = around(step, lambda: call(path, flags, *args, **kwargs))
        return made

    return told


def _write_told(call: Callable[..., int], around: Around) -> Callable[..., int]:
    """A write stops half way. Whoever calls must go on after a short write anyway."""

    def told(fd: int, content: bytes | memoryview, offset: int) -> int:
        who = caller(sys._getframe(1))
        if not who:
            return call(fd, content, offset)
        half = max(1, len(content) // 2)
        written: int = around(f"{who} pwrite", lambda: call(fd, memoryview(content)[:half], offset))
        return written

    return told


def _send_told(call: Callable[..., Any], around: Around) -> Callable[..., Any]:
    async def told(session: StreamSession, message: Any) -> None:
        around(f"stream.send {type(message).__name__}", lambda: None)
        await call(session, message)

    return told


def _commits_told(around: Around) -> Callable[[apsw.Connection], None]:
    def on_commit() -> bool:
        who = caller(sys._getframe(1))
        if who:
            around(f"{who} commit", lambda: None)
        return False

    return lambda db: db.set_commit_hook(on_commit)
