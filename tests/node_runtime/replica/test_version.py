"""Version vectors: a join semilattice, and edits that always come after what they edit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_runtime.replica.version import (
    EMPTY,
    MAX_PEERS,
    Order,
    Vector,
    bump,
    compare,
    is_valid,
    join,
    replica_id,
)

vectors = st.dictionaries(st.integers(0, 4), st.integers(1, 4), max_size=4).map(
    lambda counters: tuple(sorted(counters.items()))
)
OPPOSITE = {Order.BEFORE: Order.AFTER, Order.AFTER: Order.BEFORE}


@given(vectors, vectors, vectors)
def test_join_is_a_semilattice(a: Vector, b: Vector, c: Vector) -> None:
    assert join(a, b) == join(b, a)
    assert join(a, join(b, c)) == join(join(a, b), c)
    assert join(a, a) == a
    assert join(a, EMPTY) == a
    assert is_valid(join(a, b))


@given(vectors, vectors)
def test_join_is_the_least_that_contains_both(a: Vector, b: Vector) -> None:
    both = join(a, b)
    assert compare(a, both) in (Order.EQUAL, Order.BEFORE)
    assert compare(b, both) in (Order.EQUAL, Order.BEFORE)
    assert dict(both) == {who: max(dict(a).get(who, 0), dict(b).get(who, 0)) for who in {*dict(a), *dict(b)}}


@given(vectors, vectors)
def test_compare_agrees_with_join(a: Vector, b: Vector) -> None:
    order = compare(a, b)
    assert compare(b, a) is OPPOSITE.get(order, order)
    assert (join(a, b) == b) is (order in (Order.EQUAL, Order.BEFORE))
    assert (order is Order.EQUAL) is (a == b)


@given(vectors, st.integers(0, 4), st.integers(0, 9))
def test_an_edit_comes_after_what_it_edits(vector: Vector, who: int, now_s: int) -> None:
    edited = bump(vector, who, now_s)
    assert compare(vector, edited) is Order.BEFORE
    assert dict(edited)[who] >= now_s
    assert is_valid(edited)


def test_a_wiped_index_does_not_make_new_edits_look_old() -> None:
    before = bump(bump(EMPTY, 1, 1_000), 1, 1_000)
    after_the_loss = bump(EMPTY, 1, 1_060)
    assert compare(before, after_the_loss) is Order.BEFORE


@pytest.mark.parametrize(
    "vector",
    [
        ((2, 1), (1, 1)),
        ((1, 1), (1, 2)),
        ((1, 0),),
        ((1, -1),),
        ((-1, 1),),
        ((2**63, 1),),
        ((1, 2**63),),
        tuple((who, 1) for who in range(MAX_PEERS + 1)),
    ],
)
def test_vectors_that_no_replica_makes(vector: Vector) -> None:
    assert not is_valid(vector)


def test_ids_tell_nodes_and_paths_apart_and_fit_an_index() -> None:
    ids = {replica_id(node, path) for node in ("a", "b") for path in ("/x", "/y", "/\udcff")}
    assert len(ids) == 6
    assert all(0 <= one < 2**63 for one in ids)
