"""A mass delete over real runtimes: held, shown, approved, and held again the next time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.engine import glance, remove, same, write
from tests.support.waiting import wait_until
from tests.system.test_apply_access import Site, start_site

pytestmark = pytest.mark.system

EDGE = "site/pair/hub~a"
DEADLINE_S = 30.0


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        site = start_site(stack, tmp_path, ("hub", "a"))
        site.write("local", ("a",))
        (site.repository / "topology.yaml").write_text(
            "apiVersion: syncgraph/v1\nkind: Topology\nmetadata: {name: site}\nspec:\n"
            "  inventory: [inventory.yaml]\n"
            "  defaults: {sync: {debounce: 50ms}, guards: {maxDelete: 25%, requireMarker: true}}\n"
            f'  graphs: [{{name: pair, shape: bidirectional, between: ["hub:{tmp_path}/trees/hub",'
            f' "a:{tmp_path}/trees/a"]}}]\n'
        )
        yield site


def end(site: Site, node: str) -> dict[str, Any]:
    done = site.syncgraph("status", site.repository, "--json")
    nodes = {each["node"]: each["status"] for each in json.loads(done.stdout)["nodes"]}
    found: dict[str, Any] = nodes[node]["edges"][0]
    return found


def wait_for_hold(site: Site) -> None:
    wait_until(lambda: end(site, "a")["state"] == "held", "the edge is held", DEADLINE_S)


def test_a_mass_delete_is_held_until_it_is_approved(site: Site) -> None:
    hub, a = site.directory / "trees" / "hub", site.directory / "trees" / "a"
    write(hub, {f"d/{n}": f"content {n}" for n in range(20)})
    assert set(site.outcomes(site.repository).values()) == {"applied"}
    wait_until(lambda: len(glance(a)) == 21 and same(hub, a), "in step", DEADLINE_S)
    assert (a / ".syncgraph" / "marker").is_file()
    layers = site.syncgraph("explain", f"{EDGE}.guards", site.repository).stdout
    assert "guards.maxDelete" in layers
    assert "25%" in layers
    assert "topology.yaml:6" in layers

    (hub / "d").rename(hub / "e")
    wait_until(lambda: same(hub, a), "a renamed directory isn't held", DEADLINE_S)

    for first, last in ((0, 10), (10, 19)):
        for n in range(first, last):
            remove(hub / "e" / str(n))
        wait_for_hold(site)
        shown = site.syncgraph("status", site.repository).stdout
        assert f"syncgraph approve {EDGE}" in shown
        assert f"a {EDGE}: {last - first} deletes held: e/" in shown
        assert len(glance(a)) == 21 - first
        approved = site.syncgraph("approve", "hub~a", site.repository)
        assert approved.returncode == 0, approved.stdout + approved.stderr
        assert "a: approved" in approved.stdout
        wait_until(lambda: same(hub, a), "what was approved is carried out", DEADLINE_S)
        wait_until(lambda: end(site, "a")["state"] == "in-step", "it is in step", DEADLINE_S)
    again = site.syncgraph("approve", "hub~a", site.repository)
    assert again.returncode == 1
    assert "hub~a holds nothing back" in again.stderr
