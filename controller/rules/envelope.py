"""Class 2: the operating envelope that the network operator sends for import and export at the POI.

Of several envelopes in force the narrowest counts on each side; where two leave nothing between them, the one that
began last. While none is in force the site file's defaults hold: silence ends in the default and never in none. A
narrower envelope holds at once, a wider one comes at the site file's rate, and a start begins with the narrower of the
default and what is in force. With the load not known the largest load and generation are assumed, and nothing forces
the batteries to move.
"""

from controller.model import Limit, Operated, Order, Sight, Site, Snapshot
from controller.rules.at_poi import behind_poi, meet, room_w, told


def operated(site: Site, before: Operated | None, snapshot: Snapshot) -> Operated | None:
    """Return the envelope in force in the signs of the POI (low_w = -import), None where the site has no such scheme.

    A side whose default is left out has the POI's own limit for it; with both left out there is no scheme.
    """
    poi = site.poi
    import_w, export_w = poi.envelope.import_default_w, poi.envelope.export_default_w
    if import_w is None and export_w is None:
        return None
    default_low_w = -poi.import_max_w if import_w is None else -import_w
    default_high_w = poi.export_max_w if export_w is None else export_w
    orders = [order for order in snapshot.orders if order.kind == "envelope" and order.domain == "poi"]
    low_w, high_w = _narrowest(orders) if orders else (default_low_w, default_high_w)
    if before is None:
        if max(low_w, default_low_w) <= min(high_w, default_high_w):
            low_w, high_w = max(low_w, default_low_w), min(high_w, default_high_w)
        return Operated(low_w=low_w, high_w=high_w, at_ms=snapshot.now_ms)
    if low_w >= before.low_w and high_w <= before.high_w:
        return Operated(low_w=low_w, high_w=high_w, at_ms=snapshot.now_ms)
    rate_w_per_s = poi.envelope.ramp_w_per_s
    since_ms = min(before.at_ms, snapshot.now_ms)
    step_w = rate_w_per_s * (snapshot.now_ms - since_ms) // 1000
    return Operated(
        low_w=max(low_w, before.low_w - step_w),
        high_w=min(high_w, before.high_w + step_w),
        # Only the time that whole watts take, rounded up: a slow rate loses a millisecond a cycle and is never faster.
        at_ms=since_ms - -step_w * 1000 // rate_w_per_s,
    )


def limits(sight: Sight) -> list[Limit]:
    """Return one interval for the batteries together, none where the site has no envelope."""
    found = sight.operated
    if found is None:
        return []
    low_w, high_w = meet(*room_w(behind_poi(sight), -found.low_w, found.high_w))
    because = f"operating envelope: import at most {-found.low_w} W, export at most {found.high_w} W; {told(sight)}"
    return [Limit(rule="envelope", priority=2, low_w=low_w, high_w=high_w, because=because)]


def _narrowest(orders: list[Order]) -> tuple[int, int]:
    low_w, high_w = max(order.low_w for order in orders), min(order.high_w for order in orders)
    if low_w <= high_w:
        return low_w, high_w
    newest = max(orders, key=lambda order: order.starts_ms)
    return newest.low_w, newest.high_w
