"""Many reports, each conflict once; and whom a resolution is sent to."""

from __future__ import annotations

import msgspec
import pytest

from orchestrator.apply.conflicts import Known, joined_replicas, put_together
from orchestrator.apply.resolve import Order, decide
from orchestrator.errors import OperatorError
from schemas.conflicts import Conflict, Conflicts, Content
from schemas.plans import NodePlan, ReplicaRef
from tests.support.plans import edge_between, plan_of

IDS = {"hub": 1, "a": 2, "b": 3, "c": 4}
STAR = ("hub:/d", "a:/d"), ("hub:/d", "b:/d")


def plans(*pairs: tuple[str, str], **how: str) -> dict[str, NodePlan]:
    edges = [edge_between(source, target, **how) for source, target in pairs]
    names = {end.partition(":")[0] for pair in pairs for end in pair}
    return {
        name: plan_of(name, *(edge for edge in edges if name in (edge.source.node, edge.target.node)))
        for name in names
    }


def content(path: str, origin: str, at: float, **version: int) -> Content:
    edits = tuple(sorted((IDS[name], when) for name, when in version.items()))
    return Content(path, "file", len(origin), at, origin, f"{origin}'s".encode().hex(), edits)


def answer(name: str, *conflicts: Conflict) -> Conflicts:
    return Conflicts(conflicts, 0, {"/d": IDS[name]})


WINNER = content("f", "b", 20, a=10, b=20)
COPY = content("f.copy", "a", 10, hub=30)
SEEN = Conflict("/d", "f", WINNER, COPY)


def held(here: Content, there: Content, peer: str, edge: str) -> Conflict:
    return Conflict("/d", "f", here, there, peer, edge)


def test_what_every_node_sees_is_told_once() -> None:
    answers = {name: answer(name, SEEN) for name in ("hub", "a", "b")}
    [known] = put_together(answers, plans(*STAR))
    assert known.conflict.replicas == ("a:/d", "b:/d", "hub:/d")
    winner, copy = known.conflict.sides
    assert (winner.role, winner.origin, winner.replicas) == ("winner", "b", ("a:/d", "b:/d", "hub:/d"))
    assert [(edit.node, edit.at) for edit in winner.knows] == [("a", 10), ("b", 20)]
    assert [(edit.node, edit.at) for edit in copy.knows] == [("hub", 30)]


def test_equal_paths_in_trees_that_are_not_joined_are_two() -> None:
    fleet = plans(("hub:/d", "a:/d"), ("b:/d", "c:/d"))
    known = put_together({"a": answer("a", SEEN), "b": answer("b", SEEN)}, fleet)
    assert [each.conflict.replicas for each in known] == [("a:/d",), ("b:/d",)]
    with pytest.raises(OperatorError, match=r"aren't joined \(a:/d, b:/d\); say --node"):
        decide(known, "f", "winner", None, fleet)
    [(node, request)] = decide(known, "f", "winner", "b", fleet)
    assert (node, request.conflict, request.keep) == ("b", SEEN, "winner")


def test_a_replica_of_a_node_that_did_not_answer_has_no_name() -> None:
    [known] = put_together({"a": answer("a", SEEN)}, plans(*STAR))
    assert [edit.node for edit in known.conflict.sides[0].knows] == ["a", ""]


def held_in_a_star() -> tuple[dict[str, NodePlan], tuple[Known, ...]]:
    fleet = plans(*STAR)
    at_hub, at_b = content("f", "a", 10, a=10), content("f", "b", 20, b=20)
    edge = "t/g/hub:/d~b:/d"
    answers = {
        "hub": answer("hub", held(at_hub, at_b, "b", edge)),
        "a": answer("a"),
        "b": answer("b", held(at_b, at_hub, "hub", edge)),
    }
    return fleet, put_together(answers, fleet)


def test_a_held_conflict_has_the_sides_of_both_ends() -> None:
    _, [known] = held_in_a_star()
    assert known.conflict.held
    assert [(side.origin, side.replicas) for side in known.conflict.sides] == [
        ("b", ("b:/d",)),
        ("a", ("hub:/d",)),
    ]


@pytest.mark.parametrize(("keep", "node"), [("hub", "hub"), ("a", "hub"), ("b", "b"), ("hub:/d", "hub")])
def test_a_held_conflict_is_ended_where_the_content_is(keep: str, node: str) -> None:
    fleet, known = held_in_a_star()
    [(told, request)] = decide(known, "f", keep, None, fleet)
    assert (told, request.keep) == (node, "here")
    assert request.conflict.here is not None
    assert request.conflict.here.origin == ("b" if node == "b" else "a")
    assert set(request.over) == {((2, 10),), ((3, 20),)}


def test_a_source_that_reports_nothing_can_be_kept() -> None:
    fleet = plans(("a:/d", "b:/d"), direction="one-way", target_changes="keep")
    at_a, at_b = content("f", "a", 10, a=10), content("f", "b", 20, b=20)
    reported = held(at_b, at_a, "a", "t/g/a:/d~b:/d")
    [(node, request)] = decide(
        put_together({"a": answer("a"), "b": answer("b", reported)}, fleet), "f", "a", None, fleet
    )
    assert node == "a"
    assert (request.conflict.replica, request.conflict.here) == ("/d", at_a)
    assert at_b.version in request.over


def two_copies() -> tuple[dict[str, NodePlan], tuple[Known, ...]]:
    other = msgspec.structs.replace(SEEN, other=content("f.copy2", "c", 5, hub=31))
    fleet = plans(*STAR)
    return fleet, put_together({"hub": answer("hub", SEEN, other), "a": answer("a", SEEN)}, fleet)


def test_a_path_with_several_copies() -> None:
    fleet, known = two_copies()
    told = decide(known, "f", "both", None, fleet)
    assert [(node, request.conflict.other.path) for node, request in told] == [
        ("a", "f.copy"),
        ("hub", "f.copy2"),
    ]
    with pytest.raises(OperatorError, match=r"2 conflict copies; name the one to keep: f.copy, f.copy2"):
        decide(known, "f", "copy", None, fleet)
    assert [request.keep for _, request in decide(known, "f.copy2", "copy", None, fleet)] == ["copy"]


@pytest.mark.parametrize(
    ("path", "keep", "node", "message"),
    [
        ("g", "winner", None, "there is no conflict at g"),
        ("f", "hub", None, "keep winner, copy or both"),
        ("f", "winner", "b", "b sees no conflict at f; a, hub does"),
    ],
)
def test_what_can_not_be_meant(path: str, keep: str, node: str | None, message: str) -> None:
    fleet, known = two_copies()
    with pytest.raises(OperatorError, match=message):
        decide(known, path, keep, node, fleet)


def test_an_edit_goes_where_it_is_not_undone() -> None:
    fleet = plans(("hub:/d", "a:/d"), direction="one-way")
    known = put_together({"a": answer("a", SEEN), "hub": answer("hub", SEEN)}, fleet)
    orders: list[Order] = decide(known, "f", "winner", None, fleet)
    assert [node for node, _ in orders] == ["hub"]


def test_replicas_that_edges_join_are_one_group() -> None:
    fleet = plans(("a:/d", "b:/d"), ("c:/d", "b:/d"), ("a:/e", "c:/e"))
    groups = joined_replicas(fleet)
    assert groups[ReplicaRef("a", "/d")] == groups[ReplicaRef("b", "/d")] == groups[ReplicaRef("c", "/d")]
    assert groups[ReplicaRef("a", "/e")] == groups[ReplicaRef("c", "/e")] != groups[ReplicaRef("a", "/d")]
