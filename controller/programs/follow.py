"""Class 5: follow the utility's orders while their leases run."""

from controller.model import Limit, Order, Sight


def order_limits(sight: Sight) -> list[Limit]:
    """Return the intervals of the live cease and limit orders. One at the POI narrows by the worst load."""
    found = []
    for order in sight.snapshot.orders:
        if order.kind == "cease":
            because = f"{order.source} ordered the site to cease"
            found.append(Limit(rule="utility_cease", priority=5, low_w=0, high_w=0, because=because))
        elif order.kind == "limit":
            found.append(_limit(sight, order))
    return found


def target(sight: Sight) -> Limit | None:
    """Return the newest live target as the batteries' power, None where there is none."""
    targets = [order for order in sight.snapshot.orders if order.kind == "target"]
    if not targets:
        return None
    order = max(targets, key=lambda o: o.starts_ms)
    if order.domain == "battery":
        because = f"{order.source} asks {order.low_w:+d} W of the batteries"
        return Limit(rule="follow", priority=5, low_w=order.low_w, high_w=order.high_w, because=because)
    if sight.load_w is None:
        because = f"{order.source} asks {order.low_w:+d} W at the POI, but the load behind it is not known"
        return Limit(rule="follow", priority=5, low_w=0, high_w=0, because=because)
    load_w = sight.load_w
    because = f"{order.source} asks {order.low_w:+d} W at the POI, where load less generation takes {load_w} W"
    return Limit(rule="follow", priority=5, low_w=order.low_w + load_w, high_w=order.high_w + load_w, because=because)


def _limit(sight: Sight, order: Order) -> Limit:
    because = f"{order.source} limits the {order.domain} to {order.low_w:+d} .. {order.high_w:+d} W"
    low_w, high_w = order.low_w, order.high_w
    if order.domain == "poi":
        poi = sight.site.poi
        load_low_w = -poi.generation_max_w if sight.load_low_w is None else sight.load_low_w
        load_high_w = poi.load_max_w if sight.load_high_w is None else sight.load_high_w
        low_w, high_w = low_w + load_high_w, high_w + load_low_w
        if sight.load_low_w is None:
            low_w, high_w = min(0, low_w), max(0, high_w)
        if low_w > high_w:
            low_w = high_w = (low_w + high_w) // 2
    return Limit(rule="utility_limit", priority=5, low_w=low_w, high_w=high_w, because=because)
