"""The emulated battery inverter on the wire: SunSpec over Modbus TCP, fourteen models, set points and limit by 704.

Laws (SunSpec DER Information Model 1.0, models 704 and 715; IEEE 1547-2018 10.6):
- A write that touches the WSet, WMaxLimPct or VarSet group hands the whole group to the inverter, which starts its
  reversion timer anew; 0 s is no timer. What the timer changed is seen in the registers.
- In local control (715.LocRemCtl) the device refuses every write.
"""

from collections.abc import Callable
from math import ceil

from controller.link.modbus_server import Request
from hil.devices.device import loop_s
from hil.devices.inverter_map import models, writable
from hil.devices.modbus import Answer, RegisterDevice
from hil.devices.sunspec import BASE, DEVICE_FAILURE, NAN, Cell, Image
from hil.plant import PHASES
from hil.plant.inverter import Limit, Operation, Reactive, SetPoint
from hil.plant.site import Plant

STATES = {  # 701.InvSt, 103.St
    "off": (0, 1),
    "standby": (7, 8),
    "starting": (2, 3),
    "run": (3, 4),
    "fault": (6, 7),
}
OPERATIONS: tuple[Operation, ...] = ("stop", "start", "standby", "start")  # 715.OpCtl: stop, start, enter, exit standby
VOLTS_DC_MIN = 1.0
VARS = 4  # 704.VarSetMod
PHASED = ("phase_w", "phase_var", "phase_a")  # points of which a single-phase device has those of its own phase
TOLD = {  # point of the inverter -> the registers that tell it
    "ac_w": ("701.W", "103.W"),
    "phase_w": ("701.WL1", "701.WL2", "701.WL3"),
    "reactive_var": ("701.Var", "103.VAr"),
    "phase_var": ("701.VarL1", "701.VarL2", "701.VarL3"),
    "apparent_va": ("701.VA", "103.VA"),
    "ac_a": ("701.A",),
    "sum_a": ("103.A",),
    "phase_a": ("701.AL1", "701.AL2", "701.AL3", "103.AphA", "103.AphB", "103.AphC"),
    "ac_v": ("701.LNV", "701.VL1", "701.VL2", "701.VL3", "103.PhVphA", "103.PhVphB", "103.PhVphC"),
    "line_v": ("701.LLV", "701.VL1L2", "701.VL2L3", "701.VL3L1", "103.PPVphAB", "103.PPVphBC", "103.PPVphCA"),
    "hz": ("701.Hz", "103.Hz"),
    "injected_wh": ("701.TotWhInj", "103.WH"),
    "absorbed_wh": ("701.TotWhAbs",),
    "dc_w": ("714.DCW", "714.Prt.DCW", "103.DCW"),
    "dc_a": ("714.DCA", "714.Prt.DCA"),
    "dc_v": ("714.Prt.DCV", "103.DCV", "124.InBatV"),
    "dc_out_wh": ("714.DCWhInj", "714.Prt.DCWhInj"),
    "dc_in_wh": ("714.DCWhAbs", "714.Prt.DCWhAbs"),
    "soc_pct": ("713.SoC", "124.ChaState"),
    "available_wh": ("713.WHAvail",),
    "connected": ("701.ConnSt",),
    "isolation_ohm": ("122.Ris",),
    "alarms": ("701.Alrm",),  # its bits as a number; 0 = none
}


class InverterDevice(RegisterDevice):
    """Unit 1 on its port. Of the battery it tells what comes over its own terminals and the BMS's estimate."""

    def __init__(self, plant: Plant, name: str, *, now_s: Callable[[], float] = loop_s) -> None:
        self.part = plant.inverter(name)
        self.bank = plant.bank_of(name)
        spec = self.part.spec
        image = Image(models(spec, self.bank.nameplate_wh, plant.hz_nominal, plant.serial(name)), writable(spec))
        super().__init__(plant, name, image, now_s=now_s)
        self._told = tuple((point, tuple(image.cell(register) for register in TOLD[point])) for point in TOLD)
        self._on_phase = tuple(float(phase in spec.phases) for phase in "abc")
        self._cells()

    def write(self, request: Request) -> Answer:
        """Take a write; in local control refuse it."""
        if self.part.local:
            return DEVICE_FAILURE
        self._refresh_groups()
        answer = self.image.answer(request)
        if answer != b"":
            return answer
        self.part.writes += request.count
        if self._touches(request, self._set_group):
            self.part.set_point(self._set_point())
        if self._touches(request, self._limit_group):
            self.part.limit(self._limit())
        if self._touches(request, self._reactive_group):
            self.part.reactive(self._reactive())
        if self._touches(request, self._operation_group):
            self.part.operate(OPERATIONS[round(self._operation.value)])
        if self._touches(request, self._ramp_group):
            self.part.ramp_w_per_s = self._ramp.value * self.part.spec.rated_w / 100
        return answer

    def refresh(self) -> None:
        """Put the inverter's values into the registers, as its sensors tell them."""
        told, t_s = self.part.told.told, self.plant.now_s
        values = self._values()
        for point, cells in self._told:
            value = told(point, values[point], t_s)
            for place, cell in enumerate(cells):
                cell.put(NAN if value is None else value * self._on_phase[place % PHASES] if point in PHASED else value)
        for cell, state in zip(self._states, STATES[self.part.state], strict=True):
            cell.put(state)
        self._location.put(self.part.local)
        self._heartbeat.put(int(t_s) % 0xFFFF_FFFE)
        self._refresh_groups()

    def _values(self) -> dict[str, float]:
        part, bank, plant = self.part, self.bank, self.plant
        pack_v = bank.pack_v
        volts, dc_v = plant.grid_v, max(VOLTS_DC_MIN, pack_v)
        parts = PHASES if part.spec.phases == "abc" else 1
        apparent_va = (part.ac_w**2 + part.reactive_var**2) ** 0.5
        amps = apparent_va / volts if volts > 0 else 0.0
        soc = bank.soc_told
        return {
            "ac_w": part.ac_w,
            "phase_w": part.ac_w / parts,
            "reactive_var": part.reactive_var,
            "phase_var": part.reactive_var / parts,
            "apparent_va": apparent_va,
            "ac_a": amps,
            "sum_a": amps,
            "phase_a": amps / parts,
            "ac_v": volts,
            "line_v": volts * 3**0.5,
            "hz": plant.grid_hz,
            "injected_wh": part.injected_wh,
            "absorbed_wh": part.absorbed_wh,
            "dc_w": part.dc_w,
            "dc_a": part.dc_w / dc_v,
            "dc_v": pack_v,
            "dc_out_wh": part.dc_out_wh,
            "dc_in_wh": part.dc_in_wh,
            "soc_pct": 100 * soc,
            "available_wh": soc * bank.capacity_wh,
            "connected": part.connected,
            "isolation_ohm": 1000 * part.isolation_kohm,
            "alarms": 0.0,
        }

    def _cells(self) -> None:
        cell, cells = self.image.cell, self.image.cells
        self._enabled, self._mode, self._set, self._set_pct = cells(704, "WSetEna", "WSetMod", "WSet", "WSetPct")
        self._enabled_after, self._set_after, self._set_pct_after, self._timer, self._remaining = cells(
            704, "WSetEnaRvrt", "WSetRvrt", "WSetPctRvrt", "WSetRvrtTms", "WSetRvrtRem"
        )
        self._capped, self._cap, self._capped_after, self._cap_after = cells(
            704, "WMaxLimPctEna", "WMaxLimPct", "WMaxLimPctEnaRvrt", "WMaxLimPctRvrt"
        )
        self._cap_timer, self._cap_remaining = cells(704, "WMaxLimPctRvrtTms", "WMaxLimPctRvrtRem")
        self._var_enabled, self._var_mode, self._var_priority, self._var, self._var_pct = cells(
            704, "VarSetEna", "VarSetMod", "VarSetPri", "VarSet", "VarSetPct"
        )
        self._var_enabled_after, self._var_after, self._var_pct_after, self._var_timer, self._var_remaining = cells(
            704, "VarSetEnaRvrt", "VarSetRvrt", "VarSetPctRvrt", "VarSetRvrtTms", "VarSetRvrtRem"
        )
        self._ramp, self._operation = cell("704.WRmp"), cell("715.OpCtl")
        self._location, self._heartbeat = cells(715, "LocRemCtl", "DERHb")
        self._states = (cell("701.InvSt"), cell("103.St"))
        self._set_group = _group(self._enabled, self._timer)
        self._limit_group = _group(self._capped, self._cap_timer)
        self._reactive_group = _group(self._var_enabled, self._var_timer)
        self._operation_group = _group(self._operation, self._operation)
        self._ramp_group = _group(self._ramp, self._ramp)

    def _touches(self, request: Request, group: tuple[int, int]) -> bool:
        first = request.address - BASE
        return first <= group[1] and first + request.count - 1 >= group[0]

    def _set_point(self) -> SetPoint:
        share_w = self.part.spec.rated_w / 100
        in_watts = self._mode.value == 1
        return SetPoint(
            enabled=self._enabled.value == 1,
            power_w=self._set.value if in_watts else self._set_pct.value * share_w,
            after_enabled=self._enabled_after.value == 1,
            after_w=self._set_after.value if in_watts else self._set_pct_after.value * share_w,
            timer_s=self._timer.value,
        )

    def _limit(self) -> Limit:
        return Limit(
            enabled=self._capped.value == 1,
            pct=self._cap.value,
            after_enabled=self._capped_after.value == 1,
            after_pct=self._cap_after.value,
            timer_s=self._cap_timer.value,
        )

    def _reactive(self) -> Reactive:
        share_var = self.part.spec.rated_va / 100
        in_vars = self._var_mode.value == VARS
        return Reactive(
            enabled=self._var_enabled.value == 1,
            reactive_var=self._var.value if in_vars else self._var_pct.value * share_var,
            after_enabled=self._var_enabled_after.value == 1,
            after_var=self._var_after.value if in_vars else self._var_pct_after.value * share_var,
            timer_s=self._var_timer.value,
            priority="active" if self._var_priority.value == 0 else "reactive",
        )

    def _refresh_groups(self) -> None:
        """Show what the reversion timers did since the last look."""
        part = self.part
        if part.reverted:
            part.reverted = False
            self._enabled.put(part.set_point_now.enabled)
            self._set.put(self._set_after.value)
            self._set_pct.put(self._set_pct_after.value)
        if part.limit_reverted:
            part.limit_reverted = False
            self._capped.put(part.limit_now.enabled)
            self._cap.put(self._cap_after.value)
        if part.reactive_reverted:
            part.reactive_reverted = False
            self._var_enabled.put(part.reactive_now.enabled)
            self._var.put(self._var_after.value)
            self._var_pct.put(self._var_pct_after.value)
        self._var_remaining.put(ceil(part.reactive_reverts_s))
        self._remaining.put(ceil(part.reverts_s))
        self._cap_remaining.put(ceil(part.limit_reverts_s))


def _group(first: Cell, last: Cell) -> tuple[int, int]:
    """Return first and last register of a block, counted from the base."""
    return first.offset_bytes // 2, (last.offset_bytes + last.size_bytes) // 2 - 1
