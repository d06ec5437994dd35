"""The emulated meter at the point of interconnection: SunSpec over Modbus TCP, model 203 or 213.

This vendor counts W positive while the site draws from the grid, as many meters do; the standard leaves it open. The
values are those of the last sample, every 200 ms.
"""

from collections.abc import Callable
from typing import Any

from controller.link.modbus_server import ModbusServer, Request
from hil.devices.device import Device, loop_s
from hil.devices.sunspec import Image
from hil.plant import GRID_HZ, GRID_V, PHASES
from hil.plant.meter import Feeder
from hil.wires import Wires

UNIT = 1
SAMPLE_S = 0.2
SQRT3 = 3**0.5

_COMMON = {"Mn": "Linepack", "Md": "Bench meter", "Opt": "", "Vr": "1.0", "SN": "MTR-0001", "DA": UNIT}
_SCALES = {"A_SF": -1, "V_SF": -1, "Hz_SF": -2, "W_SF": 0, "VA_SF": 0, "VAR_SF": 0, "PF_SF": -1, "TotWh_SF": 0}
_QUIET: dict[str, Any] = {"VAR": 0, "VARphA": 0, "VARphB": 0, "VARphC": 0, "Evt": 0}
_NEUTRAL_V = ("PhV", "PhVphA", "PhVphB", "PhVphC")
_LINE_V = {203: ("PPV", "PhVphAB", "PhVphBC", "PhVphCA"), 213: ("PPV", "PPVphAB", "PPVphBC", "PPVphCA")}


class MeterDevice(Device):
    """Unit 1 on its port. It also plays the load and the generation behind it."""

    cable = "meter_cable"

    def __init__(
        self,
        wires: Wires,
        *,
        now_s: Callable[[], float] = loop_s,
        feeder: Feeder | None = None,
        floats: bool = False,
    ) -> None:
        super().__init__(wires, now_s=now_s)
        number = 213 if floats else 203
        self.physics = feeder or Feeder()
        self.image = Image({1: _COMMON, number: _QUIET if floats else _QUIET | _SCALES})
        self.server = ModbusServer(self.answer)
        cells = self.image.cells
        for volts in cells(number, *_NEUTRAL_V):
            volts.put(GRID_V)
        for volts in cells(number, *_LINE_V[number]):
            volts.put(SQRT3 * GRID_V)
        self.image.cell(f"{number}.Hz").put(GRID_HZ)
        self._power = cells(number, "W")
        self._phase_power = cells(number, "WphA", "WphB", "WphC")
        self._apparent = cells(number, "VA")
        self._phase_apparent = cells(number, "VAphA", "VAphB", "VAphC")
        self._amps = cells(number, "A")
        self._phase_amps = cells(number, "AphA", "AphB", "AphC")
        self._exported = cells(number, "TotWhExp")
        self._imported = cells(number, "TotWhImp")
        self._since_sample_s = SAMPLE_S

    def answer(self, request: Request) -> bytes | int | None:
        """Answer one request; nothing in a meter can be written."""
        return self.image.answer(request) if request.unit == UNIT else None

    def step(self, dt_s: float) -> None:
        """Move load and generation; take a sample when it is due."""
        wires, physics = self.wires, self.physics
        physics.step(dt_s, wires["inverter_w"], wires["load_set_w"], wires["pv_set_w"])
        wires["load_w"], wires["pv_w"], wires["poi_w"] = physics.load_w, physics.pv_w, physics.poi_w
        self._since_sample_s += dt_s
        if self._since_sample_s >= SAMPLE_S - self.step_s / 2:
            self._since_sample_s = 0.0
            self._sample(-physics.poi_w)

    def _sample(self, import_w: float) -> None:
        for cells, value in (
            (self._power, import_w),
            (self._phase_power, import_w / PHASES),
            (self._apparent, abs(import_w)),
            (self._phase_apparent, abs(import_w) / PHASES),
            (self._amps, abs(import_w) / GRID_V),
            (self._phase_amps, abs(import_w) / GRID_V / PHASES),
            (self._exported, self.physics.exported_wh),
            (self._imported, self.physics.imported_wh),
        ):
            for cell in cells:
                cell.put(value)
