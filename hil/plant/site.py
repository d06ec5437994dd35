"""The plant: inverters, batteries, the load and generation beside them, the grid, and the meter between.

It moves only in advance(now_s): in steps of MOVING_S while anything moves, of up to REST_S while all is at rest, so
that a second of rest costs one step and every reader of the same moment sees the same numbers.
"""

from typing import NamedTuple, TypeVar

import msgspec

from hil.plant import PHASES
from hil.plant.bank import Bank
from hil.plant.battery import Battery, BatterySpec
from hil.plant.grid import EVEN, Grid, GridSpec, Phases
from hil.plant.inputs import Inputs, InputsSpec
from hil.plant.inverter import Inverter, InverterSpec, Terminals
from hil.plant.local import Local, LocalSpec
from hil.plant.meter import Meter, MeterSpec
from hil.plant.truth import Asked, Contacts, Truth, UnitTruth

MOVING_S = 0.05
REST_S = 1.0
SOON_S = 1e-9
EVERY_PHASE = "abc"
PHASE_LOADS = ("load_a_w", "load_b_w", "load_c_w")
ASKED_BY_BMS = {"force_charge": "wants_force", "full_charge_wanted": "wants_full"}

Spec = InverterSpec | BatterySpec | MeterSpec | InputsSpec
Part = Inverter | Battery | Meter | Inputs
T = TypeVar("T")


class PlantSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the plant is made of. units: the names of inverter and batteries; parts: the spec of each device.

    Units with the same batteries share them; a battery of two units that do not share all of theirs is no plant.
    """

    units: tuple[tuple[str, tuple[str, ...]], ...]
    meter: str
    parts: dict[str, Spec]
    local: LocalSpec = LocalSpec()
    grid: GridSpec = GridSpec()


class Place(NamedTuple):
    """One unit of the plant. share_ratio: of the inverters on its bank, by rating."""

    name: str  # the inverter's
    inverter: Inverter
    bank: Bank
    share_ratio: float


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
        self.units = self._places(spec)
        banks = dict.fromkeys(place.bank for place in self.units)
        self._groups = tuple((bank, tuple(place for place in self.units if place.bank is bank)) for bank in banks)
        self._uneven = any(place.inverter.spec.phases != EVERY_PHASE for place in self.units)
        self._inputs = {name: part for name, part in self.parts.items() if isinstance(part, Inputs)}
        self._meter = self.meter(spec.meter)
        self.local = Local(spec.local, seed)
        self.grid = Grid(spec.grid)
        self.ambient_c = 25.0
        self.poi_w = self.poi_var = 0.0
        self.order_w: float | None = None  # what the utility's order in force asks; the bench says so
        self.asked = Asked()  # what else the utility asks; the bench says so
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

    def inputs(self, name: str) -> Inputs:
        """Return the module of digital inputs of that name. Raises TypeError where it is none."""
        return _typed(self.parts[name], Inputs, name)

    def serial(self, inverter: str) -> str:
        """Return the serial number on an inverter's plate."""
        return f"INV-{1 + [place.name for place in self.units].index(inverter):04d}"

    def bank_of(self, inverter: str) -> Bank:
        """Return the batteries behind an inverter."""
        return next(place.bank for place in self.units if place.name == inverter)

    @property
    def busy(self) -> bool:
        """Whether small steps are needed."""
        return self.local.busy or self.grid.busy or any(unit.inverter.busy or unit.bank.busy for unit in self.units)

    def advance(self, now_s: float) -> None:
        """Move up to now_s."""
        while now_s - self.now_s > SOON_S:
            self._step(min(self._moving_s if self.busy else REST_S, now_s - self.now_s))

    def set(self, name: str, value: float) -> None:
        """Set an input: load_w, pv_w, grid_hz, grid_v_pu, ambient_c, load_a_w (on phase a alone, likewise b and c).

        Or one of a device: "<battery>.soc" (true), .force_charge and .full_charge_wanted (1 = the BMS asks for it),
        "<inverter>.isolation_kohm", "<module>.0" (a contact: 1 = closed). Raises KeyError for a name that is no input.
        """
        device, _, point = name.rpartition(".")
        if device:
            self._set_device(device, point, value)
        elif name == "ambient_c":
            self.ambient_c = value
        elif name in ("load_w", "pv_w"):
            setattr(self.local, f"set_{name}", value)
        elif name in PHASE_LOADS:
            self.local.set_phase_w[PHASE_LOADS.index(name)] = value
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
        grid, local = self.grid, self.local
        return Truth(
            t_s=self.now_s,
            units=tuple(_unit(unit) for unit in self.units),
            load_w=local.load_w,
            pv_w=local.pv_w,
            poi_w=self.poi_w,
            grid_hz=grid.hz,
            grid_v=grid.v,
            cut=frozenset(self.cut),
            order_w=self.order_w,
            meter_false_w=self._meter.false_w,
            phase_w=grid.phase_w,
            phase_a=grid.phase_a,
            phase_false_w=self._meter.phase_false_w,
            contacts=tuple(Contacts(device=name, closed=tuple(part.closed)) for name, part in self._inputs.items()),
            asked=self.asked,
        )

    def _set_device(self, device: str, point: str, value: float) -> None:
        part = self.parts.get(device)
        if isinstance(part, Battery) and point == "soc":
            part.set_soc(value)
        elif isinstance(part, Battery) and point in ASKED_BY_BMS:
            setattr(part.bms, ASKED_BY_BMS[point], bool(value))
        elif isinstance(part, Inverter) and point == "isolation_kohm":
            part.isolation_kohm = value
        elif isinstance(part, Inputs) and point.isdecimal() and int(point) < len(part.closed):
            part.set(int(point), bool(value))
        else:
            raise KeyError(f"{device}.{point}")

    def _places(self, spec: PlantSpec) -> tuple[Place, ...]:
        """Return the units, those of the same batteries on one bank. Raises ValueError where two share only some."""
        banks: dict[tuple[str, ...], Bank] = {}
        for inverter, names in spec.units:
            taken = {name for other in banks if other != names for name in other}
            if taken & set(names):
                raise ValueError(f"{inverter}: units share all of their batteries or none, not {', '.join(names)}")
            if names not in banks:
                banks[names] = Bank(tuple(self.battery(name) for name in names), names)
        rated_w = dict.fromkeys(banks, 0.0)
        for inverter, names in spec.units:
            rated_w[names] += self.inverter(inverter).spec.rated_w
        return tuple(
            Place(name, self.inverter(name), banks[names], self.inverter(name).spec.rated_w / rated_w[names])
            for name, names in spec.units
        )

    def _step(self, dt_s: float) -> None:
        grid, ambient_c = self.grid, self.ambient_c
        total_w = total_var = 0.0
        for bank, places in self._groups:
            volts, closed, dc_w = bank.pack_v, bank.closed, 0.0
            charge_max_w, discharge_max_w = bank.charge_max_a * volts, bank.discharge_max_a * volts
            for _, inverter, _, share_ratio in places:
                inverter.step(
                    dt_s,
                    Terminals(
                        charge_max_w=charge_max_w * share_ratio,
                        discharge_max_w=discharge_max_w * share_ratio,
                        pack_v=volts,
                        closed=closed,
                        grid_v_pu=grid.v_pu,
                        grid_hz=grid.hz,
                        ambient_c=ambient_c,
                    ),
                )
                dc_w += inverter.dc_w
                total_w += inverter.ac_w
                total_var += inverter.reactive_var
            bank.step(dt_s, dc_w, ambient_c)
        self.now_s += dt_s
        local = self.local
        local.step(dt_s, self.now_s, grid.phase_v_pu)
        self.poi_w, self.poi_var = total_w + local.pv_w - local.load_w, total_var
        off_w, off_var = self._unbalance(local.unbalance_w) if self._uneven else (local.unbalance_w, EVEN)
        grid.step(dt_s, self.poi_w, self.poi_var, off_w, off_var)
        self._meter.step(dt_s, self.now_s, grid)

    def _unbalance(self, local_w: Phases) -> tuple[Phases, Phases]:
        """Return how far each phase is off a third of the whole, with units that are connected to one phase only."""
        off_w, off_var = [*local_w], [0.0, 0.0, 0.0]
        for _, inverter, _, _ in self.units:
            if inverter.spec.phases == EVERY_PHASE:
                continue
            own = EVERY_PHASE.index(inverter.spec.phases)
            for phase in range(PHASES):
                part = (phase == own) - 1 / PHASES
                off_w[phase] += inverter.ac_w * part
                off_var[phase] += inverter.reactive_var * part
        return (off_w[0], off_w[1], off_w[2]), (off_var[0], off_var[1], off_var[2])


def _made(spec: Spec, seed: str) -> Part:
    if isinstance(spec, InverterSpec):
        return Inverter(spec)
    if isinstance(spec, BatterySpec):
        return Battery(spec, seed=seed)
    if isinstance(spec, InputsSpec):
        return Inputs(spec)
    return Meter(spec)


def _typed(part: Part, kind: type[T], name: str) -> T:
    if not isinstance(part, kind):
        raise TypeError(f"{name} is no {kind.__name__.lower()}")
    return part


def _unit(place: Place) -> UnitTruth:
    name, inverter, bank, _ = place
    soc, capacity_wh, cells = bank.soc, bank.capacity_wh, bank.connected
    one, chemistry = cells[0], cells[0].pack.chemistry
    several = len(cells) > 1
    return UnitTruth(
        inverter=name,
        batteries=bank.names,
        ac_w=inverter.ac_w,
        reactive_var=inverter.reactive_var,
        dc_w=inverter.dc_w,
        command_w=inverter.command_w,
        state=inverter.state,
        soc=soc,
        energy_wh=soc * capacity_wh,
        capacity_wh=capacity_wh,
        soc_told=bank.soc_told,
        pack_v=bank.pack_v,
        pack_a=bank.pack_a,
        charge_max_a=bank.charge_max_a,
        discharge_max_a=bank.discharge_max_a,
        closed=bank.closed,
        cell_min_v=min(each.cell_min_v for each in cells) if several else one.cell_min_v,
        cell_max_v=max(each.cell_max_v for each in cells) if several else one.cell_max_v,
        cell_c=max(each.cell_c for each in cells) if several else one.cell_c,
        writes=inverter.writes,
        local=inverter.local,
        rated_va=inverter.spec.rated_va,
        command_var=inverter.command_var,
        connected=inverter.connected,
        isolation_kohm=inverter.isolation_kohm,
        cell_cold_c=min(each.cell_cold_c for each in cells) if several else one.cell_cold_c,
        cell_low_v=chemistry.low_v[-1],
        cell_high_v=chemistry.high_v[-1],
        packs=bank.packs(),
        force_charge=any(one.force_charge for one in bank.batteries),
    )
