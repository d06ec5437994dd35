"""Class 2: charging from the grid stays within a limit with heartbeat and failsafe (EEBUS LPC, section 14a EnWG).

The site's own surplus may always be stored, so charging may go to the limit plus the surplus; nothing forces a
discharge. With the load not known there is no surplus.

Who limits tells with a heartbeat that it is there (control 1.3, evcc's numbers). The failsafe limit holds from a start
on (init) and when the heartbeat has been lost (failsafe). Out of failsafe leads a heartbeat with a limit that was
written after the loss, at once. Else the failsafe limit holds for its whole least duration, and then until a heartbeat
has been there for 120 s without a limit. LPC lets a site without a heartbeat go on unlimited after the least duration;
this one does not: it stays in failsafe until it is heard again. A limit whose lease runs and which is the narrower one
holds in init and failsafe, too: silence never widens.
"""

from typing import Literal

from controller.model import Consumed, Limit, Order, Sight, Site, Snapshot
from controller.rules.unbounded import UNBOUNDED_W

WAITS_MS = 120_000  # for a limit after the first heartbeat (LPC-921)

Phase = Literal["init", "unlimited", "limited", "failsafe"]


def consumed(site: Site, before: Consumed, snapshot: Snapshot) -> Consumed:
    """Return where the limit stands after this snapshot. init: since_ms is when a heartbeat came back, now without one.

    limit_w None = unlimited, as always where the site file has no failsafe limit.
    """
    failsafe_w, now_ms = site.poi.consumption.failsafe_w, snapshot.now_ms
    if failsafe_w is None:
        since_ms = before.since_ms if before.phase == "unlimited" else now_ms
        return Consumed(phase="unlimited", since_ms=since_ms)
    orders = [order for order in snapshot.orders if order.kind == "consumption"]
    heard_ms = snapshot.consumption_heard_ms
    heard = heard_ms is not None and now_ms - heard_ms <= site.poi.consumption.heartbeat_s * 1000
    phase = _phase(site, before, orders, now_ms) if heard else "init" if before.phase == "init" else "failsafe"
    waits = phase == "init" and not (heard and before.since_ms)
    asked_w = min((max(0, -order.low_w) for order in orders), default=None)
    limit_w = asked_w
    if phase in ("init", "failsafe"):
        limit_w = failsafe_w if asked_w is None else min(failsafe_w, asked_w)
    since_ms = now_ms if phase != before.phase or waits else before.since_ms
    return Consumed(phase=phase, since_ms=since_ms, limit_w=limit_w)


def limits(sight: Sight) -> list[Limit]:
    """Return one interval for the batteries together, none where nothing limits what is drawn."""
    most_w = sight.consumption_w
    if most_w is None:
        return []
    surplus_w = 0 if sight.load_high_w is None else max(0, -sight.load_high_w)
    because = f"at most {most_w} W may be drawn from the grid to charge, and {surplus_w} W are the site's own surplus"
    return [
        Limit(rule="consumption_limit", priority=2, low_w=-(most_w + surplus_w), high_w=UNBOUNDED_W, because=because)
    ]


def _phase(site: Site, before: Consumed, orders: list[Order], now_ms: int) -> Phase:
    """Return the phase while a heartbeat is heard."""
    lasted_ms = now_ms - before.since_ms
    if before.phase == "failsafe":
        if any(order.starts_ms > before.since_ms for order in orders):
            return "limited"
        return "init" if lasted_ms >= site.poi.consumption.failsafe_min_s * 1000 else "failsafe"
    if orders:
        return "limited"
    if before.phase == "init" and (not before.since_ms or lasted_ms < WAITS_MS):
        return "init"
    return "unlimited"
