"""The last door before a plan runs: what no signature makes acceptable."""

from __future__ import annotations

import msgspec
import pytest

from node_runtime.daemon.plan_rules import local_path, plan_refused_because
from schemas.plans import (
    ConflictPlan,
    ConflictRule,
    GuardPlan,
    NodePlan,
    PeerAddress,
    RetentionPlan,
    SyncPlan,
)
from tests.support.plans import edge_between, plan_of

HOME = "/home/sync"
STATE = "/var/lib/syncgraph-node"


def refusal(plan: NodePlan) -> str | None:
    return plan_refused_because(plan, "hub", HOME, STATE)


GOOD = {
    "nothing to do": plan_of("hub"),
    "one replica on three edges": plan_of(
        "hub", *(edge_between("hub:/data", f"s{n}:/data") for n in range(3))
    ),
    "neighbours": plan_of("hub", edge_between("hub:/data", "s:/x"), edge_between("hub:/data-2", "s:/y")),
    "home": plan_of("hub", edge_between("hub:~/data", "s:~/data")),
    "both ends here": plan_of("hub", edge_between("hub:/a", "hub:/b")),
    "dialling": plan_of("hub", edge_between("hub:/a", "s:/a", dials="hub")),
    "odd names": plan_of("hub", edge_between("hub:/da ta/…/.hidden/..more", "s:/a")),
    "a schedule": plan_of(
        "hub", edge_between("hub:/a", "s:/a", sync=SyncPlan("scheduled", "@daily", "Europe/Berlin", 90.0))
    ),
    "a peer's path is the peer's affair": plan_of("hub", edge_between("hub:/a", "s:relative")),
}


@pytest.mark.parametrize("case", GOOD)
def test_taken(case: str) -> None:
    assert refusal(GOOD[case]) is None


def here(path: str) -> NodePlan:
    return plan_of("hub", edge_between(f"hub:{path}", "s:/data"))


def timed(**sync: object) -> NodePlan:
    return plan_of("hub", edge_between("hub:/a", "s:/a", sync=SyncPlan(**sync)))  # type: ignore[arg-type]


UNSORTED = plan_of("hub", edge_between("hub:/a", "s:/a"), edge_between("hub:/b", "s:/b"))
BAD = {
    "another node": (plan_of("spoke"), "for node spoke"),
    "unsorted": (msgspec.structs.replace(UNSORTED, edges=UNSORTED.edges[::-1]), "sorted"),
    "twice": (msgspec.structs.replace(UNSORTED, edges=UNSORTED.edges[:1] * 2), "twice"),
    "an edge of others": (plan_of("hub", edge_between("a:/x", "b:/x")), "neither is this node"),
    "a loop": (plan_of("hub", edge_between("hub:/a", "hub:/a")), "the same replica"),
    "a third dials": (plan_of("hub", edge_between("hub:/a", "s:/a", dials="t")), "dialled by t"),
    "retention below zero": (
        plan_of("hub", edge_between("hub:/a", "s:/a", retention=RetentionPlan(versions=-1))),
        "retention",
    ),
    "endless retention": (
        plan_of("hub", edge_between("hub:/a", "s:/a", retention=RetentionPlan(float("inf")))),
        "retention",
    ),
    "no address": (
        msgspec.structs.replace(plan_of("hub", edge_between("hub:/a", "s:/a", dials="hub")), peers={}),
        "doesn't say where",
    ),
    "port 0": (plan_of("hub", peers={"s": PeerAddress("s.example.net", 0)}), "can't be dialled"),
    "port 65536": (plan_of("hub", peers={"s": PeerAddress("s.example.net", 65536)}), "can't be dialled"),
    "no host": (plan_of("hub", peers={"s": PeerAddress("", 22)}), "can't be dialled"),
    "prefers nobody": (
        plan_of("hub", edge_between("hub:/a", "s:/a", conflict=ConflictPlan("prefer", "t"))),
        "prefer t",
    ),
    "prefers nobody for some paths": (
        plan_of(
            "hub",
            edge_between(
                "hub:/a", "s:/a", conflict=ConflictPlan(rules=(ConflictRule("*.x", "prefer", "t"),))
            ),
        ),
        "prefer t",
    ),
    "a limit that is none": (
        plan_of("hub", edge_between("hub:/a", "s:/a", guards=GuardPlan("many"))),
        "its maxDelete is 'many'",
    ),
    "relative": (here("data"), "must be absolute"),
    "another's home": (here("~root/data"), "must be absolute"),
    "dots": (here("/data/../etc"), 'holds ".."'),
    "dots in home": (here("~/../root"), 'holds ".."'),
    "NUL": (here("/da\0ta"), "NUL"),
    "a slash at the end": (here("/data/"), "isn't written plainly"),
    "two slashes": (here("//data"), "isn't written plainly"),
    "a dot": (here("/./data"), "isn't written plainly"),
    "everything": (here("/"), "whole file system"),
    "all of home": (here("~/"), "whole file system"),
    "the state": (here(STATE), "overlaps this node's state"),
    "inside the state": (here(f"{STATE}/plans"), "overlaps this node's state"),
    "around the state": (here("/var/lib"), "overlaps this node's state"),
    "nested": (
        plan_of("hub", *(edge_between(f"hub:{path}", "s:/a") for path in ("/data", "/data-2", "/data/x"))),
        "/data/x lies inside the replica /data",
    ),
    "deeply nested": (
        plan_of("hub", *(edge_between(f"hub:{path}", "s:/a") for path in ("/data", "/data/x/y/z"))),
        "lies inside",
    ),
    "nested through home": (
        plan_of("hub", edge_between("hub:~/a", "s:/a"), edge_between(f"hub:{HOME}/a/b", "s:/b")),
        "lies inside the replica ~/a",
    ),
    "two names": (
        plan_of("hub", edge_between("hub:~/a", "s:/a"), edge_between(f"hub:{HOME}/a", "s:/b")),
        "one directory under two names",
    ),
    "nested ends": (plan_of("hub", edge_between("hub:/a", "hub:/a/b")), "lies inside"),
    "a schedule that isn't": (timed(mode="scheduled", schedule="every day"), "five fields"),
    "a minute too many": (timed(mode="scheduled", schedule="60 * * * *"), "minute"),
    "a day that never comes": (timed(mode="scheduled", schedule="0 0 31 2 *"), "schedule"),
    "no such zone": (timed(mode="scheduled", schedule="@daily", time_zone="Mars/Olympus"), "time zone"),
    "a zone that is a path": (timed(mode="scheduled", schedule="@daily", time_zone="../passwd"), "time zone"),
    "no schedule": (timed(mode="scheduled"), "missing"),
    "a schedule unasked": (timed(mode="once", schedule="@daily"), "its mode is once"),
    "a negative debounce": (timed(debounce_s=-1.0), "debounce"),
    "an endless rescan": (timed(rescan_s=float("inf")), "rescan"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused(case: str) -> None:
    plan, reason = BAD[case]
    said = refusal(plan)
    assert said is not None
    assert reason in said


def test_home_is_the_runtimes_own() -> None:
    assert local_path("~/data", HOME) == "/home/sync/data"
    assert local_path("/data", HOME) == "/data"
