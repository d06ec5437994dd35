"""A battery: the pack, the BMS that guards it, and what its sensors tell.

A BMS and a pack move together: a step is parted where the contactor, the silence on the bus or a watch is due, so that
times hold whatever the step.
"""

from typing import Annotated, Literal

import msgspec

from hil.plant.bms import Bms, BmsSpec
from hil.plant.pack import Pack, PackSpec
from hil.plant.told import Told

SHORTEST_S = 1e-9
Speaks = Literal["pylontech_lv", "canbus_bms"]


class BatterySpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the battery is. soc: the true state of charge at the start. never_limits: see Bms.

    speaks: the frames it sends, those of pylontech_lv.dbc or of canbus_bms.dbc, which tell of its cells.
    """

    pack: PackSpec = PackSpec()
    bms: BmsSpec = BmsSpec()
    soc: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.6
    never_limits: bool = False
    speaks: Speaks = "pylontech_lv"

    @property
    def when_silent(self) -> Literal["open", "pause"]:
        """Return what the BMS does while nobody is heard on the bus."""
        return self.bms.contactor.when_silent


class Battery:
    """The battery at work. Positive current flows out; limits are magnitudes.

    pack and bms hold the physics and the faults: pack.age(), pack.warming_c_per_s, and the attributes of Bms.
    """

    def __init__(self, spec: BatterySpec | None = None, *, seed: str = "1") -> None:
        self.spec = spec or BatterySpec()
        self.pack = Pack(self.spec.pack, soc=self.spec.soc, seed=seed)
        self.bms = Bms(self.spec.bms, self.pack)
        self.bms.never_limits = self.spec.never_limits
        self.told = Told()
        self.modules = self.spec.pack.modules
        self.current_max_a = self.bms.current_max_a
        self.charge_max_v = self.spec.pack.cells * self.pack.chemistry.full_v
        self.discharge_min_v = self.spec.pack.cells * self.pack.chemistry.empty_v

    def step(self, dt_s: float, dc_w: float, ambient_c: float = 25.0) -> None:
        """Give dc_w (+ discharge) for dt_s, or the most the cells can; nothing while the contactor is open."""
        pack, bms = self.pack, self.bms
        pack.ambient_c = ambient_c
        while dt_s > bms.due_s + SHORTEST_S:
            due_s = bms.due_s
            pack.step(due_s, dc_w if bms.closed else 0.0)
            bms.step(due_s)
            dt_s -= due_s
        pack.step(dt_s, dc_w if bms.closed else 0.0)
        bms.step(dt_s)

    def keepalive(self) -> None:
        """The other side was heard on the bus."""
        self.bms.keepalive()

    def set_soc(self, soc: float) -> None:
        """Put the battery at a true state of charge, at rest; the estimate goes along and keeps its error."""
        before_soc = self.pack.soc
        self.pack.set_soc(soc)
        self.bms.moved(self.pack.soc - before_soc)

    @property
    def busy(self) -> bool:
        """Whether small steps are needed."""
        return self.bms.busy

    # -- the truth

    @property
    def soc(self) -> float:
        """Return the true state of charge by charge, 0..1."""
        return self.pack.soc

    @property
    def energy_wh(self) -> float:
        """Return soc x capacity_wh."""
        return self.pack.energy_wh

    @property
    def capacity_wh(self) -> float:
        """Return what the pack can hold between its first full and its first empty cell in Wh."""
        return self.pack.capacity_wh

    @property
    def pack_v(self) -> float:
        """Return the voltage of the last step in V."""
        return self.pack.pack_v

    @property
    def pack_a(self) -> float:
        """Return the current of the last step in A."""
        return self.pack.pack_a

    @property
    def cell_min_v(self) -> float:
        """Return the voltage of the lowest cell in V."""
        return self.pack.cell_min_v

    @property
    def cell_max_v(self) -> float:
        """Return the voltage of the highest cell in V."""
        return self.pack.cell_max_v

    @property
    def cell_c(self) -> float:
        """Return the temperature of the warmest cell in C."""
        return self.pack.cell_c

    @property
    def cell_cold_c(self) -> float:
        """Return the temperature of the coldest cell in C."""
        return self.pack.cell_cold_c

    @property
    def temperature_c(self) -> float:
        """Return the temperature of the pack in C."""
        return self.pack.temperature_c

    # -- what the BMS says

    @property
    def soc_told(self) -> float:
        """Return the state of charge the BMS tells, 0..1."""
        return self.bms.soc_told

    @property
    def soh_told(self) -> float:
        """Return the capacity the BMS believes in, as a share of the new pack's."""
        return self.bms.estimate.soh

    @property
    def charge_max_a(self) -> float:
        """Return the charge current the BMS permits now in A."""
        return self.bms.charge_max_a

    @property
    def discharge_max_a(self) -> float:
        """Return the discharge current the BMS permits now in A."""
        return self.bms.discharge_max_a

    @property
    def closed(self) -> bool:
        """Return whether the contactor lets current flow."""
        return self.bms.closed

    @property
    def alarms(self) -> frozenset[str]:
        """Return the names of the watches that stand at an alarm or a trip (hil.plant.bms_watch)."""
        return self.bms.alarms

    @property
    def warnings(self) -> frozenset[str]:
        """Return the names of the watches that stand at a warning only."""
        return self.bms.warnings

    @property
    def force_charge(self) -> bool:
        """Return whether the BMS asks to be charged at once."""
        return self.bms.force_charge

    @property
    def full_charge_wanted(self) -> bool:
        """Return whether the BMS asks for a full charge some time soon."""
        return self.bms.full_charge_wanted

    @property
    def charge_enabled(self) -> bool:
        """Return whether any charge is permitted."""
        return self.bms.charge_max_a > 0

    @property
    def discharge_enabled(self) -> bool:
        """Return whether any discharge is permitted."""
        return self.bms.discharge_max_a > 0
