"""Conflict copies: the name under which losing content is kept beside the winner.

    report.sync-conflict-20261122-155301-hq-a-1f9c3d.txt
    stem                 mtime, UTC      origin  content hash

The name is made of the losing entry alone, so every replica that holds the loser makes the same file under
the same name, and the copies merge as equal content. It decides a name and nothing else: who
loses is `reconcile`'s decision, and moving the bytes is the disk's work.

A conflict copy never gets a conflict copy of its own: names would grow without end in a fleet that keeps
on disagreeing. The loser of such a conflict is overwritten, and like everything that is overwritten it
goes to the replica's kept versions first.
"""

from __future__ import annotations

import datetime
import hashlib
import re

from node_runtime.replica.entry import Entry
from node_runtime.replica.path import MAX_NAME_BYTES

MARK = b".sync-conflict-"
MAX_ORIGIN_BYTES = 63  # a DNS label; longer node names are cut, the hash still tells copies apart
MAX_EXTENSION_BYTES = 16  # what is longer is a name with a dot in it, not an extension

_COPY = re.compile(
    rb"(?P<stem>.*)(?P<tag>\.sync-conflict-(?P<time>\d{8}-\d{6})-(?P<origin>[\w.-]+)-[0-9a-f]{6})"
    rb"(?P<extension>(?:\.[^/.]*){0,2})\Z",
    re.DOTALL,
)
_COMPRESSIONS = frozenset((b"br", b"bz2", b"gz", b"lz4", b"xz", b"zst", b"Z"))
_LAST_SECOND = int(datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC).timestamp())


def conflict_copy_name(entry: Entry) -> bytes:
    """The path, beside `entry`, of the copy that keeps its content."""
    directory, slash, name = entry.path.rpartition(b"/")
    # A peer chose mtime: clamped to what a four-digit year can say.
    second = min(max(entry.mtime_ns // 1_000_000_000, 0), _LAST_SECOND)
    time = datetime.datetime.fromtimestamp(second, datetime.UTC).strftime("%Y%m%d-%H%M%S").encode()
    origin = re.sub(r"[^A-Za-z0-9_.-]", "_", entry.origin).encode()[:MAX_ORIGIN_BYTES] or b"_"
    return directory + slash + _tagged(name, MARK + time + b"-" + origin + b"-" + _hash6(entry.content))


def is_conflict_copy(path: bytes) -> bool:
    """Whether `path` bears a name that `conflict_copy_name` makes."""
    return _parsed(path) is not None


def is_copy_of(copy: bytes, path: bytes) -> bool:
    """Whether `copy` bears the name of a conflict copy of `path`."""
    parsed = _parsed(copy)
    directory, slash, name = path.rpartition(b"/")
    return parsed is not None and directory + slash + _tagged(name, parsed["tag"]) == copy


def original_of(copy: bytes) -> bytes:
    """The path that a conflict copy was made of; only nearly that where `is_cut`."""
    parsed = _parsed(copy)
    assert parsed is not None, "a conflict copy"
    directory, slash, _ = copy.rpartition(b"/")
    return directory + slash + parsed["stem"] + parsed["extension"]


def is_cut(copy: bytes) -> bool:
    """Whether a conflict copy's original may have a longer name, of which only the beginning was kept."""
    parsed = _parsed(copy)
    return parsed is not None and re.search(rb"~[0-9a-f]{6}\Z", parsed["stem"]) is not None


def ordinary_name(copy: bytes) -> bytes:
    """The name of a conflict copy that a person keeps: a file like any other, and it says whence it came.

    "report (from hq-a, 2026-11-22 15.53.01).txt"; the same wherever it is made.
    """
    parsed = _parsed(copy)
    assert parsed is not None, "a conflict copy"
    directory, slash, _ = copy.rpartition(b"/")
    # Digits, not necessarily a time: anybody may have made the name.
    time = re.sub(rb"(....)(..)(..)-(..)(..)(..)", rb"\1-\2-\3 \4.\5.\6", parsed["time"])
    tag = b" (from " + parsed["origin"] + b", " + time + b")"
    return directory + slash + _tagged(parsed["stem"] + parsed["extension"], tag)


def _parsed(path: bytes) -> re.Match[bytes] | None:
    return _COPY.match(path.rpartition(b"/")[2]) if MARK in path else None


def _tagged(name: bytes, tag: bytes) -> bytes:
    """`name` with `tag` before its extension, cut where that is too long."""
    stem, extension = _split(name)
    room_bytes = MAX_NAME_BYTES - len(tag) - len(extension)
    if len(stem) > room_bytes:
        # Two long names that differ only in what is cut off must not meet in one copy.
        stem = _cut(stem, room_bytes - 7) + b"~" + _hash6(name)
    return stem + tag + extension


def _split(name: bytes) -> tuple[bytes, bytes]:
    """Stem and extension: "a.tar.gz" is "a" and ".tar.gz", ".profile" has no extension."""
    stem, dot, last = name.rpartition(b".")
    if not stem.strip(b".") or not last or len(last) >= MAX_EXTENSION_BYTES or b" " in last:
        return name, b""
    inner, inner_dot, before = stem.rpartition(b".")
    if last in _COMPRESSIONS and before == b"tar" and inner.strip(b"."):
        return inner, inner_dot + before + dot + last
    return stem, dot + last


def _cut(name: bytes, limit_bytes: int) -> bytes:
    """The first `limit_bytes` of a name, not ending inside a UTF-8 character where it is UTF-8."""
    cut = name[:limit_bytes]
    for spare in range(4):
        try:
            cut[: len(cut) - spare].decode()
        except UnicodeDecodeError:
            continue
        return cut[: len(cut) - spare]
    return cut


def _hash6(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest()[:6].encode()
