"""Batteries in parallel on one DC side, and the inverters that hang on it.

Packs whose contactors are closed share one voltage, so that what the inverters draw parts by the packs' own voltages
and resistances (each is a source e - r i, hil.plant.pack): a fuller pack gives more, and between unequal ones a current
flows though the inverters rest. A pack behind an open contactor carries nothing. The parting is that of the begin of a
step: a pack that opens within it leaves the others theirs until the next.

What a bank tells as a whole is that of the packs that are connected, of all of them where none is: state of charge by
their capacities, the sum of their currents, the extremes of their cells.
"""

from hil.plant.battery import Battery
from hil.plant.cell import demanded_a
from hil.plant.truth import PackTruth


class Bank:
    """One or several batteries as one. names: those of the batteries, in the order of the site file."""

    def __init__(self, batteries: tuple[Battery, ...], names: tuple[str, ...]) -> None:
        assert batteries, "a bank has a battery"
        self.batteries, self.names = batteries, names
        self._one = batteries[0] if len(batteries) == 1 else None

    def step(self, dt_s: float, dc_w: float, ambient_c: float) -> None:
        """Give dc_w (+ discharge) for dt_s, or the most the cells can."""
        if self._one is not None:
            self._one.step(dt_s, dc_w, ambient_c)
            return
        given_w = iter(self._parted(dt_s, dc_w))
        for battery in self.batteries:
            battery.step(dt_s, next(given_w) if battery.closed else 0.0, ambient_c)

    @property
    def busy(self) -> bool:
        """Whether small steps are needed."""
        if self._one is not None:
            return self._one.busy
        return any(battery.busy for battery in self.batteries)

    @property
    def connected(self) -> tuple[Battery, ...]:
        """Return the batteries that carry current, all where none does."""
        if self._one is not None:
            return self.batteries
        closed = tuple(battery for battery in self.batteries if battery.closed)
        return closed or self.batteries

    @property
    def closed(self) -> bool:
        """Whether any contactor is closed."""
        if self._one is not None:
            return self._one.closed
        return any(battery.closed for battery in self.batteries)

    @property
    def capacity_wh(self) -> float:
        """Return what all packs can hold, those behind an open contactor too."""
        if self._one is not None:
            return self._one.capacity_wh
        return sum(battery.capacity_wh for battery in self.batteries)

    @property
    def nameplate_wh(self) -> float:
        """Return what all packs held when they were new."""
        return sum(battery.spec.pack.capacity_wh for battery in self.batteries)

    @property
    def soc(self) -> float:
        """Return the true state of charge of what is connected, 0..1."""
        if self._one is not None:
            return self._one.soc
        packs = self.connected
        return sum(one.energy_wh for one in packs) / sum(one.capacity_wh for one in packs)

    @property
    def soc_told(self) -> float:
        """Return the state of charge that the BMS tell, by capacity."""
        if self._one is not None:
            return self._one.soc_told
        packs = self.connected
        return sum(one.soc_told * one.capacity_wh for one in packs) / sum(one.capacity_wh for one in packs)

    @property
    def pack_v(self) -> float:
        """Return the voltage of the DC side in V: the mean of what is connected."""
        if self._one is not None:
            return self._one.pack_v
        packs = self.connected
        return sum(one.pack_v for one in packs) / len(packs)

    @property
    def pack_a(self) -> float:
        """Return the current of all packs together in A."""
        if self._one is not None:
            return self._one.pack_a
        return sum(one.pack_a for one in self.batteries)

    @property
    def charge_max_a(self) -> float:
        """Return the charge current that the BMS permit together; one that is open permits nothing."""
        if self._one is not None:
            return self._one.charge_max_a
        return sum(one.charge_max_a for one in self.batteries)

    @property
    def discharge_max_a(self) -> float:
        """Return the discharge current that the BMS permit together."""
        if self._one is not None:
            return self._one.discharge_max_a
        return sum(one.discharge_max_a for one in self.batteries)

    def packs(self) -> tuple[PackTruth, ...]:
        """Return the truth of each battery, none where one alone is told by its unit."""
        if self._one is not None:
            return ()
        return tuple(_pack(name, one) for name, one in zip(self.names, self.batteries, strict=True))

    def _parted(self, dt_s: float, dc_w: float) -> list[float]:
        """Return the power of each connected pack."""
        sources = [battery.pack.source(dt_s) for battery in self.batteries if battery.closed]
        if not sources:
            return []
        siemens = sum(1 / ohm for _, ohm in sources)
        idle_v = sum(e_v / ohm for e_v, ohm in sources) / siemens
        bus_v = idle_v - demanded_a(idle_v, 1 / siemens, dc_w) / siemens
        return [bus_v * (e_v - bus_v) / ohm for e_v, ohm in sources]


def _pack(name: str, battery: Battery) -> PackTruth:
    return PackTruth(
        battery=name,
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
        cell_cold_c=battery.cell_cold_c,
    )
