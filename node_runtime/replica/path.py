"""Relative path names as bytes, and the rules that make one safe.

A name comes from a peer and is used to open files, so only one form is let through: relative, "/" between
names, no empty, "." or ".." names, no NUL, each name at most 255 bytes. The shell that opens them
goes name by name from a directory descriptor and follows no link, so a safe path can't leave the root.

The index sorts by `key`: NUL in place of "/" sorts a directory's descendants right behind it, before a
sibling that continues the directory's name ("a", "a/b", "a-b"), which is the order a depth-first walk
with sorted names sees them in.
"""

from __future__ import annotations

RESERVED = b".syncgraph"  # at the root: staging, kept versions; never replicated
MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 64 * 1024


def unsafe_because(path: bytes) -> str | None:
    """Why a path from a peer must be refused, or None where it is safe."""
    if not path:
        return "an empty path"
    if len(path) > MAX_PATH_BYTES:
        return f"a path longer than {MAX_PATH_BYTES} bytes"
    if b"\0" in path:
        return "a NUL byte in a name"
    if path.startswith(b"/"):
        return "an absolute path"
    names = path.split(b"/")
    for name in names:
        if name in (b"", b".", b".."):
            return f"the name {name.decode()!r} in a path"
        if len(name) > MAX_NAME_BYTES:
            return f"a name longer than {MAX_NAME_BYTES} bytes"
    if names[0] == RESERVED:
        return "the reserved directory .syncgraph"
    return None


def key(path: bytes) -> bytes:
    """The sort key of a path; `from_key` undoes it."""
    return path.replace(b"/", b"\0")


def from_key(sort_key: bytes) -> bytes:
    """The path of a sort key."""
    return sort_key.replace(b"\0", b"/")


def parent(path: bytes) -> bytes:
    """The directory that holds `path`; empty for names in the root."""
    return path.rpartition(b"/")[0]


def show(path: bytes) -> str:
    """A path for people and for JSON: bytes that aren't UTF-8 are shown as \\xNN."""
    return path.decode("utf-8", "backslashreplace")
