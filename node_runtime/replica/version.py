"""Version vectors: which replicas' edits an entry contains.

A vector is a tuple of (replica id, counter) pairs, sorted by replica id, each id at most once, every
counter positive. `()` precedes everything. Plain tuples, because a million of them are compared in a
pass and equality of tuples is one C call.

Source: D. S. Parker et al., "Detection of mutual inconsistency in distributed systems", IEEE TSE 9(3), 1983.
"""

from __future__ import annotations

import enum
import hashlib
import itertools

Vector = tuple[tuple[int, int], ...]

EMPTY: Vector = ()
MAX_PEERS = 4096  # a longer vector from a peer is refused: no fleet has so many writers of one path


class Order(enum.Enum):
    """How one vector stands to another."""

    EQUAL = "equal"
    BEFORE = "before"  # the other contains this one's edits, and more
    AFTER = "after"
    CONCURRENT = "concurrent"


def replica_id(node: str, path: str) -> int:
    """The stable 63-bit id of the replica `path` on `node` (63 bits, so that it fits SQLite's INTEGER)."""
    raw = hashlib.sha256(f"{node}:{path}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(raw[:8], "big") >> 1


def compare(left: Vector, right: Vector) -> Order:
    """The order of two vectors."""
    if left == right:
        return Order.EQUAL
    counters = dict(right)
    ahead = behind = False
    for who, counter in left:
        other = counters.pop(who, 0)
        ahead |= counter > other
        behind |= counter < other
    behind |= bool(counters)
    if ahead and behind:
        return Order.CONCURRENT
    return Order.AFTER if ahead else Order.BEFORE


def join(left: Vector, right: Vector) -> Vector:
    """The least vector that contains both."""
    if left == right or not right:
        return left
    counters = dict(left)
    for who, counter in right:
        if counter > counters.get(who, 0):
            counters[who] = counter
    return tuple(sorted(counters.items()))


def bump(vector: Vector, who: int, now_s: int) -> Vector:
    """`vector` after one more edit by `who`.

    The counter follows the clock where the clock is ahead, so that a replica whose index was wiped
    can't make its new edits look older than the ones it forgot.
    """
    counters = dict(vector)
    counters[who] = max(counters.get(who, 0) + 1, now_s)
    return tuple(sorted(counters.items()))


def is_valid(vector: Vector) -> bool:
    """Whether a vector that came from a peer has the form this module promises."""
    return (
        len(vector) <= MAX_PEERS
        and all(0 <= who < 2**63 and 0 < counter < 2**63 for who, counter in vector)
        and all(a[0] < b[0] for a, b in itertools.pairwise(vector))
    )
