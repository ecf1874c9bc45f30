"""Each shape links what it should, and only that."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.shapes import SHAPES, Parts, TierMembers, assign
from orchestrator.model.topology import Replica
from schemas.topology import SHAPE_KEYS


def replicas(count: int, stem: str = "n") -> tuple[Replica, ...]:
    return tuple(Replica(f"{stem}-{number:03}", "/d") for number in range(1, count + 1))


def links(shape: str, parts: Parts) -> list[str]:
    mark = {"one-way": ">", "two-way": "="}
    return [f"{source.node}{mark[way]}{target.node}" for source, target, way in SHAPES[shape](parts)]


def test_every_shape_of_the_documents_has_a_function() -> None:
    assert set(SHAPES) == set(SHAPE_KEYS)


A, B, C, D = (Replica(name, "/d") for name in "abcd")


@pytest.mark.parametrize(
    ("shape", "parts", "expected"),
    [
        ("one-way", Parts("", A, B), ["a>b"]),
        ("bidirectional", Parts("", A, B), ["a=b"]),
        ("hub-and-spoke", Parts("both", members=(B, C), hubs={B: A, C: A}), ["a=b", "a=c"]),
        ("hub-and-spoke", Parts("to-hub", members=(B, C), hubs={B: A, C: A}), ["b>a", "c>a"]),
        ("hub-and-spoke", Parts("to-spokes", members=(B, C), hubs={B: A, C: A}), ["a>b", "a>c"]),
        ("full-mesh", Parts("", members=(C, A, B)), ["a=b", "a=c", "b=c"]),
        ("chain", Parts("forward", members=(C, A, B)), ["c>a", "a>b"]),
        ("chain", Parts("both", members=(C, A, B)), ["c=a", "a=b"]),
        ("ring", Parts("both", members=(A, B, C)), ["a=b", "b=c", "c=a"]),
        ("ring", Parts("forward", members=(A, B, C)), ["a>b", "b>c", "c>a"]),
        ("ring", Parts("both", members=(A, B)), ["a=b"]),
        ("tree", Parts("to-leaves", A, tiers=(TierMembers((B,), None), TierMembers((C, D), None))),
         ["a>b", "b>c", "b>d"]),
        ("tree", Parts("to-root", A, tiers=(TierMembers((B, C), None),)), ["b>a", "c>a"]),
        ("tree", Parts("both", A, tiers=(TierMembers((B, C), None),)), ["a=b", "a=c"]),
    ],
)  # fmt: skip
def test_links(shape: str, parts: Parts, expected: list[str]) -> None:
    assert links(shape, parts) == expected


def test_a_child_without_a_parent_passes_nothing_on() -> None:
    parts = Parts("to-leaves", A, tiers=(TierMembers((B, C), 1), TierMembers((D,), None)))
    linked = {replica for source, target, _ in SHAPES["tree"](parts) for replica in (source, target)}
    assert D in linked
    assert len({B, C} & linked) == 1


@given(parents=st.integers(1, 8), children=st.integers(0, 60), fanout=st.none() | st.integers(1, 12))
def test_no_parent_has_more_children_than_its_fanout(parents: int, children: int, fanout: int | None) -> None:
    chosen = assign(replicas(parents, "p"), TierMembers(replicas(children, "c"), fanout))
    load = Counter(chosen.values())
    room = fanout if fanout is not None else -(-children // parents)
    assert len(chosen) == min(children, parents * room)
    assert all(count <= room for count in load.values())


@given(
    zones=st.lists(st.sampled_from(["eu", "us", "ap"]), min_size=1, max_size=30),
    parent_zones=st.lists(st.sampled_from(["eu", "us"]), min_size=1, max_size=5),
)
def test_a_zone_with_room_keeps_its_children(zones: list[str], parent_zones: list[str]) -> None:
    children, parents = replicas(len(zones), "c"), replicas(len(parent_zones), "p")
    zone_of = {
        replica.node: zone
        for replica, zone in zip((*children, *parents), (*zones, *parent_zones), strict=True)
    }
    chosen = assign(parents, TierMembers(children, None, zone_of))
    assert set(chosen) == set(children)
    for child, parent in chosen.items():
        if zone_of[child.node] in parent_zones:
            assert zone_of[parent.node] == zone_of[child.node]


def test_a_new_machine_moves_few_of_the_others() -> None:
    parents, children = replicas(10, "p"), replicas(200, "c")
    before = assign(parents, TierMembers(children, 24))
    after = assign(parents, TierMembers((*children, Replica("c-0575", "/d")), 24))
    assert sum(before[child] != after[child] for child in children) <= 5
