"""The plant: inverters, batteries, the load and generation beside them, the grid, and the meter between.

It moves only in advance(now_s): in steps of MOVING_S while anything moves, of up to REST_S while all is at rest, so
that a second of rest costs one step and every reader of the same moment sees the same numbers.
"""

from typing import TypeVar

import msgspec

from hil.plant.battery import Battery, BatterySpec
from hil.plant.grid import Grid, GridSpec
from hil.plant.inverter import Inverter, InverterSpec, Terminals
from hil.plant.local import Local, LocalSpec
from hil.plant.meter import Meter, MeterSpec
from hil.plant.truth import Truth, UnitTruth

MOVING_S = 0.05
REST_S = 1.0
SOON_S = 1e-9

Spec = InverterSpec | BatterySpec | MeterSpec
Part = Inverter | Battery | Meter
T = TypeVar("T")


class PlantSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the plant is made of. units: the names of inverter and battery; parts: the spec of each device."""

    units: tuple[tuple[str, str], ...]
    meter: str
    parts: dict[str, Spec]
    local: LocalSpec = LocalSpec()
    grid: GridSpec = GridSpec()


class Plant:
    """The plant from start_s on. load_w, pv_w, grid_hz, grid_v_pu and ambient_c are set from outside."""

    def __init__(self, spec: PlantSpec, seed: int = 1, start_s: float = 0.0, moving_s: float = MOVING_S) -> None:
        """moving_s: the longest step while something moves. Each part is right for a step of any length; how they act
        on each other within one is not seen.
        """
        self.spec, self.now_s, self._moving_s = spec, start_s, moving_s
        self.parts: dict[str, Part] = {}
        for name, part in spec.parts.items():
            self.parts[name] = _made(part, f"{seed} {name}")
        self.units = tuple((self.inverter(a), self.battery(b), a, b) for a, b in spec.units)
        self._meter = self.meter(spec.meter)
        self.local = Local(spec.local, seed)
        self.grid = Grid(spec.grid)
        self.ambient_c = 25.0
        self.poi_w = self.poi_var = 0.0
        self.order_w: float | None = None  # what the utility's order in force asks; the bench says so
        self.cut: set[str] = set()  # devices that a fault has cut off; the bench says so

    @property
    def hz_nominal(self) -> float:
        """Return the grid's nominal frequency in Hz."""
        return self.spec.grid.nominal_hz

    @property
    def grid_hz(self) -> float:
        """Return the frequency in Hz."""
        return self.grid.hz

    @property
    def grid_v(self) -> float:
        """Return the voltage at the POI in V, phase to neutral, mean of the phases."""
        return self.grid.v

    def inverter(self, name: str) -> Inverter:
        """Return the inverter of that name. Raises TypeError where it is none."""
        return _typed(self.parts[name], Inverter, name)

    def battery(self, name: str) -> Battery:
        """Return the battery of that name. Raises TypeError where it is none."""
        return _typed(self.parts[name], Battery, name)

    def meter(self, name: str) -> Meter:
        """Return the meter of that name. Raises TypeError where it is none."""
        return _typed(self.parts[name], Meter, name)

    def serial(self, inverter: str) -> str:
        """Return the serial number on an inverter's plate."""
        return f"INV-{1 + [name for _, _, name, _ in self.units].index(inverter):04d}"

    def battery_of(self, inverter: str) -> Battery:
        """Return the battery behind an inverter."""
        return next(battery for _, battery, name, _ in self.units if name == inverter)

    @property
    def busy(self) -> bool:
        """Whether small steps are needed."""
        return self.local.busy or self.grid.busy or any(a.busy or b.busy for a, b, _, _ in self.units)

    def advance(self, now_s: float) -> None:
        """Move up to now_s."""
        while now_s - self.now_s > SOON_S:
            self._step(min(self._moving_s if self.busy else REST_S, now_s - self.now_s))

    def set(self, name: str, value: float) -> None:
        """Set an input: load_w, pv_w, grid_hz, grid_v_pu, ambient_c, or a battery's true "<battery>.soc".

        Raises KeyError for a name that is no input.
        """
        device, _, point = name.rpartition(".")
        if device and point == "soc":
            self.battery(device).set_soc(value)
        elif name == "ambient_c":
            self.ambient_c = value
        elif name in ("load_w", "pv_w"):
            setattr(self.local, f"set_{name}", value)
        elif name in ("grid_hz", "grid_v_pu"):
            setattr(self.grid, f"set_{name.removeprefix('grid_')}", value)
        else:
            raise KeyError(name)

    def value(self, name: str) -> float:
        """Return a true value: a number of Truth by name, or "<device>.<attribute>" of a part."""
        device, _, point = name.rpartition(".")
        if device:
            return float(getattr(self.parts[device], point))
        if name in ("load_w", "pv_w"):
            return float(getattr(self.local, name))
        return float(getattr(self, name))

    def truth(self) -> Truth:
        """Return the plant as it is."""
        return Truth(
            t_s=self.now_s,
            units=tuple(_unit(*unit) for unit in self.units),
            load_w=self.local.load_w,
            pv_w=self.local.pv_w,
            poi_w=self.poi_w,
            grid_hz=self.grid.hz,
            grid_v=self.grid.v,
            cut=frozenset(self.cut),
            order_w=self.order_w,
            meter_false_w=self._meter.false_w,
        )

    def _step(self, dt_s: float) -> None:
        grid, ambient_c = self.grid, self.ambient_c
        total_w = total_var = 0.0
        for inverter, battery, _, _ in self.units:
            inverter.step(
                dt_s,
                Terminals(
                    charge_max_w=battery.charge_max_a * battery.pack_v,
                    discharge_max_w=battery.discharge_max_a * battery.pack_v,
                    pack_v=battery.pack_v,
                    closed=battery.closed,
                    grid_v_pu=grid.v_pu,
                    grid_hz=grid.hz,
                    ambient_c=ambient_c,
                ),
            )
            battery.step(dt_s, inverter.dc_w, ambient_c)
            total_w += inverter.ac_w
            total_var += inverter.reactive_var
        self.now_s += dt_s
        local = self.local
        local.step(dt_s, self.now_s, grid.phase_v_pu)
        self.poi_w, self.poi_var = total_w + local.pv_w - local.load_w, total_var
        grid.step(dt_s, self.poi_w, self.poi_var, local.unbalance_w)
        self._meter.step(dt_s, self.now_s, grid)


def _made(spec: Spec, seed: str) -> Part:
    if isinstance(spec, InverterSpec):
        return Inverter(spec)
    if isinstance(spec, BatterySpec):
        return Battery(spec, seed=seed)
    return Meter(spec)


def _typed(part: Part, kind: type[T], name: str) -> T:
    if not isinstance(part, kind):
        raise TypeError(f"{name} is no {kind.__name__.lower()}")
    return part


def _unit(inverter: Inverter, battery: Battery, inverter_name: str, battery_name: str) -> UnitTruth:
    return UnitTruth(
        inverter=inverter_name,
        battery=battery_name,
        ac_w=inverter.ac_w,
        reactive_var=inverter.reactive_var,
        dc_w=inverter.dc_w,
        command_w=inverter.command_w,
        state=inverter.state,
        soc=battery.soc,
        energy_wh=battery.energy_wh,
        capacity_wh=battery.capacity_wh,
        soc_told=battery.soc_told,
        pack_v=battery.pack_v,
        pack_a=battery.pack_a,
        charge_max_a=battery.charge_max_a,
        discharge_max_a=battery.discharge_max_a,
        closed=battery.closed,
        cell_min_v=battery.cell_min_v,
        cell_max_v=battery.cell_max_v,
        cell_c=battery.cell_c,
        writes=inverter.writes,
        local=inverter.local,
        rated_va=inverter.spec.rated_va,
    )
