"""Which calendar window is open, the storm reserve's among them.

The wall clock picks windows and nothing else; after a jump they are chosen anew.

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

from controller.model import Order, Site, Storm

MINUTE_MS = 60_000
RELEASED = datetime(2026, 1, 1, tzinfo=UTC)  # the year of this release: a machine without a clock starts long before
SHIFT = timedelta(hours=2)  # the largest change of the clocks: Antarctica/Troll
DAY = timedelta(days=1)
CLOCK_JUMP_MS = 2000  # what the wall clock is trimmed by in a minute is less


class _Window(msgspec.Struct, frozen=True, kw_only=True):
    """One window. starts: its cron line, read as if clocks never changed."""

    starts: CronTrigger
    zone: ZoneInfo
    length: timedelta
    program: str

    def open(self, now: datetime) -> tuple[datetime, datetime] | None:
        """Return beginning and end of the window that is open at now, None where none is. All UTC."""
        local = now.astimezone(self.zone).replace(tzinfo=UTC)
        start = self.starts.get_next_fire_time(None, local - self.length - SHIFT)
        while start is not None and start <= local + SHIFT:
            span = self._utc(start), self._end(start)
            if span[0] <= now < span[1]:
                return span
            start = self.starts.get_next_fire_time(start, start)
        return None

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
        self._windows = [_window(window.start, window.minutes, zone, window.program) for window in site.window]
        self._minute = -1
        self._program = ""
        self._storm = site.storm
        self._storms = _window(site.storm.start, site.storm.minutes, zone) if site.storm.start else None
        self._storm_minute = -1
        self._reserve: Order | None = None

    def program(self, utc_ms: int) -> str:
        """Return the program of the first open window, "" when none is open."""
        if self._windows and utc_ms // MINUTE_MS != self._minute:
            self._minute = utc_ms // MINUTE_MS
            self._program = self._choose(datetime.fromtimestamp(utc_ms / 1000, UTC))
        return self._program

    def reserve(self, utc_ms: int, now_ms: int) -> Order | None:
        """Return the storm reserve while its window is open. now_ms: the monotonic time of utc_ms.

        Its times are monotonic, as of the moment the window was found open; those before the machine's start are
        negative. They are worked out anew once the wall clock has jumped.
        """
        if self._storms is not None and utc_ms // MINUTE_MS != self._storm_minute:
            self._storm_minute = utc_ms // MINUTE_MS
            now = datetime.fromtimestamp(utc_ms / 1000, UTC)
            found = None if now < RELEASED else self._storms.open(now)
            fresh = found and _reserve(self._storm, _ms(found[0]) - utc_ms + now_ms, _ms(found[1]) - utc_ms + now_ms)
            if not _same(self._reserve, fresh):
                self._reserve = fresh
        return self._reserve

    def _choose(self, now: datetime) -> str:
        if now < RELEASED:
            return ""
        return next((window.program for window in self._windows if window.open(now)), "")


def _window(start: str, minutes: int, zone: ZoneInfo, program: str = "") -> _Window:
    starts = CronTrigger.from_crontab(start, timezone=UTC)
    return _Window(starts=starts, zone=zone, length=timedelta(minutes=minutes), program=program)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _reserve(storm: Storm, starts_ms: int, ends_ms: int) -> Order:
    return Order(
        name="calendar storm",
        source="calendar",
        kind="reserve",
        domain="battery",
        low_w=0,
        high_w=0,
        starts_ms=starts_ms,
        expires_ms=ends_ms,
        soc_bp=storm.reserve_pct * 100,
        by_ms=starts_ms + storm.recharge_s * 1000 if storm.recharge_s else 0,
    )


def _same(known: Order | None, fresh: Order | None) -> bool:
    """Return whether both are of one window: the wall clock is trimmed all the time, and what is told must not move."""
    if known is None or fresh is None:
        return known is fresh
    return abs(known.starts_ms - fresh.starts_ms) <= CLOCK_JUMP_MS
