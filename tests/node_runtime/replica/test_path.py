"""Paths: what a peer may name, and the order of an index."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_runtime.replica.path import from_key, key, parent, show, unsafe_because


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"/",
        b"/etc/passwd",
        b"..",
        b"../x",
        b"a/../../x",
        b"a/..",
        b".",
        b"./a",
        b"a//b",
        b"a/",
        b"a\0b",
        b"x" * 256,
        b"a/" * 40_000 + b"a",
        b".syncgraph",
        b".syncgraph/staging/x",
    ],
)
def test_unsafe(path: bytes) -> None:
    assert unsafe_because(path)


@pytest.mark.parametrize(
    "path",
    [b"a", b"a/b", b"...", b".hidden", b"a/.syncgraph", b".syncgraph2", b"\xff\xfe", b"a\nb", b"x" * 255],
)
def test_safe(path: bytes) -> None:
    assert unsafe_because(path) is None


names = st.binary(min_size=1, max_size=3).filter(lambda name: not set(name) & set(b"/\0"))
paths = st.lists(names, min_size=1, max_size=4).map(b"/".join)


@given(st.sets(paths, max_size=30))
def test_keys_sort_as_a_depth_first_walk_with_sorted_names(found: set[bytes]) -> None:
    by_walk = sorted(found, key=lambda path: path.split(b"/"))
    assert sorted(found, key=key) == by_walk
    assert [from_key(key(path)) for path in by_walk] == by_walk


def test_parents() -> None:
    assert [parent(path) for path in (b"a/b/c", b"a/b", b"a")] == [b"a/b", b"a", b""]


def test_bytes_that_are_not_utf8_are_shown() -> None:
    assert show("é".encode() + b"\xff") == "é\\xff"
