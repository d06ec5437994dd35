"""The site file in the judge's own arithmetic, and the time the site is given to put things right."""

from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import Meta

from controller.model import Default, Site, Unit

IDLE_W = 100  # an inverter commanded to 0 W measures within this
METERING_PCT = 1  # of the nameplate: what a meter of class 1 cannot tell apart
ENERGY_SLACK_PCT = 0.1  # of the capacity
EXPECTED_PCT = 5  # of the nameplate: how close to a local program's wish the power must be
WATCHDOG_S = 3600  # of a unit that tells none
STALE_MS = 3500  # of a device that tells none
POLL_MS = 1000
SETTLE_MS = 1000
RESPONSES = 2  # to 1 %: after one response time 10 % of a step are left, after two 1 %
POI_MIN_S, POI_MAX_S, POI_PERIODS = 2.0, 30.0, 2  # hil 4.2

Seconds = Annotated[float, Meta(ge=0, le=3600)]
Writes = Annotated[float, Meta(ge=0)]


class Allowed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the site may take to put things right, and how much it may wear its devices out."""

    # None: twice the meter's period, at least 2 s, at most the 30 s of the UL 1741 CRD (hil 4.2). For a meter that is
    # slower than the site file says: its period + cycle + dead time + response.
    poi_s: Annotated[float, Meta(ge=0, le=POI_MAX_S)] | None = None
    current_s: Seconds = 2.0
    silence_s: Seconds = 2.0  # on top of the age at which a device counts as silent
    expiry_s: Seconds = 2.5  # cycle + settling
    isolation_s: Seconds = 30.0  # the isolation resistance is read with the settings, one of them every few polls
    reaction_s: Seconds = 2.5  # anything else that has to be seen, decided and done
    travel_w_per_s: Annotated[float, Meta(ge=0)] | None = None  # None: the nameplate once a minute
    daily_writes_max: Writes = 5e6  # registers written to one inverter; generous: 58 a second
    profile_writes_max: dict[str, Writes] = {}  # the same for the inverters of a profile


class UnitBounds(msgspec.Struct, frozen=True, kw_only=True):
    """One unit of the site file. Energies are shares of its own capacity, as the controller's rules take them."""

    unit: Unit
    charge_w: float
    discharge_w: float
    near_w: float  # METERING_PCT of the nameplate, and at least IDLE_W
    capacity_wh: float
    floor_wh: float
    reserve_wh: float
    ceiling_wh: float
    error_wh: float  # how far the battery's estimate may be off, as the site declares
    slack_wh: float
    efficiency_ratio: float  # lowest, one way
    settle_s: float  # from a write until 1 % of the step is left
    watchdog_s: float
    stale_s: float  # of the battery
    poll_s: float  # of the slower of inverter and battery
    daily_writes_max: float
    part_ratio: float = 1.0  # of its batteries, where it shares them with other units


class Bounds:
    """The site file's numbers in W, Wh and s, unit by unit and for the site."""

    def __init__(self, site: Site, allowed: Allowed) -> None:
        self.site, self.allowed = site, allowed
        self._devices = {device.name: device for device in site.device}
        self.units = tuple(self._unit(unit) for unit in site.unit)
        self.charge_w = sum(unit.charge_w for unit in self.units)
        self.discharge_w = sum(unit.discharge_w for unit in self.units)
        self.nameplate_w = max(self.charge_w, self.discharge_w)
        self.cycle_s = site.cycle_ms / 1000
        self.meter_stale_s = self._ms(site.poi.meter, "stale_after_ms", STALE_MS) / 1000
        meter_s = self._ms(site.poi.meter, "poll_ms", POLL_MS) / 1000
        self.poi_s = min(POI_MAX_S, max(POI_MIN_S, POI_PERIODS * meter_s)) if allowed.poi_s is None else allowed.poi_s
        # With the meter silent the largest load and the largest generation have to be assumed.
        self.blind_low_w = -max(0.0, site.poi.import_max_w - site.poi.load_max_w)
        self.blind_high_w = max(0.0, site.poi.export_max_w - site.poi.generation_max_w)
        windows = [Default(program=window.program) for window in site.window]
        local = (site.utility.default, Default(program=site.program), *windows)
        fixed_w = [0.0, *(float(row.power_w) for row in local if row.power_w is not None)]
        self._wish_low_w, self._wish_high_w = min(fixed_w), max(fixed_w)
        self._follows_load = any(row.program == "self_consumption" for row in local)

    def wishes_w(self, net_load_w: float) -> tuple[float, float]:
        """Return the least and the most that the local programs could wish of the batteries."""
        low_w, high_w = self._wish_low_w, self._wish_high_w
        return (min(low_w, net_load_w), max(high_w, net_load_w)) if self._follows_load else (low_w, high_w)

    def stale_s(self, device: str) -> float:
        """Return after how long a device counts as silent."""
        return self._ms(device, "stale_after_ms", STALE_MS) / 1000

    def poll_s(self, device: str) -> float:
        """Return how often a device is read."""
        return self._ms(device, "poll_ms", POLL_MS) / 1000

    def _unit(self, unit: Unit) -> UnitBounds:
        energy, allowed, capacity_wh = self.site.energy, self.allowed, float(unit.capacity_wh)
        nameplate_w = _nameplate_w(unit)
        inverter = self._devices.get(unit.inverter)
        profile = "" if inverter is None else inverter.profile
        settle_ms = SETTLE_MS if unit.settle_ms is None else unit.settle_ms
        polls_ms = [self._ms(name, "poll_ms", POLL_MS) for name in (unit.inverter, *unit.batteries)]
        sharing_w = [_nameplate_w(other) for other in self.site.unit if other.batteries == unit.batteries]
        return UnitBounds(
            unit=unit,
            charge_w=unit.charge_max_w,
            discharge_w=unit.discharge_max_w,
            near_w=max(IDLE_W, nameplate_w * METERING_PCT / 100),
            capacity_wh=capacity_wh,
            floor_wh=capacity_wh * energy.floor_pct / 100,
            reserve_wh=capacity_wh * energy.reserve_pct / 100,
            ceiling_wh=capacity_wh * energy.ceiling_pct / 100,
            error_wh=capacity_wh * energy.soc_error_pct / 100,
            slack_wh=capacity_wh * ENERGY_SLACK_PCT / 100,
            efficiency_ratio=unit.efficiency_pct / 100,
            settle_s=RESPONSES * settle_ms / 1000,
            watchdog_s=WATCHDOG_S if unit.watchdog_s is None else unit.watchdog_s,
            stale_s=max(self.stale_s(name) for name in unit.batteries),
            poll_s=max(polls_ms) / 1000,
            daily_writes_max=allowed.profile_writes_max.get(profile, allowed.daily_writes_max),
            part_ratio=nameplate_w / max(1, sum(sharing_w)) if len(sharing_w) > 1 else 1.0,
        )

    def _ms(self, device: str, key: str, missing_ms: int) -> int:
        told_ms: int | None = getattr(self._devices.get(device), key, None)
        return missing_ms if told_ms is None else told_ms


def _nameplate_w(unit: Unit) -> int:
    return max(unit.charge_max_w, unit.discharge_max_w)


def listed(numbers: Iterable[float]) -> str:
    """Return numbers in words: one where all are the same, else all of them."""
    words = [f"{number:.0f}" for number in numbers]
    return words[0] if len(set(words)) == 1 else ", ".join(words)
