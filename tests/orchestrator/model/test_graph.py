"""Loops in directed graphs."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.graph import loops, one_loop

arcs = st.sets(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef")).filter(lambda arc: arc[0] != arc[1])
)


@given(arcs=arcs)
def test_a_loop_is_found_exactly_where_one_can_walk_back(arcs: set[tuple[str, str]]) -> None:
    ways = set(arcs)
    while more := {(a, d) for a, b in ways for c, d in ways if b == c} - ways:
        ways |= more
    found = loops(arcs)
    assert {vertex for loop in found for vertex in loop} == {a for a, b in ways if a == b}
    for loop in found:
        route = one_loop(arcs, loop)
        assert route[0] == route[-1] == loop[0]
        assert all(step in arcs for step in pairwise(route))
