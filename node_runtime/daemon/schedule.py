"""When scheduled edges start: cron, read as Debian's cron reads it, on apscheduler's engine.

It decides moments, never what happens at them. apscheduler's own crontab isn't used: it counts Monday
as 0, refuses 7, knows no @daily, joins day of month and of week by "and", and fires twice when clocks go
back. Here cronsim computes each moment and apscheduler only waits for it. This is the only door to both.

What cron promises about clocks that change, and is kept: a start in the hour that is left out comes right
after it, one in the hour that comes twice comes once; schedules with "*" in minute or hour follow real
time.
Source: cron(8) of Debian, "NOTES" on daylight saving time.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger
from cronsim import CronSim, CronSimError

from schemas.text import cron_fields

LOOK_S = 60.0  # cron's own step: a start is at most this late after a suspend or a set clock


class CronTrigger(BaseTrigger):  # type: ignore[misc]  # untyped
    """apscheduler's view of one schedule."""

    def __init__(self, cron: str, zone: str, jitter_s: float, seed: str) -> None:
        self._fields = cron_fields(cron)
        self._zone = _zone(zone)
        self._jitter_s = jitter_s
        self._seed = seed

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """The first start after now. Starts that were slept through are thereby one start."""
        after = now if previous_fire_time is None else max(now, previous_fire_time)
        start = next_start(self._fields, self._zone, after)
        return start + self._delay(start) if start else None

    def _delay(self, start: datetime) -> timedelta:
        """Up to the jitter, drawn from edge and start: spread over edges, the same when asked again."""
        drawn = hashlib.sha256(f"{self._seed} {start.timestamp()}".encode()).digest()[:8]
        return timedelta(seconds=self._jitter_s * int.from_bytes(drawn, "big") / 2**64)


class Schedules:
    """The starts of all scheduled edges of one node. Call `start` and `stop` on the event loop."""

    def __init__(self) -> None:
        # Late is better than never: a machine that slept through a start makes it up once when it wakes.
        defaults = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        self._engine = AsyncIOScheduler(timezone=UTC, job_defaults=defaults)
        self._looking: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to fire."""
        self._engine.start()
        self._look()

    def stop(self) -> None:
        """Fire no more."""
        if self._looking is not None:
            self._looking.cancel()
        if self._engine.running:
            self._engine.shutdown(wait=False)

    def set(self, edge: str, cron: str, zone: str, jitter_s: float, fire: Callable[[], None]) -> None:
        """Call `fire` on the event loop at each start of `edge`, instead of whatever was set before."""

        async def start() -> None:  # a plain function would be called in a thread
            fire()

        trigger = CronTrigger(cron, zone, jitter_s, edge)
        self._engine.add_job(start, trigger, id=edge, replace_existing=True)

    def remove(self, edge: str) -> None:
        """Forget an edge; one that isn't set is forgotten already."""
        if self._engine.get_job(edge) is not None:
            self._engine.remove_job(edge)

    def _look(self) -> None:
        """Compare starts with the wall clock: the loop's own stands still while a machine is suspended."""
        self._engine.wakeup()
        self._looking = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def next_run(self, edge: str) -> float | None:
        """When `edge` starts next (Unix time, seconds); None where it isn't set or never starts again."""
        job = self._engine.get_job(edge)
        moment = getattr(job, "next_run_time", None)
        return moment.timestamp() if isinstance(moment, datetime) else None


def next_start(cron: str, zone: ZoneInfo, after: datetime) -> datetime | None:
    """The first moment of a schedule strictly after `after`, in UTC; None where there is none in 50 years."""
    for moment in CronSim(cron_fields(cron), after.astimezone(zone)):
        # cronsim forgets in which pass of a repeated hour it starts, and so may look back an hour.
        start = moment.astimezone(UTC)
        if start > after:
            return start
    return None


def schedule_refused_because(cron: str, zone: str) -> str | None:
    """Why a schedule can't be kept, or None where it can."""
    try:
        fields = cron_fields(cron)
        where = _zone(zone)
        if next_start(fields, where, datetime(2001, 1, 1, tzinfo=UTC)) is None:
            return f"the schedule {cron!r} names a day that never comes"
    except CronSimError as error:
        return f"the schedule {cron!r} can't be read: {error}"
    except ValueError as error:
        return str(error)
    return None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"this machine knows no time zone {name!r}; IANA names are like Europe/Berlin"
        ) from None
