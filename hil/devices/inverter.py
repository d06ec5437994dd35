"""The emulated battery inverter: SunSpec over Modbus TCP, fourteen models, set point by 704 with reversion.

Laws (SunSpec DER Information Model 1.0, model 704; IEEE 1547-2018 10.6):
- Every write that touches the WSet group while it is enabled starts its reversion timer anew; 0 s is no timer.
- On expiry WSet takes WSetRvrt and WSetEna takes WSetEnaRvrt. Disabled means 0 W.
- In local control (715.LocRemCtl) the device stays at 0 W and refuses every write.
"""

from collections.abc import Callable
from math import ceil

from controller.link.modbus_server import ModbusServer, Request
from hil.devices.device import Device, loop_s
from hil.devices.inverter_map import UNIT, models, writable
from hil.devices.sunspec import BASE, DEVICE_FAILURE, Image
from hil.plant import GRID_V, PHASES
from hil.plant.battery import Pack
from hil.plant.inverter import Inverter, Rating
from hil.wires import Wires

UNLIMITED_W = 1e9
OFF, RUNNING, STANDBY = (0, 1), (3, 4), (7, 8)  # 701.InvSt, 103.St
STATE_OF_OPERATION = (OFF, RUNNING, STANDBY, RUNNING)  # by 715.OpCtl: stop, start, enter and exit standby


class InverterDevice(Device):
    """Unit 1 on its port. Of the battery it knows what comes over its own terminals."""

    cable = "inverter_cable"
    step_s = 0.05

    def __init__(
        self,
        wires: Wires,
        *,
        now_s: Callable[[], float] = loop_s,
        rating: Rating | None = None,
        pack: Pack | None = None,
    ) -> None:
        super().__init__(wires, now_s=now_s)
        self.physics = Inverter(rating)
        self.image = Image(models(self.physics.rating, pack or Pack()), writable(self.physics.rating))
        self.server = ModbusServer(self.answer)
        self._reverts_s: float | None = None  # when the set point lapses, None = never
        self._wanted_w = 0.0
        self._local = False
        self._heartbeat_s = 0.0
        self._discharged_wh = self._charged_wh = 0.0
        self._cells()

    def answer(self, request: Request) -> bytes | int | None:
        """Answer one request; a write moves the physics to its own moment first."""
        if request.unit != UNIT:
            return None
        if request.function in (3, 4):
            return self.image.answer(request)
        self.advance()
        if self._local:
            return DEVICE_FAILURE
        answer = self.image.answer(request)
        if answer == b"":
            first, last = request.address - BASE, request.address - BASE + request.count - 1
            if first <= self._group[1] and last >= self._group[0]:
                self._start_timer()
            self._apply()
        return answer

    def step(self, dt_s: float) -> None:
        """Move power, timers and registers."""
        local = self.wires["inverter_local"] >= 0.5
        if local != self._local:
            self._local = local
            self._location.put(local)
            self._apply()
        self._revert()
        pack_v = self.wires["pack_v"]
        self.physics.step(dt_s, *self._battery_limits_w(pack_v))
        dc_wh = self.physics.dc_w * dt_s / 3600
        self._discharged_wh += max(0.0, dc_wh)
        self._charged_wh += max(0.0, -dc_wh)
        self._heartbeat_s += dt_s
        self.wires["inverter_w"] = self.physics.ac_w
        self.wires["inverter_dc_w"] = self.physics.dc_w
        self._refresh(self.physics.ac_w, self.physics.dc_w, pack_v)

    def _battery_limits_w(self, pack_v: float) -> tuple[float, float]:
        """Return what the battery's side lets through. Most inverters do not hear the BMS: keeping it is our task."""
        if self.wires["contactor"] < 0.5:
            return 0.0, 0.0
        if self.wires["inverter_obeys_bms"] >= 0.5:
            return self.wires["charge_max_a"] * pack_v, self.wires["discharge_max_a"] * pack_v
        return UNLIMITED_W, UNLIMITED_W

    def _cells(self) -> None:
        cells, cell = self.image.cells, self.image.cell
        self._enabled, self._mode, self._remaining = cells(704, "WSetEna", "WSetMod", "WSetRvrtRem")
        self._enabled_after, self._timer = cells(704, "WSetEnaRvrt", "WSetRvrtTms")
        self._set, self._set_after, self._set_pct, self._set_pct_after = cells(
            704, "WSet", "WSetRvrt", "WSetPct", "WSetPctRvrt"
        )
        self._ramp, self._operation = cell("704.WRmp"), cell("715.OpCtl")
        self._location, self._heartbeat = cells(715, "LocRemCtl", "DERHb")
        self._group = (self._enabled.offset_bytes // 2, self._timer.offset_bytes // 2 + 1)
        self._states = (cell("701.InvSt"), cell("103.St"))
        self._ac = (cell("701.W"), cell("103.W"))
        self._phase = cells(701, "WL1", "WL2", "WL3")
        self._apparent = (cell("701.VA"), cell("103.VA"))
        self._amps = (cell("701.A"), cell("103.A"))
        self._phase_amps = (*cells(701, "AL1", "AL2", "AL3"), *cells(103, "AphA", "AphB", "AphC"))
        self._injected = (cell("701.TotWhInj"), cell("103.WH"))
        self._absorbed = (cell("701.TotWhAbs"),)
        self._dc = (cell("714.DCW"), cell("714.Prt.DCW"), cell("103.DCW"))
        self._dc_amps = (cell("714.DCA"), cell("714.Prt.DCA"))
        self._dc_volts = (cell("714.Prt.DCV"), cell("103.DCV"), cell("124.InBatV"))
        self._dc_out = (cell("714.DCWhInj"), cell("714.Prt.DCWhInj"))
        self._dc_in = (cell("714.DCWhAbs"), cell("714.Prt.DCWhAbs"))
        self._soc_pct = (cell("713.SoC"), cell("124.ChaState"))
        self._available = (cell("713.WHAvail"),)

    def _start_timer(self) -> None:
        timed = self._enabled.value == 1 and self._timer.value > 0
        self._reverts_s = self.now_s() + self._timer.value if timed else None
        self._remaining.put(self._timer.value if timed else 0)

    def _revert(self) -> None:
        """Count the set point's time down; when it is over, fall back."""
        if self._reverts_s is None:
            return
        left_s = self._reverts_s - self.now_s()
        self._remaining.put(max(0, ceil(left_s)))
        if left_s > 0:
            return
        self._reverts_s = None
        self._set.put(self._set_after.value)
        self._set_pct.put(self._set_pct_after.value)
        self._enabled.put(self._enabled_after.value)
        self._apply()

    def _apply(self) -> None:
        """Hand the set point in force to the physics."""
        rated_w = self.physics.rating.rated_w
        state = STATE_OF_OPERATION[round(self._operation.value)]
        wanted_w = 0.0
        if state == RUNNING and self._enabled.value == 1 and not self._local:
            wanted_w = self._set.value if self._mode.value == 1 else self._set_pct.value * rated_w / 100
        for cell, value in zip(self._states, state, strict=True):
            cell.put(value)
        self.physics.ramp_w_per_s = self._ramp.value * rated_w / 100
        if wanted_w != self._wanted_w:
            self._wanted_w = wanted_w
            self.physics.command(wanted_w)
            self.wires["inverter_command_w"] = wanted_w

    def _refresh(self, ac_w: float, dc_w: float, pack_v: float) -> None:
        soc = min(1.0, max(0.0, self.wires["soc"] + self.wires["soc_bias"]))
        for cells, value in (
            (self._ac, ac_w),
            (self._phase, ac_w / PHASES),
            (self._apparent, abs(ac_w)),
            (self._amps, abs(ac_w) / GRID_V),
            (self._phase_amps, abs(ac_w) / GRID_V / PHASES),
            (self._injected, self.physics.injected_wh),
            (self._absorbed, self.physics.absorbed_wh),
            (self._dc, dc_w),
            (self._dc_amps, dc_w / pack_v if pack_v else 0.0),
            (self._dc_volts, pack_v),
            (self._dc_out, self._discharged_wh),
            (self._dc_in, self._charged_wh),
            (self._soc_pct, 100 * soc),
            (self._available, soc * self.wires["capacity_wh"]),
        ):
            for cell in cells:
                cell.put(value)
        self._heartbeat.put(int(self._heartbeat_s))
