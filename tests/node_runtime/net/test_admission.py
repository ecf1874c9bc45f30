"""The plan as an access list."""

from __future__ import annotations

import pytest

from node_runtime.net.admission import Refusal, admit, callers, dialled
from tests.support.plans import SOMEWHERE, edge_between, plan_of

BY_SPOKE = edge_between("hub:/data", "spoke:/data")
BY_HUB = edge_between("hub:/data", "relay:/data", dials="hub")
LOCAL = edge_between("hub:/data", "hub:/copy")
PLAN = plan_of("hub", BY_SPOKE, BY_HUB, LOCAL)


def test_the_dialling_end_of_an_edge_may_open_it() -> None:
    assert admit(PLAN, "spoke", BY_SPOKE.edge) == BY_SPOKE
    assert admit(PLAN, "hub", LOCAL.edge) == LOCAL


@pytest.mark.parametrize(
    ("peer", "edge", "reason"),
    [
        ("spoke", "t/g/nothing", "has no edge t/g/nothing with spoke"),
        ("stranger", BY_SPOKE.edge, f"has no edge {BY_SPOKE.edge} with stranger"),
        ("relay", BY_SPOKE.edge, f"has no edge {BY_SPOKE.edge} with relay"),
        ("relay", BY_HUB.edge, "is opened by hub, not by relay"),
        ("hub", BY_SPOKE.edge, "isn't hub"),
        ("spoke", LOCAL.edge, f"has no edge {LOCAL.edge} with spoke"),
    ],
)
def test_nobody_else_may(peer: str, edge: str, reason: str) -> None:
    refused = admit(PLAN, peer, edge)
    assert isinstance(refused, Refusal)
    assert reason in refused.reason


def test_without_a_plan_nobody_may() -> None:
    assert isinstance(admit(None, "spoke", BY_SPOKE.edge), Refusal)
    assert callers(None) == frozenset()
    assert dialled(None) == {}


def test_who_connects_to_whom() -> None:
    assert callers(PLAN) == {"spoke"}
    assert dialled(PLAN) == {"relay": SOMEWHERE}
    assert dialled(plan_of("hub", BY_SPOKE, peers={"relay": SOMEWHERE})) == {}


def test_every_edge_of_a_hub_is_found() -> None:
    edges = [edge_between("hub:/data", f"spoke-{n}:/data") for n in range(300)]
    plan = plan_of("hub", *edges)
    assert all(admit(plan, f"spoke-{n}", edge.edge) == edge for n, edge in enumerate(edges))
