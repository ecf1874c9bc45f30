"""Moments as people write them, and whom `versions` and `restore` ask."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.kept import parse_moment, show_moment, whom_to_ask
from orchestrator.errors import OperatorError

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "before_s"),
    [
        ("2h", 7200),
        ("2 hours ago", 7200),
        ("3 days ago", 3 * 86_400),
        ("1 day 2 hours ago", 86_400 + 7200),
        ("90 minutes", 5400),
        ("1w", 7 * 86_400),
        ("2026-11-22T11:00Z", 3600),
        ("2026-11-22 13:30+02:00", 1800),
        ("2026-11-22T11:59:59.500Z", 0.5),
    ],
)
def test_a_moment_is_read(text: str, before_s: float) -> None:
    assert parse_moment(text, NOW) == NOW - before_s


def test_a_moment_without_a_zone_is_of_this_machine() -> None:
    local = datetime(2026, 11, 20, 10, 15)  # noqa: DTZ001 - just that is meant
    assert parse_moment("2026-11-20T10:15", NOW) == local.timestamp()


@pytest.mark.parametrize("text", ["", "tomorrow", "5", "-2h", "2 fortnights ago", "22.11.2026", "ago"])
def test_what_is_no_moment_is_refused_with_examples(text: str) -> None:
    with pytest.raises(OperatorError, match="2026-11-22T10:15"):
        parse_moment(text, NOW)


def test_the_future_is_refused() -> None:
    with pytest.raises(OperatorError, match="future"):
        parse_moment("2026-11-23", NOW)


@given(st.integers(0, int(NOW * 1000)), st.integers(-14, 14))
def test_what_is_shown_can_be_given_back(moment_ms: int, zone_h: int) -> None:
    moment = moment_ms / 1000
    assert round(parse_moment(show_moment(moment), NOW) * 1000) == moment_ms
    there = datetime.fromtimestamp(moment, timezone(timedelta(hours=zone_h)))
    assert round(parse_moment(there.isoformat(), NOW) * 1000) == moment_ms


def test_a_node_that_isnt_declared_is_named_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "i.yaml").write_text(
        "apiVersion: syncgraph/v1\nkind: Inventory\nmetadata: {name: f}\n"
        "spec: {nodes: [{name: hub, access: local}]}\n"
    )
    with (
        pytest.raises(OperatorError, match='there is no node hup; did you mean "hub"'),
        whom_to_ask("hup:/x", [tmp_path], None, as_json=False),
    ):
        raise AssertionError("somebody was asked")
