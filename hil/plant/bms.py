"""The battery management system of a pack: what it tells, what it permits, and when it opens the contactor.

It measures the pack and knows nothing else: its state of charge is an estimate (hil.plant.soc_estimate), its limits
follow temperature, estimate and cell voltages, its watches (hil.plant.bms_watch) have delays, its contactor
(hil.plant.contactor) a sequence. What it permits is not what is obeyed: an inverter that does not listen goes on until
a watch trips.

Full is the highest cell at its charge voltage with a current that has gone down to the tail; empty is the lowest cell
likewise, or its alarm. Both set the estimate right. Between full and recharge_soc no charge is permitted.

Sources of the defaults: limits by state of charge at the top as FENECON Home has them in OpenEMS, their rise, 20 A/s of
five modules, as the Powercube there; force charge as Pylontech LV V1.2.
"""

from typing import Annotated

import msgspec

from hil.plant.bms_watch import ALARM, TRIP, WARNING, Watch, rows
from hil.plant.chemistry import Points, interpolated
from hil.plant.contactor import LATE_S, NEVER_S, Contactor, ContactorSpec
from hil.plant.pack import Pack
from hil.plant.soc_estimate import EstimateSpec, SocEstimate

Soc = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
NEAR_V = 0.02  # of a limit of voltage: there
BALANCED_V = 0.010  # between the cells: balancing is done
CHARGING_PU = 0.02  # of the largest current: more than this is charging


class BmsSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the BMS permits and when it acts. Curves give the share of the largest current, 0..1, both ends level.

    module_max_a, limit_rise_a_per_s, balance_a: of one module; the largest current both ways, the rate at which a limit
    comes back, and what is bled from a high cell. tail_pct: of the capacity per hour, the current at which charging and
    discharging count as ended; settle_s: for how long. retry_s: how long a trip outlasts its cause.
    full_wanted_after_*: without a full charge for this long, or this many times the capacity in and out, it wants one.
    """

    module_max_a: Annotated[float, msgspec.Meta(gt=0, le=2000)] = 50.0
    charge_by_c: Points = ((0.0, 0.0), (5.0, 0.2), (15.0, 1.0), (45.0, 1.0), (55.0, 0.0))
    discharge_by_c: Points = ((-20.0, 0.0), (0.0, 1.0), (50.0, 1.0), (60.0, 0.0))
    charge_by_soc: Points = ((0.96, 1.0), (0.97, 0.625), (0.98, 0.4), (0.99, 0.2), (1.0, 0.05))
    discharge_by_soc: Points = ((0.01, 0.0), (0.05, 1.0))
    limit_rise_a_per_s: Annotated[float, msgspec.Meta(gt=0)] = 4.0
    tail_pct: Annotated[float, msgspec.Meta(gt=0, le=50)] = 5.0
    settle_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 30.0
    recharge_soc: Soc = 0.97
    force_charge_from_soc: Soc = 0.05
    force_charge_until_soc: Soc = 0.10
    full_wanted_after_s: Annotated[float, msgspec.Meta(gt=0)] = 30 * 86_400.0
    full_wanted_after_cycles: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    balance_a: Annotated[float, msgspec.Meta(ge=0, le=100)] = 0.1
    retry_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 60.0
    estimate: EstimateSpec = EstimateSpec()
    contactor: ContactorSpec = ContactorSpec()

    def __post_init__(self) -> None:
        for curve in (self.charge_by_c, self.discharge_by_c, self.charge_by_soc, self.discharge_by_soc):
            if len(curve) < 2 or [x for x, _ in curve] != sorted({x for x, _ in curve}):
                raise ValueError("a curve of a BMS has two points or more, each further right than the one before")


class Bms:
    """The BMS at work. Limits are magnitudes in A and V at the pack's terminals.

    Faults that are here, as plain attributes: hold_soc (told state of charge stands still), limits_zero, force_open,
    isolation_lost, never_limits (permits all and never trips: a mutant). As calls: jump_soc, lose_calibration.
    wants_force, wants_full: it asks for a forced or a full charge for reasons of its own, whatever the state of charge.
    """

    def __init__(self, spec: BmsSpec, pack: Pack) -> None:
        self.spec, self.pack = spec, pack
        self.hold_soc = self.limits_zero = self.force_open = self.isolation_lost = self.never_limits = False
        self.wants_force = self.wants_full = False
        self._modules = pack.spec.modules
        self.current_max_a = self._modules * spec.module_max_a
        charge_pct = pack.chemistry.charge_pct
        self.estimate = SocEstimate(spec.estimate, new_ah=pack.new_ah, charge_pct=charge_pct, true_soc=pack.soc)
        self.contactor = Contactor(spec.contactor)
        self._watches = tuple(Watch(row, spec.retry_s) for row in rows(pack.chemistry, spec.contactor.open_after_s))
        self._opens_when_silent = spec.contactor.when_silent == "open"
        self._tail_a = pack.new_ah * spec.tail_pct / 100
        self._low_v, self._high_v = pack.cell_min_v, pack.cell_max_v
        self._silent_s = self._ended_s = self._since_full_s = self._through_ah = 0.0
        self._full = False
        self._low = self.balancing = False
        self.alarms: frozenset[str] = frozenset()
        self.warnings: frozenset[str] = frozenset()
        self._tripped, self._watch_due_s = False, NEVER_S
        self._blocked: frozenset[str] = frozenset()
        self.due_s = NEVER_S  # until the next thing that happens by itself
        self.charge_max_a = self.discharge_max_a = 0.0
        self.soc_told = self.estimate.told_soc
        self._permit(NEVER_S)
        self._schedule()

    @property
    def closed(self) -> bool:
        """Whether current can flow."""
        return self.contactor.closed

    @property
    def force_charge(self) -> bool:
        """Whether it is so low that it asks to be charged at once."""
        return self._low or self.wants_force

    @property
    def full_charge_wanted(self) -> bool:
        """Whether the last full charge is too long ago."""
        cycles = self._through_ah / (2 * self.estimate.capacity_ah)
        return (
            self.wants_full
            or self._since_full_s >= self.spec.full_wanted_after_s
            or cycles >= self.spec.full_wanted_after_cycles
        )

    @property
    def busy(self) -> bool:
        """Whether the contactor moves or a watch is on its way to an alarm."""
        return self.contactor.due_s < NEVER_S or self._watch_due_s < NEVER_S

    def keepalive(self) -> None:
        """Someone was heard on the bus."""
        self._silent_s = 0.0
        self._schedule()

    def jump_soc(self, points_pct: float) -> None:
        """Tell and count another state of charge from now on, by this many points."""
        self.estimate.set(self.estimate.soc + points_pct / 100)

    def lose_calibration(self) -> None:
        """Forget the count and take the state of charge that an idle cell of the voltage now would have."""
        curve = tuple((volts, soc) for soc, volts in self.pack.chemistry.open_v)
        self.estimate.set(interpolated(curve, self.pack.pack_v / self.pack.spec.cells))

    def moved(self, by_soc: float) -> None:
        """Take note that the pack was put at another state of charge; the estimate goes along and keeps its error."""
        self.estimate.set(self.estimate.soc + by_soc)
        self._full, self._ended_s = False, 0.0
        self._low_v, self._high_v = self.pack.cell_min_v, self.pack.cell_max_v
        if not self.hold_soc:
            self.soc_told = self.estimate.told_soc
        self._permit(NEVER_S)

    def step(self, dt_s: float) -> None:
        """Let dt_s pass, at most due_s, over which the pack was as it is."""
        amps = self.pack.pack_a
        self._low_v, self._high_v = self.pack.cell_min_v, self.pack.cell_max_v
        self._silent_s += dt_s
        self._since_full_s += dt_s
        self._through_ah += abs(amps) * dt_s / 3600
        self.estimate.step(dt_s, amps)
        if not self.hold_soc:
            self.soc_told = self.estimate.told_soc
        if self.never_limits:
            self.alarms = self.warnings = self._blocked = frozenset()
            self._tripped, self._watch_due_s = False, NEVER_S
        else:
            self._watch(dt_s)
        silent = self._opens_when_silent and self._silent_left_s <= LATE_S
        self.contactor.step(dt_s, not (self._tripped or self.force_open or silent))
        self._find_ends(dt_s)
        self._permit(dt_s)
        self._balance()
        self._schedule()

    def _values(self) -> tuple[float, ...]:
        """Return what is watched, in the order of the rows of hil.plant.bms_watch."""
        pack, celsius = self.pack, self.pack.temperature_c
        load_pu = pack.pack_a / self.current_max_a
        return (
            self._high_v,
            -self._low_v,
            pack.cell_c,
            -celsius,
            float(celsius < 0 and load_pu < -CHARGING_PU),
            load_pu,
            -load_pu,
            self._high_v - self._low_v,
            float(self.isolation_lost),
            self._silent_s if self._opens_when_silent else 0.0,
            float(self.force_open),
        )

    def _watch(self, dt_s: float) -> None:
        changed, due_s = False, NEVER_S
        for watch, value in zip(self._watches, self._values(), strict=True):
            if watch.quiet and value < watch.lowest_value:
                continue
            level = watch.level
            watch.step(dt_s, value)
            changed |= watch.level != level
            due_s = min(due_s, watch.due_s)
        self._watch_due_s = due_s
        if changed:
            self._raise()

    def _raise(self) -> None:
        """Say what stands, and what it means."""
        standing = [watch for watch in self._watches if watch.level >= ALARM]
        self.alarms = frozenset(watch.row.name for watch in standing)
        warned = frozenset(watch.row.name for watch in self._watches if watch.level == WARNING)
        self.warnings = warned - self.alarms
        self._tripped = any(watch.level == TRIP for watch in standing)
        self._blocked = frozenset(watch.row.blocks for watch in standing)

    def _find_ends(self, dt_s: float) -> None:
        """Set the estimate right where the pack is full or empty."""
        amps, chemistry, spec = self.pack.pack_a, self.pack.chemistry, self.spec
        full = self._high_v >= chemistry.full_v - NEAR_V and -self._tail_a <= amps <= 0
        empty = self._low_v <= chemistry.empty_v + NEAR_V and 0 <= amps <= self._tail_a
        self._ended_s = self._ended_s + dt_s if full or empty else 0.0
        settled = self._ended_s >= spec.settle_s
        if full and settled:
            self._full = True
            self._since_full_s = self._through_ah = 0.0
            self.estimate.full()
        elif (empty and settled) or "under_voltage" in self.alarms:
            self.estimate.empty()
        self._full = self._full and self.estimate.soc >= spec.recharge_soc
        until_soc = spec.force_charge_until_soc if self._low else spec.force_charge_from_soc
        self._low = self.soc_told < until_soc

    def _permit(self, dt_s: float) -> None:
        """Set the limits: down at once, up at the rate of the spec."""
        if not self.closed or self.limits_zero:
            self.charge_max_a = self.discharge_max_a = 0.0
            return
        if self.never_limits:
            self.charge_max_a = self.discharge_max_a = self.current_max_a
            return
        most_a, rise_a = self.current_max_a, self._modules * self.spec.limit_rise_a_per_s * dt_s
        self.charge_max_a = min(most_a * self._charge_pu(), self.charge_max_a + rise_a)
        self.discharge_max_a = min(most_a * self._discharge_pu(), self.discharge_max_a + rise_a)

    def _charge_pu(self) -> float:
        if self._full or "charge" in self._blocked or "both" in self._blocked:
            return 0.0
        spec, chemistry = self.spec, self.pack.chemistry
        return min(
            interpolated(spec.charge_by_c, self.pack.temperature_c),
            interpolated(spec.charge_by_soc, self.estimate.soc),
            interpolated(chemistry.charge_by_v, self._high_v),
        )

    def _discharge_pu(self) -> float:
        if "discharge" in self._blocked or "both" in self._blocked:
            return 0.0
        spec, chemistry = self.spec, self.pack.chemistry
        return min(
            interpolated(spec.discharge_by_c, self.pack.temperature_c),
            interpolated(spec.discharge_by_soc, self.estimate.soc),
            interpolated(chemistry.discharge_by_v, self._low_v),
        )

    def _balance(self) -> None:
        """Bleed high cells at the top, until they stand together."""
        apart_v = BALANCED_V / 2 if self.balancing else BALANCED_V
        high = self._high_v >= self.pack.chemistry.balance_v
        self.balancing = high and self._high_v - self._low_v > apart_v
        self.pack.bleed_a = self._modules * self.spec.balance_a if self.balancing else 0.0

    def _schedule(self) -> None:
        """Find when the next thing happens by itself, so that a step can end there."""
        self.due_s = min(self.contactor.due_s, self._watch_due_s)
        if self._opens_when_silent and self._silent_left_s > LATE_S:
            self.due_s = min(self.due_s, self._silent_left_s)

    @property
    def _silent_left_s(self) -> float:
        return self.spec.contactor.open_after_s - self._silent_s
