"""A pack of modules in parallel, each a string of cells: one cell for the many, and a weak and a strong one beside it.

All cells in series carry the pack's current, so they are a sum of sources e - r i (hil.plant.cell) and one quadratic
gives the current of a demanded power. A cell here stands for those of all modules at its place in the string.

The pack's charge is what its cells share: empty when the first cell is empty, full when the first is full. The nominal
capacity is that of the pack whose cells are all full together, so it is the weakest cell's; cells out of step take away
from it until they are balanced.
"""

from random import Random
from typing import Annotated, Literal

import msgspec

from hil.plant.cell import SPARE, Cell, demanded_a
from hil.plant.chemistry import CHEMISTRIES, mean_v

BLEED_FROM_V = 0.005  # above the lowest cell, a cell is bled
RESISTANCE_SPREAD = 4  # times as much as capacity: cells of one batch differ by about 0.5 and 2 %


class CellSpread(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one cell differs from the many. behind_pct: of its charge that it lacks when the many are full."""

    capacity_pct: Annotated[float, msgspec.Meta(ge=-90, le=90)] = 0.0
    resistance_pct: Annotated[float, msgspec.Meta(ge=-90, le=900)] = 0.0
    behind_pct: Annotated[float, msgspec.Meta(ge=-50, le=50)] = 0.0


class PackSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the pack is made of. The defaults are five 48 V modules of 5 kWh.

    capacity_wh: of the new pack, at no current; capacity_factor and resistance_factor: what age made of it.
    weak, strong: the cells at both ends of the string's spread; None = drawn with the battery's seed from as many as
    the string has, which deviate by spread_pct in capacity and RESISTANCE_SPREAD times as much in resistance.
    """

    chemistry: Literal["lfp", "leaf"] = "lfp"
    modules: Annotated[int, msgspec.Meta(ge=1, le=64)] = 5  # in parallel
    cells: Annotated[int, msgspec.Meta(ge=3, le=400)] = 16  # in series
    capacity_wh: Annotated[float, msgspec.Meta(gt=0)] = 25_000.0
    capacity_factor: Annotated[float, msgspec.Meta(ge=0.1, le=1.2)] = 1.0
    resistance_factor: Annotated[float, msgspec.Meta(ge=0.1, le=10)] = 1.0
    cable_mohm: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 5.0  # of one module
    spread_pct: Annotated[float, msgspec.Meta(ge=0, le=20)] = 0.5
    weak: CellSpread | None = None
    strong: CellSpread | None = None
    temperature_c: Annotated[float, msgspec.Meta(ge=-40, le=80)] = 25.0


class Pack:
    """The true state. pack_v and pack_a are means of the last step; pack_v is on the cells' side of the contactor.

    ambient_c is what the pack stands in, warming_c_per_s heat from elsewhere. bleed_a is what balancing takes from each
    cell that stands above the lowest.
    """

    def __init__(self, spec: PackSpec, *, soc: float, seed: str = "1") -> None:
        self.spec = spec
        self.chemistry = CHEMISTRIES[spec.chemistry]
        self.ambient_c = spec.temperature_c
        self.warming_c_per_s = self.bleed_a = self.pack_a = 0.0
        self._wh_per_ah = spec.cells * mean_v(self.chemistry)
        self._cable_ohm = spec.cable_mohm / 1000 / spec.modules
        self._spreads = (CellSpread(), *_spread(spec, seed))
        self._cells = tuple(
            Cell(self.chemistry, soc=1 - spread.behind_pct / 100, temperature_c=spec.temperature_c)
            for spread in self._spreads
        )
        self._string = tuple(zip((spec.cells - 2, 1, 1), self._cells, strict=True))
        self.age(spec.capacity_factor, spec.resistance_factor)
        self.set_soc(soc)

    @property
    def new_ah(self) -> float:
        """Return what the pack holds when new, in Ah."""
        return self.spec.capacity_wh / self._wh_per_ah

    @property
    def capacity_wh(self) -> float:
        """Return what the pack can hold between its first full and its first empty cell, in Wh at no current."""
        return (self._left_ah() + self._room_ah()) * self._wh_per_ah

    @property
    def soc(self) -> float:
        """Return the charge of that capacity, 0..1."""
        left_ah = self._left_ah()
        return min(1.0, max(0.0, left_ah / (left_ah + self._room_ah())))

    @property
    def energy_wh(self) -> float:
        """Return the share of the capacity that is there: soc x capacity_wh."""
        return self.soc * self.capacity_wh

    @property
    def cell_min_v(self) -> float:
        """Return the voltage of the lowest cell in V."""
        return min(cell.voltage_v for cell in self._cells)

    @property
    def cell_max_v(self) -> float:
        """Return the voltage of the highest cell in V."""
        return max(cell.voltage_v for cell in self._cells)

    @property
    def cell_c(self) -> float:
        """Return the temperature of the warmest cell in C."""
        return max(cell.temperature_c for cell in self._cells)

    @property
    def cell_cold_c(self) -> float:
        """Return the temperature of the coldest cell in C."""
        return min(cell.temperature_c for cell in self._cells)

    @property
    def temperature_c(self) -> float:
        """Return the temperature of the many in C."""
        return self._cells[0].temperature_c

    @property
    def heat_w(self) -> float:
        """Return what the last step lost in cells and cables in W."""
        lost_w = sum(weight * cell.heat_w for weight, cell in self._string)
        return lost_w + self._cable_ohm * self.pack_a**2

    def age(self, capacity_factor: float, resistance_factor: float) -> None:
        """Leave these shares of the new pack's capacity and resistance; each cell keeps its state of charge."""
        weakest_pct = min(spread.capacity_pct for spread in self._spreads)
        for cell, spread in zip(self._cells, self._spreads, strict=True):
            share = (100 + spread.capacity_pct) / (100 + weakest_pct)
            ohm_factor = resistance_factor * (1 + spread.resistance_pct / 100)
            cell.resize(self.new_ah * capacity_factor * share, ohm_factor)

    def set_soc(self, soc: float) -> None:
        """Put the pack at a state of charge 0..1, at rest. Cells stay as far out of step as they are."""
        left_ah = self._left_ah()
        shift_ah = soc * (left_ah + self._room_ah()) - left_ah
        for cell in self._cells:
            cell.rest(cell.soc + shift_ah / cell.capacity_ah)
        self.pack_a = 0.0
        self.pack_v = sum(weight * cell.voltage_v for weight, cell in self._string)

    def source(self, dt_s: float) -> tuple[float, float]:
        """Return e in V and r in ohm of the mean voltage at the terminals over the next dt_s: e - r i."""
        e_v, ohm = 0.0, self._cable_ohm
        for weight, cell in self._string:
            cell_e_v, cell_ohm = cell.line(dt_s)
            e_v += weight * cell_e_v
            ohm += weight * cell_ohm
        return e_v, ohm

    def step(self, dt_s: float, dc_w: float) -> None:
        """Give dc_w (+ discharge) at the terminals for dt_s, or the most the cells can."""
        e_v, ohm = self.source(dt_s)
        many, weak, strong = self._cells
        spent = dc_w > 0 and min(many.soc, weak.soc, strong.soc) <= -SPARE
        amps = 0.0 if spent else demanded_a(e_v, ohm, dc_w)
        for _, cell in self._string:
            cell.ambient_c, cell.warming_c_per_s = self.ambient_c, self.warming_c_per_s
            cell.carry(amps)
        self.pack_a, self.pack_v = amps, e_v - ohm * amps
        if self.bleed_a:
            self._bleed(dt_s)

    def _bleed(self, dt_s: float) -> None:
        """Take charge from the cells that stand above the lowest, past the terminals."""
        lowest_v = self.cell_min_v
        for cell in self._cells:
            if cell.voltage_v > lowest_v + BLEED_FROM_V:
                cell.soc -= self.bleed_a * dt_s / 3600 / cell.capacity_ah

    def _left_ah(self) -> float:
        """Return the charge until the first cell is empty."""
        return min(cell.soc * cell.capacity_ah for cell in self._cells)

    def _room_ah(self) -> float:
        """Return the charge until the first cell is full."""
        return min((1 - cell.soc) * cell.capacity_ah for cell in self._cells)


def _spread(spec: PackSpec, seed: str) -> tuple[CellSpread, CellSpread]:
    """Return the weak and the strong cell, as given or as drawn; the least capacity meets the most resistance."""
    draw = Random(f"{seed} cells")
    capacities_pct = sorted(draw.gauss(0, spec.spread_pct) for _ in range(spec.cells))
    resistances_pct = sorted(draw.gauss(0, RESISTANCE_SPREAD * spec.spread_pct) for _ in range(spec.cells))
    weak = CellSpread(capacity_pct=capacities_pct[0], resistance_pct=resistances_pct[-1])
    strong = CellSpread(capacity_pct=capacities_pct[-1], resistance_pct=resistances_pct[0])
    return spec.weak or weak, spec.strong or strong
