"""What the utility asks by protocols that are not there yet, laid on the controller's own board as their doors will.

An operating envelope, a limit on consumption with its heartbeat, a reserve. Each is an order with the site's lease,
laid anew every second for as long as it is wanted; a utility that says nothing lets them lapse. There is no line that a
fault of the wire could hit, and no such thing in real time, where the controller is another process.
"""

from typing import Protocol

from controller.model import Order, Site
from hil.plant.truth import Asked
from hil.run.utility import REFRESH_S, Wish

FREE_W = 1_000_000_000  # the open end of an interval
SOURCE = "bench"
SOON_S = 1e-6
SEEN = ("envelope_import_w", "envelope_export_w", "consumption_w", "reserve_pct", "reserve_within_s")


class Book(Protocol):
    """Where a door puts what it is asked. app.board.Board is one."""

    def order(self, order: Order) -> None: ...
    def withdraw(self, name: str) -> None: ...
    def consumption_heard(self) -> None: ...


class Extras:
    """The utility's further wishes on one bench."""

    def __init__(self, site: Site, wish: Wish) -> None:
        self._lease_s, self._wish = float(site.utility.lease_s), wish
        self._due_s = 0.0
        self._before: tuple[object, ...] = (None,) * len(SEEN)
        self._until_s: dict[str, float] = {}  # by the order's name
        self._values: dict[str, tuple[float | None, float | None]] = {}
        self._begun_ms: dict[str, int] = {}  # since when each stands as it is
        self._heard_s: float | None = None
        self._reserve_by_ms = 0

    def tick(self, book: Book | None, now_s: float, now_ms: int, *, silent: bool) -> None:
        """Lay what is due: every second, and what changed at once. book None: the controller is down.

        now_s: the bench's time; now_ms: the controller's.
        """
        wish = self._wish
        now = tuple(getattr(wish, name) for name in SEEN)
        if silent or (now_s < self._due_s - SOON_S and now == self._before):
            return
        if (wish.reserve_pct, wish.reserve_within_s) != self._before[-2:]:
            self._reserve_by_ms = now_ms + round(1000 * wish.reserve_within_s) if wish.reserve_within_s else 0
        self._due_s, self._before = now_s + REFRESH_S, now
        if wish.consumption_beats:
            self._heard_s = now_s
            if book is not None:
                book.consumption_heard()
        orders = self._orders(now_s, now_ms)
        for name in ("envelope", "consumption", "reserve"):
            self._lay(book, name, orders.get(name), now_s)

    def asked(self, now_s: float) -> Asked:
        """Return what the site may be taken to know of."""
        held = {name: self._values[name] for name, until_s in self._until_s.items() if now_s < until_s}
        import_w, export_w = held.get("envelope", (None, None))
        return Asked(
            envelope_import_w=import_w,
            envelope_export_w=export_w,
            consumption_w=held.get("consumption", (None, None))[0],
            consumption_age_s=None if self._heard_s is None else now_s - self._heard_s,
            reserve_pct=held.get("reserve", (None, None))[0],
        )

    def _lay(self, book: Book | None, name: str, order: Order | None, now_s: float) -> None:
        wish = self._wish
        if order is None:
            if self._until_s.pop(name, None) is not None and book is not None:
                book.withdraw(f"bench {name}")
            return
        self._until_s[name] = now_s + self._lease_s
        self._values[name] = {
            "envelope": (wish.envelope_import_w, wish.envelope_export_w),
            "consumption": (wish.consumption_w, None),
            "reserve": (wish.reserve_pct, None),
        }[name]
        if book is not None:
            book.order(order)

    def _begun(self, name: str, value: object, now_s: float, now_ms: int) -> int:
        """Return when an order began, in the controller's time; a lease that is renewed begins nothing."""
        if now_s >= self._until_s.get(name, -1.0) or self._values.get(name) != value:
            self._begun_ms[name] = now_ms
        return self._begun_ms[name]

    def _orders(self, now_s: float, now_ms: int) -> dict[str, Order]:
        """Return the orders that are wanted, by name."""
        wish, found = self._wish, dict[str, Order]()
        envelope = (wish.envelope_import_w, wish.envelope_export_w)
        until_ms = now_ms + round(1000 * self._lease_s)
        if wish.envelope_import_w is not None or wish.envelope_export_w is not None:
            found["envelope"] = Order(
                name="bench envelope",
                source=SOURCE,
                kind="envelope",
                domain="poi",
                low_w=-FREE_W if wish.envelope_import_w is None else -round(wish.envelope_import_w),
                high_w=FREE_W if wish.envelope_export_w is None else round(wish.envelope_export_w),
                starts_ms=self._begun("envelope", envelope, now_s, now_ms),
                expires_ms=until_ms,
            )
        if wish.consumption_w is not None:
            found["consumption"] = Order(
                name="bench consumption",
                source=SOURCE,
                kind="consumption",
                domain="poi",
                low_w=-round(wish.consumption_w),
                high_w=FREE_W,
                starts_ms=self._begun("consumption", (wish.consumption_w, None), now_s, now_ms),
                expires_ms=until_ms,
            )
        if wish.reserve_pct is not None:
            found["reserve"] = Order(
                name="bench reserve",
                source=SOURCE,
                kind="reserve",
                domain="battery",
                low_w=0,
                high_w=0,
                soc_bp=round(100 * wish.reserve_pct),
                by_ms=self._reserve_by_ms,
                starts_ms=self._begun("reserve", (wish.reserve_pct, None), now_s, now_ms),
                expires_ms=until_ms,
            )
        return found
