"""Which calendar window is open. The wall clock picks windows and nothing else; after a jump they are chosen anew.

Laws:
- A window opens when local clocks show its start. A time that comes twice is meant the first time; one that is skipped
  is counted from before the change, so 02:30 is 03:30 on that day (RFC 5545, 3.3.5).
- It lasts real minutes. A whole day is a day of the calendar, of 23 or 25 hours at a change (RFC 5545, 3.3.6).
- Before the wall clock has been set no window is open: a date before RELEASED is none.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
from apscheduler.triggers.cron import CronTrigger

from controller.model import Site

MINUTE_MS = 60_000
RELEASED = datetime(2026, 1, 1, tzinfo=UTC)  # the year of this release: a machine without a clock starts long before
SHIFT = timedelta(hours=2)  # the largest change of the clocks: Antarctica/Troll
DAY = timedelta(days=1)


class _Window(msgspec.Struct, frozen=True, kw_only=True):
    """One window. starts: its cron line, read as if clocks never changed."""

    starts: CronTrigger
    zone: ZoneInfo
    length: timedelta
    program: str

    def open(self, now: datetime) -> bool:
        """Tell whether the window is open at now, UTC."""
        local = now.astimezone(self.zone).replace(tzinfo=UTC)
        start = self.starts.get_next_fire_time(None, local - self.length - SHIFT)
        while start is not None and start <= local + SHIFT:
            if self._utc(start) <= now < self._end(start):
                return True
            start = self.starts.get_next_fire_time(start, start)
        return False

    def _end(self, start: datetime) -> datetime:
        days = self.length // DAY * DAY
        return self._utc(start + days) + (self.length - days)

    def _utc(self, local: datetime) -> datetime:
        return local.replace(tzinfo=self.zone, fold=0).astimezone(UTC)


class Calendar:
    """The site's windows. Cron lines are read by APScheduler's trigger."""

    def __init__(self, site: Site) -> None:
        """Take the windows of the site file."""
        zone = ZoneInfo(site.timezone)
        self._windows = [
            _Window(
                starts=CronTrigger.from_crontab(window.start, timezone=UTC),
                zone=zone,
                length=timedelta(minutes=window.minutes),
                program=window.program,
            )
            for window in site.window
        ]
        self._minute = -1
        self._program = ""

    def program(self, utc_ms: int) -> str:
        """Return the program of the first open window, "" when none is open."""
        if self._windows and utc_ms // MINUTE_MS != self._minute:
            self._minute = utc_ms // MINUTE_MS
            self._program = self._choose(datetime.fromtimestamp(utc_ms / 1000, UTC))
        return self._program

    def _choose(self, now: datetime) -> str:
        if now < RELEASED:
            return ""
        return next((window.program for window in self._windows if window.open(now)), "")
