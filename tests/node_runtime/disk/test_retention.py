"""Which kept versions go: the rule for one path, its laws, and whole stores."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_runtime.disk.retention import GRACE_S, GoneSince, Pruned, judge, prune
from node_runtime.disk.root import Root
from node_runtime.disk.versions import Kept
from schemas.plans import RetentionPlan

NOW_S = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
HOUR_S, DAY_S = 3600.0, 86_400.0


def kept(number: int, age_s: float) -> Kept:
    return Kept(b"f~%d" % number, round((NOW_S - age_s) * 1000), "replaced", 1, 1, 0)


def put(tree: Path, name: str, age_s: float, size: int = 1) -> str:
    """A version of a path, put aside so long ago; its name below the store."""
    moment = datetime.fromtimestamp(NOW_S - age_s, UTC)
    version = f"{name}~{moment:%Y%m%dT%H%M%S}.000"
    path = tree / ".syncgraph" / "versions" / version
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    return version


def stored(tree: Path) -> set[str]:
    top = tree / ".syncgraph" / "versions"
    return {str(p.relative_to(top)) for p in top.rglob("*") if p.is_symlink() or not p.is_dir()}


def pruned(root: Root, retention: RetentionPlan, gone_since: GoneSince = lambda path: None) -> Pruned:
    result = Pruned()
    for _ in prune(root, retention, NOW_S, result, gone_since):
        pass
    return result


def test_a_live_path_keeps_its_newest_versions_however_old(tree: Path, root: Root) -> None:
    (tree / "d").mkdir()
    (tree / "d" / "f").write_bytes(b"live")
    names = [put(tree, "d/f", days * DAY_S) for days in (1, 10, 100, 1000)]
    assert pruned(root, RetentionPlan(versions=3)).removed == 1
    assert stored(tree) == set(names[:3])


def test_a_deleted_path_keeps_what_it_held_and_the_versions_before_until_it_is_too_long_ago(
    tree: Path, root: Root
) -> None:
    names = [put(tree, "f", days * DAY_S) for days in (1, 10, 100, 1000)]
    pruned(root, RetentionPlan(versions=2))
    assert stored(tree) == set(names[:3])
    pruned(root, RetentionPlan(deleted_s=DAY_S))
    assert stored(tree) == set()
    assert os.listdir(tree / ".syncgraph" / "versions") == []


def test_a_path_that_a_user_deleted_counts_from_that_day_on(tree: Path, root: Root) -> None:
    name = put(tree, "f", 100 * DAY_S)
    pruned(root, RetentionPlan(), lambda path: NOW_S - DAY_S if path == b"f" else None)
    assert stored(tree) == {name}
    pruned(root, RetentionPlan())
    assert stored(tree) == set()


def test_a_directory_in_a_files_place_doesnt_make_it_live(tree: Path, root: Root) -> None:
    (tree / "f").mkdir()
    put(tree, "f", 31 * DAY_S)
    pruned(root, RetentionPlan())
    assert stored(tree) == set()


def test_the_size_limit_takes_the_oldest_of_all_paths_first(tree: Path, root: Root) -> None:
    for name in ("a", "d/b", "c"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_bytes(b"live")
    names = {
        hours: put(tree, "a" if hours % 3 else "d/b" if hours % 2 else "c", hours * HOUR_S, 10_000)
        for hours in range(2, 12)
    }
    result = pruned(root, RetentionPlan(versions=100, size_bytes=45_000))
    assert stored(tree) == {name for hours, name in names.items() if hours < 6}
    assert (result.removed, result.kept_bytes, result.over_bytes) == (6, 40_000, 0)


def test_the_size_limit_doesnt_take_the_last_content_of_a_deleted_path(tree: Path, root: Root) -> None:
    last = put(tree, "gone", 20 * DAY_S, 10_000)
    put(tree, "gone", 21 * DAY_S, 10_000)
    fresh = put(tree, "live", GRACE_S / 2, 10_000)
    (tree / "live").write_bytes(b"live")
    result = pruned(root, RetentionPlan(size_bytes=0))
    assert stored(tree) == {last, fresh}
    assert (result.removed, result.over_bytes) == (1, 20_000)


def test_pruning_follows_no_link_and_leaves_what_isnt_a_version(
    tree: Path, root: Root, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f~20200101T000000.000").write_bytes(b"not ours")
    put(tree, "d/f", 100 * DAY_S)
    top = tree / ".syncgraph" / "versions"
    (top / "link").symlink_to(outside)
    (top / "notes~yesterday").write_bytes(b"1")
    (top / "l~20200101T000000.000").symlink_to(outside)  # a version that is a link
    assert pruned(root, RetentionPlan()).removed == 2
    assert stored(tree) == {"link", "notes~yesterday"}
    assert os.listdir(outside) == ["f~20200101T000000.000"]


def test_a_link_in_the_place_of_the_store_is_not_entered(tree: Path, root: Root, tmp_path: Path) -> None:
    outside = tmp_path / "outside" / "versions"
    outside.mkdir(parents=True)
    (outside / "f~20200101T000000.000").write_bytes(b"not ours")
    (tree / ".syncgraph").symlink_to(outside.parent)
    assert pruned(root, RetentionPlan(deleted_s=0, versions=0)).removed == 0
    assert os.listdir(outside) == ["f~20200101T000000.000"]


AGES_S = st.lists(st.floats(-DAY_S, 60 * DAY_S), min_size=1, max_size=8)


@given(
    AGES_S,
    st.booleans(),
    st.floats(0, 40 * DAY_S),
    st.integers(0, 6),
    st.none() | st.floats(0, 60 * DAY_S),
)
def test_what_must_stay_stays(
    ages_s: list[float], live: bool, deleted_s: float, count: int, gone_age_s: float | None
) -> None:
    versions = sorted((kept(*each) for each in enumerate(ages_s)), key=lambda each: -each.when_ms)
    retention = RetentionPlan(deleted_s, count)
    gone_s = None if gone_age_s is None or live else NOW_S - gone_age_s
    verdict = judge(versions, live=live, retention=retention, now_s=NOW_S, gone_s=gone_s)
    going, spare = list(verdict.expired), list(verdict.spare)
    safe = [each for each in versions if each not in going and each not in spare]

    def age_s(each: Kept) -> float:
        return NOW_S - each.when_ms / 1000

    assert all(age_s(each) >= GRACE_S for each in going + spare), "the first hour nothing is taken"
    wanted = deleted_s > min(age_s(versions[0]), gone_age_s if gone_s is not None else float("inf"))
    if not live and wanted:
        assert versions[0] in safe, "the content of a deleted path outweighs even the size limit"
    stays = [each for each in versions if each not in going]
    if live or wanted:
        assert len(stays) >= min(len(versions), count), "as many as were asked for"
    assert stays == versions[: len(stays)], "never a newer one before an older one"
    assert spare == sorted(spare, key=lambda each: each.when_ms)


@pytest.mark.parametrize("live", [False, True])
def test_zero_means_an_hour(live: bool, tree: Path, root: Root) -> None:
    if live:
        (tree / "f").write_bytes(b"live")
    young = put(tree, "f", GRACE_S - 60)
    put(tree, "f", GRACE_S + 60)
    pruned(root, RetentionPlan(deleted_s=0, versions=0))
    assert stored(tree) == {young}
