"""The emulated meter at the point of interconnection: SunSpec over Modbus TCP, model 203 or 213.

This vendor counts W positive while the site draws from the grid, as many meters do; the standard leaves it open.
"""

from collections.abc import Callable
from math import hypot
from typing import Any

from controller.link.modbus_server import ILLEGAL_ADDRESS, Request
from hil.devices.device import loop_s
from hil.devices.modbus import Answer, RegisterDevice
from hil.devices.sunspec import NAN, Image
from hil.plant import PHASES
from hil.plant.site import Plant

SQRT3 = 3**0.5

_COMMON = {"Mn": "Linepack", "Md": "Bench meter", "Opt": "", "Vr": "1.0", "SN": "MTR-0001", "DA": 1}
_SCALES = {"A_SF": -1, "V_SF": -1, "Hz_SF": -2, "W_SF": 0, "VA_SF": 0, "VAR_SF": 0, "PF_SF": -1, "TotWh_SF": 0}
_QUIET: dict[str, Any] = {"Evt": 0}
_LINE_V = {203: ("PPV", "PhVphAB", "PhVphBC", "PhVphCA"), 213: ("PPV", "PPVphAB", "PPVphBC", "PPVphCA")}
TOLD = {  # what the meter tells -> the points that tell it
    "power_w": ("W",),
    "phase_a_w": ("WphA",),
    "phase_b_w": ("WphB",),
    "phase_c_w": ("WphC",),
    "apparent_va": ("VA",),
    "phase_a_va": ("VAphA",),
    "phase_b_va": ("VAphB",),
    "phase_c_va": ("VAphC",),
    "reactive_var": ("VAR",),
    "phase_a_var": ("VARphA",),
    "phase_b_var": ("VARphB",),
    "phase_c_var": ("VARphC",),
    "sum_a": ("A",),
    "phase_a_a": ("AphA",),
    "phase_b_a": ("AphB",),
    "phase_c_a": ("AphC",),
    "voltage_v": ("PhV",),
    "phase_a_v": ("PhVphA",),
    "phase_b_v": ("PhVphB",),
    "phase_c_v": ("PhVphC",),
    "hz": ("Hz",),
    "exported_wh": ("TotWhExp",),
    "imported_wh": ("TotWhImp",),
}


class MeterDevice(RegisterDevice):
    """Unit 1 on its port."""

    def __init__(self, plant: Plant, name: str, *, now_s: Callable[[], float] = loop_s, floats: bool = False) -> None:
        self.part = plant.meter(name)
        number = 213 if floats else 203
        image = Image({1: _COMMON, number: _QUIET if floats else _QUIET | _SCALES})
        super().__init__(plant, name, image, now_s=now_s)
        self._told = tuple((told, image.cells(number, *points)) for told, points in TOLD.items())
        self._line_v = image.cells(number, *_LINE_V[number])

    def write(self, request: Request) -> Answer:
        """Refuse: nothing in a meter can be written."""
        return ILLEGAL_ADDRESS

    def refresh(self) -> None:
        """Put the last sample into the registers, as the meter's sensors tell it."""
        told, t_s, values = self.part.told.told, self.plant.now_s, self._values()
        for point, cells in self._told:
            value = told(point, values[point], t_s)
            for cell in cells:
                cell.put(NAN if value is None else value)
        for cell in self._line_v:
            cell.put(SQRT3 * values["voltage_v"])

    def _values(self) -> dict[str, float]:
        part = self.part
        volts = part.voltage_v
        apparent_va = [hypot(w, var) for w, var in zip(part.phase_w, part.phase_var, strict=True)]
        amps = [va / v if v > 0 else 0.0 for va, v in zip(apparent_va, volts, strict=True)]
        values = {
            "power_w": -part.power_w,
            "apparent_va": sum(apparent_va),
            "reactive_var": -sum(part.phase_var),
            "sum_a": sum(amps),
            "voltage_v": sum(volts) / PHASES,
            "hz": part.hz,
            "exported_wh": part.exported_wh,
            "imported_wh": part.imported_wh,
        }
        for place, phase in enumerate("abc"):
            values |= {
                f"phase_{phase}_w": -part.phase_w[place],
                f"phase_{phase}_var": -part.phase_var[place],
                f"phase_{phase}_va": apparent_va[place],
                f"phase_{phase}_a": amps[place],
                f"phase_{phase}_v": volts[place],
            }
        return values
