"""The board: the latest reading of every device, the notices that stand, the live orders. It is frozen once a cycle."""

from collections import deque
from collections.abc import Callable

from controller.codec.settled import settled
from controller.link.clock import Clock
from controller.model import AnyReading, FaultName, Inverter, Meter, Missing, Notice, Order, Site, Snapshot

TRAIL_SAMPLES = 64
ORDERS_MAX = 32


class Board:
    """Takes what links and utility protocols bring (Inbox, OrderBook) and gives out snapshots.

    on_change is called when something came that a decision should not wait for: an order, a fresh sample of the POI
    meter, a battery whose limits or alarms changed, a contact that opened or closed. Cell data wait for the cycle.
    """

    def __init__(self, site: Site, clock: Clock, on_change: Callable[[], None] = lambda: None) -> None:
        """Start empty: every device is missing, the utility is silent."""
        self._site, self._clock, self._on_change = site, clock, on_change
        self._stale_after_ms = {device.name: device.stale_after_ms or 0 for device in site.device}
        self._readings: dict[str, AnyReading] = {}
        self._trails: dict[str, deque[tuple[int, int]]] = {
            unit.inverter: deque(maxlen=TRAIL_SAMPLES) for unit in site.unit
        }
        self._notices: dict[tuple[str, str], Notice] = {}
        self._orders: dict[str, Order] = {}
        self._utility_heard_ms: int | None = None
        self._consumption_heard_ms: int | None = None

    def heard(self, reading: AnyReading) -> None:
        """Take a reading; an older one than is known is dropped."""
        known = self._readings.get(reading.device)
        if known is not None and reading.sampled_ms < known.sampled_ms:
            return
        reading = settled(known, reading)
        self._readings[reading.device] = reading
        if isinstance(reading, Inverter):
            trail = self._trails.get(reading.device)
            if trail is not None and reading.power_w is not None:
                trail.append((reading.sampled_ms, reading.power_w))
        elif isinstance(reading, Meter) or known is None or _limits(known) != _limits(reading):
            self._on_change()

    def noticed(self, fault: FaultName, device: str, detail: str | None) -> None:
        """Take a fault that stands (text) or that is over (None)."""
        if detail is None:
            self._notices.pop((fault, device), None)
        else:  # bounded by the faults times the site's devices: none may be dropped, it might be the one that stops
            self._notices[fault, device] = Notice(fault=fault, device=device, detail=detail)

    def order(self, order: Order) -> None:
        """Take an order in place of the one of the same name."""
        if order.name in self._orders or len(self._orders) < ORDERS_MAX:
            self._orders[order.name] = order
            self._on_change()

    def withdraw(self, name: str) -> None:
        """Take an order back."""
        if self._orders.pop(name, None) is not None:
            self._on_change()

    def utility_heard(self) -> None:
        """Note that the utility is there."""
        self._utility_heard_ms = self._clock.now_ms()

    def consumption_heard(self) -> None:
        """Note a heartbeat of whoever limits what is drawn from the grid."""
        self._consumption_heard_ms = self._clock.now_ms()

    def freeze(self, program: str) -> Snapshot:
        """Return the process image of this moment. Expired orders are forgotten."""
        now_ms = self._clock.now_ms()
        self._orders = {name: order for name, order in self._orders.items() if now_ms < order.expires_ms}
        orders = tuple(order for order in self._orders.values() if order.starts_ms <= now_ms)
        readings, missing = [], []
        for device in self._site.device:
            reading = self._readings.get(device.name)
            if reading is None:
                missing.append(Missing(device=device.name))
            elif now_ms - reading.sampled_ms > self._stale_after_ms[device.name]:
                missing.append(Missing(device=device.name, age_ms=now_ms - reading.sampled_ms))
            else:
                readings.append(reading)
        return Snapshot(
            now_ms=now_ms,
            utc_ms=self._clock.utc_ms(),
            readings=tuple(readings),
            missing=tuple(missing),
            orders=orders,
            notices=tuple(self._notices.values()),
            poi_battery_w=self._poi_battery_w({reading.device for reading in readings}),
            program=program,
            utility_silent=self._silent(now_ms, orders),
            consumption_heard_ms=self._consumption_heard_ms,
        )

    def _silent(self, now_ms: int, orders: tuple[Order, ...]) -> bool:
        if any(order.kind == "target" for order in orders):
            return False
        heard_ms = self._utility_heard_ms
        return heard_ms is None or now_ms - heard_ms > self._site.utility.silent_after_s * 1000

    def _poi_battery_w(self, fresh: set[str]) -> int | None:
        """Return the units' power at the time of the POI meter's sample, None where one of them is not known."""
        meter = self._readings.get(self._site.poi.meter)
        if not isinstance(meter, Meter) or meter.device not in fresh:
            return None
        total_w = 0
        for device, trail in self._trails.items():
            inverter = self._readings.get(device)
            if device not in fresh or not isinstance(inverter, Inverter) or inverter.power_w is None:
                return None  # what it told before it fell silent about its power is no power of now
            total_w += _at(trail, meter.sampled_ms)
        return total_w


def _at(trail: deque[tuple[int, int]], at_ms: int) -> int:
    """Return the power at a time, interpolated between samples, the nearest one outside them."""
    after_ms, after_w = trail[-1]
    if at_ms >= after_ms:
        return after_w
    for i in range(len(trail) - 2, -1, -1):
        before_ms, before_w = trail[i]
        if before_ms <= at_ms:
            return before_w + (after_w - before_w) * (at_ms - before_ms) // (after_ms - before_ms)
        after_ms, after_w = before_ms, before_w
    return after_w


def _limits(reading: AnyReading) -> tuple[object, ...]:
    return (
        getattr(reading, "charge_max_ma", None),
        getattr(reading, "discharge_max_ma", None),
        getattr(reading, "charge_allowed", None),
        getattr(reading, "discharge_allowed", None),
        getattr(reading, "contactor_closed", None),
        getattr(reading, "alarms", ()),
        getattr(reading, "closed", ()),
    )
