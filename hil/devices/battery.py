"""The emulated battery on the wire: a BMS that speaks the Pylontech LV protocol on CAN, or that of canbus_bms.py.

Source: Pylontech CAN-Bus-protocol LV V1.2 (2018-04-08), with the discharge voltage in 0x351 bytes 6-7 and the fine
state of charge in 0x355 bytes 4-5 that its followers added. Standard identifiers, little-endian, the whole set every
second; 0x351 at once when a limit moves by more than 5 %.
"""

from collections.abc import Callable
from struct import pack as packed

from hil.devices import canbus_bms
from hil.devices.canbus_bms import Frame
from hil.devices.device import Device, loop_s
from hil.devices.slcan import SlcanServer
from hil.devices.socketcan import SocketcanServer
from hil.plant.battery import Battery
from hil.plant.site import Plant
from hil.wire.can import CanWire

KEEPALIVE_ID = 0x305
PERIOD_S = 1.0
TICK_S = 0.1
NOTICE_PCT = 5  # of the largest limit
PAUSE_AFTER_S = 5.0  # YamBMS: frames stop this long after the last keepalive
PAUSE_PERIOD_S = 30.0  # and are tried again this often

CHARGE_ENABLE, DISCHARGE_ENABLE, FORCE_CHARGE, FULL_CHARGE = 0x80, 0x40, 0x20, 0x08  # 0x35C byte 0, bits 7, 6, 5, 3
# 0x359, alarms as a little-endian word of bytes 0-1 and 2-3 (warnings): the bit of each of the BMS's names.
ALARM_BITS = {
    "over_voltage": 0x0002,
    "under_voltage": 0x0004,
    "over_temperature": 0x0008,
    "under_temperature": 0x0010,
    "discharge_over_current": 0x0080,
    "charge_over_current": 0x0100,
    "system": 0x0800,  # in the word of the warnings: internal communication
}


class BatteryDevice(Device):
    """The battery on its CAN bus: can names an interface of the kernel to sit on; None listens on TCP as slcan."""

    def __init__(
        self,
        plant: Plant,
        name: str,
        *,
        now_s: Callable[[], float] = loop_s,
        wire: CanWire | None = None,
        can: str | None = None,
    ) -> None:
        super().__init__(plant, name, now_s=now_s)
        self.part: Battery = plant.battery(name)
        self._tells_cells = self.part.spec.speaks == "canbus_bms"
        self.wire = wire or CanWire()
        self._bus = SlcanServer(self._hear) if can is None else SocketcanServer(self._hear, can)
        self.server = self._bus
        self._sent_s = float("-inf")
        self._heard_s: float | None = None
        self._told_a = (0.0, 0.0)

    def tick(self) -> None:
        """Send what is due."""
        now_s = self.now_s()
        late = self.wire.due(now_s)
        if late:
            self._bus.send(late)
        period_s = PAUSE_PERIOD_S if self._paused(now_s) else PERIOD_S
        limits_a = self._limits_a()
        if now_s - self._sent_s >= period_s - TICK_S / 2:
            self._sent_s, self._told_a = now_s, limits_a
            self._send(self.frames(), now_s)
        elif period_s == PERIOD_S and self._moved(limits_a):
            self._told_a = limits_a
            self._send((self._limits(),), now_s)

    def inject(self, lines: bytes) -> None:
        """Put slcan lines on the bus as they are, for tests: short frames, floods, contradictions."""
        self._bus.inject(lines)

    def frames(self) -> tuple[Frame, ...]:
        """Return the whole set as the battery stands now, as its sensors tell it."""
        part = self.part
        request = FORCE_CHARGE if part.force_charge else 0
        request |= FULL_CHARGE if part.full_charge_wanted else 0
        request |= CHARGE_ENABLE if part.charge_enabled else 0
        request |= DISCHARGE_ENABLE if part.discharge_enabled else 0
        if self._tells_cells:
            return canbus_bms.frames(part, request, self.plant.now_s)
        alarms, warnings = _bits(part.alarms), _bits(part.warnings)
        soc = self._told("soc", part.soc_told)
        charge_count = -10 * self._told("pack_a", part.pack_a)  # Pylontech counts charging positive
        volts, celsius = self._told("pack_v", part.pack_v), self._told("temperature_c", part.temperature_c)
        health_pct = round(100 * self._told("soh", part.soh_told))
        return (
            self._limits(),
            (0x355, packed("<HHH", _u16(100 * soc), _u16(health_pct), _u16(10_000 * soc))),
            (0x356, packed("<hhh", _i16(100 * volts), _i16(charge_count), _i16(10 * celsius))),
            (0x359, packed("<HHB2s", alarms, warnings, part.modules, b"PN")),
            (0x35C, packed("<BB", request, 0)),
            (0x35E, b"PYLON   "),
        )

    def _limits(self) -> Frame:
        if self._tells_cells:
            return canbus_bms.limits(self.part, self.plant.now_s)
        charge_a, discharge_a = self._limits_a()
        charge_v, discharge_v = round(10 * self.part.charge_max_v), round(10 * self.part.discharge_min_v)
        return 0x351, packed("<HhhH", charge_v, _i16(int(10 * charge_a)), _i16(int(10 * discharge_a)), discharge_v)

    def _limits_a(self) -> tuple[float, float]:
        part = self.part
        return self._told("charge_max_a", part.charge_max_a), self._told("discharge_max_a", part.discharge_max_a)

    def _told(self, point: str, value: float) -> float:
        """Return what a sensor tells; these frames know no "not a number", so a dead one tells all bits set."""
        told = self.part.told.told(point, value, self.plant.now_s)
        return -0.1 if told is None else told

    def _send(self, frames: tuple[Frame, ...], now_s: float) -> None:
        self._bus.send(self.wire.out(frames, now_s))

    def _paused(self, now_s: float) -> bool:
        if self.part.spec.when_silent != "pause":
            return False
        return self._heard_s is not None and now_s - self._heard_s > PAUSE_AFTER_S

    def _moved(self, limits_a: tuple[float, float]) -> bool:
        """Say whether a limit left what was told by more than the notice."""
        notice_a = self.part.current_max_a * NOTICE_PCT / 100
        return any(abs(now - told) > notice_a for now, told in zip(limits_a, self._told_a, strict=True))

    def _hear(self, number: int, data: bytes) -> None:
        if number == KEEPALIVE_ID and self.wire.heard(number, data, self.now_s()):
            self._heard_s = self.now_s()
            self.part.keepalive()


def _bits(names: frozenset[str]) -> int:
    bits = 0
    for name in names:
        bits |= ALARM_BITS.get(name, ALARM_BITS["system"])
    return bits


def _u16(value: float) -> int:
    return round(value) & 0xFFFF


def _i16(value: float) -> int:
    return max(-0x8000, min(0x7FFF, round(value)))
