"""The emulated battery: LFP modules with a BMS that speaks the Pylontech LV protocol on CAN.

Source: Pylontech CAN-Bus-protocol LV V1.2 (2018-04-08), with the discharge voltage in 0x351 bytes 6-7 and the fine
state of charge in 0x355 bytes 4-5 that its followers added. Standard identifiers, little-endian, the whole set every
second; 0x351 at once when a limit moves by more than 5 %.
"""

from collections.abc import Callable
from struct import pack as packed
from typing import Literal

from hil.devices.device import Device, loop_s
from hil.devices.slcan import SlcanServer
from hil.devices.socketcan import SocketcanServer
from hil.plant.battery import Battery, Pack
from hil.wires import Wires

Frame = tuple[int, bytes]

KEEPALIVE_ID = 0x305
PERIOD_S = 1.0
NOTICE_PCT = 5  # of the largest limit
PAUSE_AFTER_S = 5.0  # YamBMS: frames stop this long after the last keepalive
PAUSE_PERIOD_S = 30.0  # and are tried again this often
OPEN_AFTER_S = 60.0  # Battery-Emulator and SMA: the time after which the other side counts as dead

CHARGE_ENABLE, DISCHARGE_ENABLE, FORCE_CHARGE = 0x80, 0x40, 0x20  # 0x35C byte 0, bits 7, 6, 5
INTERNAL_COMMUNICATION = 0x0800  # 0x359 byte 3 bit 3, as a little-endian word of bytes 2-3
FORCE_CHARGE_BELOW, FORCE_CHARGE_UNTIL = 0.05, 0.10  # US2000B-Plus, bit 5
TEMPERATURE_C = 25.0
SOH_PCT = 100


class BatteryDevice(Device):
    """The battery on its CAN bus.

    can names an interface of the kernel to sit on; None listens on TCP as a serial adapter (slcan).
    when_silent says what the BMS does without 0x305: "open" opens the contactor after 60 s until it is heard again,
    "pause" stops sending after 5 s and tries one set every 30 s.
    """

    cable = "bms_cable"

    def __init__(
        self,
        wires: Wires,
        *,
        now_s: Callable[[], float] = loop_s,
        pack: Pack | None = None,
        when_silent: Literal["open", "pause"] = "open",
        can: str | None = None,
    ) -> None:
        super().__init__(wires, now_s=now_s)
        self.physics = Battery(pack, soc=wires["soc"])
        self._bus = SlcanServer(self._hear) if can is None else SocketcanServer(self._hear, can)
        self.server = self._bus
        self._pauses = when_silent == "pause"
        self._silent_s = 0.0  # since the last keepalive
        self._since_set_s = PERIOD_S
        self._told_a = (0.0, 0.0)
        self._force_charge = False

    @property
    def closed(self) -> bool:
        """Whether the contactor is closed."""
        return self._pauses or self._silent_s < OPEN_AFTER_S

    def step(self, dt_s: float) -> None:
        """Move energy, limits and the protocol's timers; send what is due."""
        wires, physics = self.wires, self.physics
        self._silent_s += dt_s
        self._since_set_s += dt_s
        reset = wires["reset_soc"]
        if reset >= 0:
            physics.energy_wh = min(1.0, reset) * physics.pack.capacity_wh
            wires["reset_soc"] = -1.0
            self._since_set_s = PERIOD_S
        physics.step(dt_s, wires["inverter_dc_w"] if self.closed else 0.0)
        limits_a = (physics.charge_max_a, physics.discharge_max_a) if self.closed else (0.0, 0.0)
        wires["charge_max_a"], wires["discharge_max_a"] = limits_a
        wires["contactor"] = self.closed
        wires["soc"], wires["energy_wh"], wires["capacity_wh"] = (
            physics.soc,
            physics.energy_wh,
            physics.pack.capacity_wh,
        )
        wires["pack_v"], wires["pack_a"] = physics.pack_v, physics.pack_a
        self._send()

    def inject(self, lines: bytes) -> None:
        """Put slcan lines on the bus as they are, for tests: short frames, floods, contradictions."""
        self._bus.inject(lines)

    def frames(self) -> tuple[Frame, ...]:
        """Return the whole set as the battery stands now."""
        wires, pack, physics = self.wires, self.physics.pack, self.physics
        soc = min(1.0, max(0.0, wires["soc"] + wires["soc_bias"]))
        self._force_charge = soc < (FORCE_CHARGE_UNTIL if self._force_charge else FORCE_CHARGE_BELOW)
        request = FORCE_CHARGE if self._force_charge else 0
        request |= CHARGE_ENABLE if wires["charge_max_a"] > 0 else 0
        request |= DISCHARGE_ENABLE if wires["discharge_max_a"] > 0 else 0
        alarms = 0 if self.closed else INTERNAL_COMMUNICATION
        volts, amps = round(100 * physics.pack_v), round(-10 * physics.pack_a)  # Pylontech counts charging positive
        return (
            self._limits(),
            (0x355, packed("<HHH", round(100 * soc), SOH_PCT, round(10_000 * soc))),
            (0x356, packed("<hhh", volts, amps, round(10 * TEMPERATURE_C))),
            (0x359, packed("<HHB2s", 0, alarms, pack.modules, b"PN")),
            (0x35C, packed("<BB", request, 0)),
            (0x35E, b"PYLON   "),
        )

    def _limits(self) -> Frame:
        pack, (charge_a, discharge_a) = self.physics.pack, self._allowed_a()
        charge_v, discharge_v = round(10 * pack.charge_max_v), round(10 * pack.discharge_min_v)
        return 0x351, packed("<HhhH", charge_v, int(10 * charge_a), int(10 * discharge_a), discharge_v)

    def _allowed_a(self) -> tuple[float, float]:
        return self.wires["charge_max_a"], self.wires["discharge_max_a"]

    def _send(self) -> None:
        period_s = PAUSE_PERIOD_S if self._pauses and self._silent_s > PAUSE_AFTER_S else PERIOD_S
        if self._since_set_s >= period_s - self.step_s / 2:
            self._since_set_s = 0.0
            self._told_a = self._allowed_a()
            self._bus.send(self.frames())
        elif period_s == PERIOD_S and self._moved():
            self._told_a = self._allowed_a()
            self._bus.send((self._limits(),))

    def _moved(self) -> bool:
        """Say whether a limit left what was told by more than the notice."""
        notice_a = self.physics.pack.modules * self.physics.pack.module_max_a * NOTICE_PCT / 100
        return any(abs(now - told) > notice_a for now, told in zip(self._allowed_a(), self._told_a, strict=True))

    def _hear(self, number: int, data: bytes) -> None:
        if number == KEEPALIVE_ID:
            self._silent_s = 0.0
