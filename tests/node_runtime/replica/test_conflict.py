"""Names of conflict copies: the same everywhere, legal everywhere, recognised again."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_runtime.replica.conflict import (
    conflict_copy_name,
    is_conflict_copy,
    is_copy_of,
    is_cut,
    ordinary_name,
    original_of,
)
from node_runtime.replica.path import MAX_NAME_BYTES, parent, unsafe_because
from tests.support.trees import A, file

AT = 1_795_362_781  # 2026-11-22 15:53:01 UTC


@pytest.mark.parametrize(
    ("path", "stem", "extension"),
    [
        ("report.txt", "report", ".txt"),
        ("d/e/report.txt", "d/e/report", ".txt"),
        ("a.tar.gz", "a", ".tar.gz"),
        ("v1.2.zip", "v1.2", ".zip"),
        ("Makefile", "Makefile", ""),
        (".profile", ".profile", ""),
        (".config.json", ".config", ".json"),
        ("..x", "..x", ""),
        ("dot.", "dot.", ""),
        ("Dr. Who and the Daleks", "Dr. Who and the Daleks", ""),
        ("d.ir/plain", "d.ir/plain", ""),
    ],
)
def test_the_mark_stands_before_the_extension(path: str, stem: str, extension: str) -> None:
    name = conflict_copy_name(file(path, "losing", {A: 1}, at=AT)).decode()
    assert name == f"{stem}.sync-conflict-20261122-155301-ann-{name[-6 - len(extension) :][:6]}{extension}"
    assert is_conflict_copy(name.encode())
    assert is_copy_of(name.encode(), path.encode())
    assert original_of(name.encode()) == path.encode()
    assert ordinary_name(name.encode()).decode() == f"{stem} (from ann, 2026-11-22 15.53.01){extension}"


def test_two_losers_of_one_second_and_one_node_have_two_names() -> None:
    one, two = (conflict_copy_name(file("x", text, {A: 1}, at=AT)) for text in ("one", "two"))
    assert one != two


def test_the_name_is_the_loser_s_alone() -> None:
    one = file("x", "text", {A: 1}, at=AT)
    elsewhere = file("x", "text", {A: 1, 9: 9}, at=AT, by=A, mode=0o600)
    assert conflict_copy_name(one) == conflict_copy_name(elsewhere)


def test_long_names_are_cut_at_a_character_and_stay_apart() -> None:
    one = file("d/" + "é" * 124 + "1.txt", "text", {A: 1}, at=AT)
    two = file("d/" + "é" * 124 + "2.txt", "text", {A: 1}, at=AT)
    names = [conflict_copy_name(entry) for entry in (one, two)]
    assert names[0] != names[1]
    for name in names:
        assert len(name) <= 2 + MAX_NAME_BYTES
        name.decode()
        assert name.endswith(b".txt")
        assert is_conflict_copy(name)
        assert is_cut(name)
        assert len(ordinary_name(name).rpartition(b"/")[2]) <= MAX_NAME_BYTES
    assert [is_copy_of(name, one.path) for name in names] == [True, False]


@pytest.mark.parametrize("mtime_ns", [-(2**62), -1, 0, 2**63 - 1])
def test_any_time_that_a_peer_may_send_has_a_name(mtime_ns: int) -> None:
    entry = msgspec.structs.replace(file("x", "text", {A: 1}), mtime_ns=mtime_ns)
    assert is_conflict_copy(conflict_copy_name(entry))


names = st.binary(min_size=1, max_size=MAX_NAME_BYTES).filter(
    lambda name: b"/" not in name and unsafe_because(name) is None
)


@given(names, st.text(max_size=300), st.binary(max_size=40))
def test_every_name_gives_a_safe_name_beside_it(name: bytes, origin: str, content: bytes) -> None:
    entry = msgspec.structs.replace(
        file("x", "", {A: 1}, at=AT), path=b"d/" + name, origin=origin, content=content
    )
    copy = conflict_copy_name(entry)
    assert unsafe_because(copy) is None
    assert parent(copy) == b"d"
    assert is_conflict_copy(copy)
    assert is_copy_of(copy, entry.path)
    assert is_cut(copy) or original_of(copy) == entry.path
    assert unsafe_because(ordinary_name(copy)) is None
    assert not is_conflict_copy(ordinary_name(copy)) or is_conflict_copy(entry.path)


@pytest.mark.parametrize(
    "path",
    [
        "a.txt",
        "sync-conflict.txt",
        "a.sync-conflict-2026-ann.txt",
        "a.sync-conflict-20261122-155301-ann.txt",
        "a.sync-conflict-20261122-155301-ann-1f9c3d/x",  # a directory's children are nobody's copies
    ],
)
def test_other_names_are_not_conflict_copies(path: str) -> None:
    assert not is_conflict_copy(path.encode())
