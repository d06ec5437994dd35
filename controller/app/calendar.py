"""Which calendar window is open. The wall clock picks windows and nothing else; after a jump they are chosen anew."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

from controller.model import Site

MINUTE_MS = 60_000


class Calendar:
    """The site's windows. Cron lines are read by APScheduler's trigger, which knows time zones and their shifts."""

    def __init__(self, site: Site) -> None:
        """Take the windows of the site file."""
        zone = ZoneInfo(site.timezone)
        self._windows = [
            (CronTrigger.from_crontab(window.start, timezone=zone), timedelta(minutes=window.minutes), window.program)
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
        for trigger, length, program in self._windows:
            opened = trigger.get_next_fire_time(None, now - length + timedelta(milliseconds=1))
            if opened is not None and opened <= now:
                return str(program)
        return ""
