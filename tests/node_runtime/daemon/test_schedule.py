"""Cron as Debian's cron keeps it, at the moments where clocks change."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
import time_machine

from node_runtime.daemon.schedule import CronTrigger, Schedules, next_start, schedule_refused_because

BERLIN = "Europe/Berlin"


def starts(cron: str, zone: str, after: str, count: int) -> list[str]:
    """The next starts, each computed anew from the one before, as the engine does; local time and offset."""
    found: list[str] = []
    moment = datetime.fromisoformat(after).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    for _ in range(count):
        following = next_start(cron, ZoneInfo(zone), moment)
        assert following is not None
        assert following > moment
        moment = following
        found.append(moment.astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M %z"))
    return found


@pytest.mark.parametrize("sunday", ["0", "7", "SUN", "sun"])
def test_sunday_is_0_and_7(sunday: str) -> None:
    assert starts(f"0 6 * * {sunday}", "UTC", "2026-11-20 00:00", 2) == [
        "11-22 06:00 +0000",
        "11-29 06:00 +0000",
    ]


def test_monday_is_1() -> None:
    assert starts("0 6 * * 1", "UTC", "2026-11-20 00:00", 1) == ["11-23 06:00 +0000"]


@pytest.mark.parametrize(
    ("macro", "first"),
    [
        ("@hourly", "11-20 08:00 +0000"),
        ("@daily", "11-21 00:00 +0000"),
        ("@midnight", "11-21 00:00 +0000"),
        ("@weekly", "11-22 00:00 +0000"),
        ("@monthly", "12-01 00:00 +0000"),
        ("@yearly", "01-01 00:00 +0000"),
    ],
)
def test_macros(macro: str, first: str) -> None:
    assert starts(macro, "UTC", "2026-11-20 07:30", 1) == [first]


def test_day_of_month_or_day_of_week() -> None:
    expected = ["11-23 00:00 +0000", "11-30 00:00 +0000", "12-01 00:00 +0000", "12-07 00:00 +0000"]
    assert starts("0 0 1 * MON", "UTC", "2026-11-20 00:00", 4) == expected


def test_a_start_in_the_hour_left_out_comes_right_after_it() -> None:
    expected = ["03-28 02:30 +0100", "03-29 03:00 +0200", "03-30 02:30 +0200"]
    assert starts("30 2 * * *", BERLIN, "2026-03-28 00:00", 3) == expected


def test_a_start_in_the_hour_that_comes_twice_comes_once() -> None:
    expected = ["10-24 02:30 +0200", "10-25 02:30 +0200", "10-26 02:30 +0100"]
    assert starts("30 2 * * *", BERLIN, "2026-10-24 00:00", 3) == expected


def test_asked_within_the_second_pass_the_start_is_tomorrow() -> None:
    second_pass = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)  # 02:10 for the second time
    following = next_start("30 2 * * *", ZoneInfo(BERLIN), second_pass)
    assert following == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


def test_a_frequent_schedule_follows_real_time_through_both_changes() -> None:
    for day in ("2026-03-29 00:45", "2026-10-25 00:45"):
        moment = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(BERLIN)).astimezone(UTC)
        found = [moment := next_start("*/30 * * * *", ZoneInfo(BERLIN), moment) or moment for _ in range(9)]
        assert {later - earlier for earlier, later in pairwise(found)} == {timedelta(minutes=30)}


@pytest.mark.parametrize("zone", ["America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"])
def test_a_daily_start_comes_once_a_day_for_a_year_in_odd_zones(zone: str) -> None:
    days = [each[:5] for each in starts("15 1 * * *", zone, "2026-01-01 00:00", 365)]
    assert len(set(days)) == 365


def test_a_start_missed_in_sleep_is_made_up_once() -> None:
    trigger = CronTrigger("*/5 * * * *", "UTC", 0.0, "edge")
    missed = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
    woken = datetime(2026, 11, 22, 18, 2, tzinfo=UTC)
    assert trigger.get_next_fire_time(missed, woken) == datetime(2026, 11, 22, 18, 5, tzinfo=UTC)


def test_jitter_delays_within_its_bounds_and_differs_between_edges() -> None:
    now = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
    plain = next_start("0 * * * *", ZoneInfo("UTC"), now)
    assert plain is not None
    delays = set()
    for n in range(50):
        trigger = CronTrigger("0 * * * *", "UTC", 120.0, f"edge-{n}")
        fired = trigger.get_next_fire_time(None, now)
        assert fired is not None
        assert timedelta(0) <= fired - plain < timedelta(seconds=120)
        assert trigger.get_next_fire_time(None, now) == fired
        assert trigger.get_next_fire_time(fired, fired) == CronTrigger(
            "0 * * * *", "UTC", 120.0, f"edge-{n}"
        ).get_next_fire_time(None, fired)
        delays.add(fired - plain)
    assert len(delays) > 40


@pytest.mark.parametrize(
    "cron", ["* * * *", "0 0 31 2 *", "61 * * * *", "@often", "", "0 0 * * 8", "0 0 0 * * *"]
)
def test_unkeepable_schedules_are_refused(cron: str) -> None:
    assert schedule_refused_because(cron, "UTC") is not None


@pytest.mark.anyio
async def test_edges_are_set_changed_and_removed() -> None:
    with time_machine.travel(datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)):
        schedules = Schedules()
        schedules.start()
        try:
            schedules.set("a", "0 11 * * *", "UTC", 0.0, lambda: None)
            assert schedules.next_run("a") == datetime(2026, 11, 22, 11, tzinfo=UTC).timestamp()
            schedules.set("a", "0 11 * * *", BERLIN, 0.0, lambda: None)
            assert schedules.next_run("a") == datetime(2026, 11, 23, 10, tzinfo=UTC).timestamp()
            assert schedules.next_run("b") is None
            schedules.remove("a")
            schedules.remove("a")
            assert schedules.next_run("a") is None
        finally:
            schedules.stop()


@pytest.mark.anyio
async def test_an_edge_fires_on_the_event_loop_at_its_moment() -> None:
    fired = asyncio.Event()  # not safe to set from a thread: the test hangs if a thread fires
    where: list[asyncio.AbstractEventLoop] = []

    def fire() -> None:
        where.append(asyncio.get_running_loop())
        fired.set()

    with time_machine.travel(datetime(2026, 11, 22, 10, 59, 59, 800_000, tzinfo=UTC)):
        schedules = Schedules()
        schedules.start()
        try:
            schedules.set("a", "0 11 * * *", "UTC", 0.0, fire)
            async with asyncio.timeout(10):
                await fired.wait()
            assert where == [asyncio.get_running_loop()]
            assert schedules.next_run("a") == datetime(2026, 11, 23, 11, tzinfo=UTC).timestamp()
        finally:
            schedules.stop()
