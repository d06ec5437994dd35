"""The leased functions of model 704: which order their registers make, and when it ends.

- With RvrtTms above 0 an order ends RvrtTms seconds after the last write to any register of its function, the timer's
  own included. The values are then those of the reversion registers and the enable is EnaRvrt; where that leaves the
  function enabled, its order holds on the site's lease.
- With RvrtTms 0 an order holds on the site's lease: each write to its function and each change of the controller's
  heartbeat by the host that wrote it renews it; when it runs out the enable drops to 0, so that the master sees it.
- Reactive power is positive where it is injected (over-excited), in 704.VarSet, in 701.Var and in an order alike.
"""

from collections.abc import Callable
from typing import Literal

import msgspec

from controller.model import Order
from controller.utility.sunspec_map import Registers
from controller.utility.sunspec_site import VAR_MAX_PCT, Ratings

W_MAX_PCT = 0  # WSetMod: the set point is WSetPct


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the registers of a function ask for."""

    low_w: int = 0
    high_w: int = 0
    reactive_var: int = 0


Reads = Callable[[Registers, Ratings], Asked]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One leased function. prefix is that of its enable and timer points."""

    name: str  # of the order, and of the function's part of the map
    prefix: str
    values: tuple[str, ...]  # points that have a reversion value
    kind: Literal["target", "limit", "reactive"]
    asked: Reads


def _set_point(registers: Registers, rated: Ratings) -> Asked:
    if registers.number(registers["704.WSetMod"]) == W_MAX_PCT:
        power_w = rated.watts(registers.number(registers["704.WSetPct"]))
    else:
        power_w = registers.number(registers["704.WSet"])
    return Asked(low_w=power_w, high_w=power_w)


def _generation_limit(registers: Registers, rated: Ratings) -> Asked:
    high_w = rated.watts(registers.number(registers["704.WMaxLimPct"]))
    return Asked(low_w=-rated.charge_max_w, high_w=high_w)


def _reactive(registers: Registers, rated: Ratings) -> Asked:
    if registers.number(registers["704.VarSetMod"]) == VAR_MAX_PCT:
        return Asked(reactive_var=rated.vars(registers.number(registers["704.VarSetPct"])))
    return Asked(reactive_var=registers.number(registers["704.VarSet"]))


_ROWS = (
    Row(name="wmaxlim", prefix="704.WMaxLimPct", values=("704.WMaxLimPct",), kind="limit", asked=_generation_limit),
    Row(name="wset", prefix="704.WSet", values=("704.WSet", "704.WSetPct"), kind="target", asked=_set_point),
    Row(name="varset", prefix="704.VarSet", values=("704.VarSet", "704.VarSetPct"), kind="reactive", asked=_reactive),
)


def rows(rated: Ratings) -> tuple[Row, ...]:
    """Return the functions that a site has: no reactive power where no unit tells its apparent power."""
    return tuple(row for row in _ROWS if row.kind != "reactive" or rated.reactive_max_var)


def _host(peer: str) -> str:
    return peer.rpartition(":")[0]


class Control:
    """One leased function with its timer. expires_ms is None while it is disabled."""

    def __init__(self, row: Row, registers: Registers, rated: Ratings, lease_ms: int) -> None:
        self.name = row.name
        self.expires_ms: int | None = None
        self._row, self._registers, self._rated, self._lease_ms = row, registers, rated, lease_ms
        self._enable, self._enable_after = registers[f"{row.prefix}Ena"], registers[f"{row.prefix}EnaRvrt"]
        self._timer, self._remaining = registers[f"{row.prefix}RvrtTms"], registers[f"{row.prefix}RvrtRem"]
        self._reversions = tuple((registers[name], registers[f"{name}Rvrt"]) for name in row.values)
        self._reverts = False  # the reversion timer runs, not the site's lease
        self._peer = self._source = ""
        self._since_ms = 0

    def start(self, now_ms: int, peer: str) -> None:
        """Take up what peer has written: start the timer, or stop it where the function is now disabled."""
        taken_over = self.expires_ms is not None and self._peer != peer
        self._source = f"sunspec {peer}" + (f" (took over from {self._peer})" if taken_over else "")
        self._peer, self._since_ms = peer, now_ms
        reversion_ms = self._registers.number(self._timer) * 1000
        self._reverts = reversion_ms > 0
        self.expires_ms = now_ms + (reversion_ms or self._lease_ms) if self._enabled() else None

    def renew(self, now_ms: int, peer: str) -> bool:
        """Start the site's lease anew. Returns False for a stranger's heartbeat and where no lease runs.

        None runs while the function is disabled or on a reversion timer. A master may beat on another connection than
        it writes on, so hosts are compared and not ports.
        """
        if self.expires_ms is None or self._reverts or _host(peer) != _host(self._peer):
            return False
        self.expires_ms = now_ms + self._lease_ms
        return True

    def lapse(self, now_ms: int) -> bool:
        """End what has run out by now_ms: revert, then drop. Returns whether anything ended."""
        lapsed = False
        while self.expires_ms is not None and now_ms >= self.expires_ms:  # twice at most: reversion, then lease
            lapsed = True
            if self._reverts:
                self._revert(self.expires_ms)
            else:
                self._registers.put(self._enable, 0)
                self.expires_ms = None
        return lapsed

    def count_down(self, now_ms: int) -> None:
        """Show the seconds left until reversion, rounded up; 0 while no reversion timer runs."""
        left_ms = self.expires_ms - now_ms if self._reverts and self.expires_ms is not None else 0
        self._registers.put(self._remaining, -(-left_ms // 1000))

    def order(self) -> Order | None:
        """Return the order that the registers make, None while the function is disabled."""
        if self.expires_ms is None:
            return None
        asked = self._row.asked(self._registers, self._rated)
        return Order(
            name=self._row.name,
            source=self._source,
            kind=self._row.kind,
            # a limit is a share of the inverters' own rating, wherever set points are meant
            domain=self._rated.domain if self._row.kind == "target" else "battery",
            low_w=asked.low_w,
            high_w=asked.high_w,
            starts_ms=self._since_ms,
            expires_ms=self.expires_ms,
            reactive_var=asked.reactive_var,
        )

    def _enabled(self) -> bool:
        return self._registers.number(self._enable) == 1

    def _revert(self, ended_ms: int) -> None:
        for point, reversion in self._reversions:
            self._registers.put(point, self._registers.number(reversion))
        self._registers.put(self._enable, self._registers.number(self._enable_after))
        self._reverts = False
        self._source, self._since_ms = f"sunspec {self._peer} (reverted)", ended_ms
        self.expires_ms = ended_ms + self._lease_ms if self._enabled() else None
