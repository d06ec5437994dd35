"""The verbs on what is inside a device that answers Modbus: a hook of firmware.py or registers.py each.

The cable is sound and the port open; what comes back is not what a sound device would say.
"""

import struct
from collections.abc import Callable

from controller.link.modbus_server import Request
from hil.devices.battery import BatteryDevice
from hil.devices.inverter import InverterDevice
from hil.devices.modbus import Hook as AnyHook
from hil.devices.modbus import ModbusDevice, RegisterDevice
from hil.devices.sunspec import BASE
from hil.faults.bench import Bench, Standing, devices, overlaid
from hil.faults.firmware import Elsewhere, Ignored, Late, Moved, Occupied, Other, SmallReads
from hil.faults.hook import Deaf, Hook
from hil.faults.registers import Frozen, ScaleMoves, Sentinels, Swapped, Torn
from hil.faults.words import WITH_FRAMES, Armed, Heal, Kind, Param, Verb
from hil.plant.inverter import SetPoint
from hil.wire.can import EVERY, Drop

DEVICES: frozenset[Kind] = frozenset(("inverter", "meter"))
ANY: frozenset[Kind] = DEVICES | {"battery", "inputs"}
INVERTER: frozenset[Kind] = frozenset(("inverter",))
WATTS = 1  # 704.WSetMod
SET_BLOCK = struct.Struct(">HHiihhHI")  # 704.WSetEna to WSetRvrtTms: SunSpec DER Information Model 1.0, model 704

_POINT = Param(default="", says='a point of the device\'s sensors ("ac_w") or a register\'s name ("701.W"); "" = all')


def _device(bench: Bench, armed: Armed) -> RegisterDevice:
    device = devices(bench)[armed.fault.on]
    if not isinstance(device, RegisterDevice):
        raise TypeError(f"{armed.fault.on} has no Modbus registers")
    return device


def _hooked(device: ModbusDevice, hook: AnyHook) -> Heal:
    device.hooks.append(hook)
    return lambda: device.hooks.remove(hook)


def _verb(
    name: str,
    says: str,
    hook: Callable[[RegisterDevice, Armed], Hook],
    *,
    on: frozenset[Kind] = DEVICES,
    cuts: bool = False,
    **params: Param,
) -> Verb:
    """Return a verb that is one hook."""

    def begin(bench: Bench, armed: Armed) -> Heal:
        device = _device(bench, armed)
        return _hooked(device, hook(device, armed))

    return Verb(name=name, layer="device", says=says, on=on, begin=begin, params=params, modes=WITH_FRAMES, cuts=cuts)


def _mute(bench: Bench, armed: Armed) -> Heal:
    """Let a device say nothing: on its wire or bus, or as the bench without frames has it."""
    name = armed.fault.on
    device = devices(bench).get(name)
    if isinstance(device, ModbusDevice):
        return _hooked(device, Deaf(armed))
    if isinstance(device, BatteryDevice):
        drop = Drop(armed.bit, lambda: True, EVERY)
        device.wire.add(drop)
        return lambda: device.wire.remove(drop)
    overlay, heal = overlaid(bench, "silent", lambda names: names | {name})

    def look() -> None:
        overlay.look()
        armed.bit()

    return Standing(heal, look)


def _lose_unit(bench: Bench, armed: Armed) -> Heal:
    """Let an inverter die: it forgets what it was told, says nothing, and starts anew at the end."""
    overlay, find = overlaid(bench.plant.inverter(armed.fault.on), "lost", lambda _lost: True)
    unmute = _mute(bench, armed)

    def look() -> None:
        overlay.look()
        if isinstance(unmute, Standing):
            unmute.look()

    def heal() -> None:
        unmute()
        find()

    return Standing(heal, look)


def _write_late(bench: Bench, armed: Armed) -> Heal:
    device = _device(bench, armed)
    late = Late(device, armed)
    unhook = _hooked(device, late)

    def heal() -> None:
        unhook()
        late.take(float("inf"))

    return Standing(heal, lambda: late.take(device.now_s()))


def _second_master(bench: Bench, armed: Armed) -> Heal:
    """Write a set point of another master's again and again, through the frames where there are any."""
    name, power_w, timer_s = armed.fault.on, armed.number("power_w"), armed.number("timer_s")
    device, part = devices(bench).get(name), bench.plant.inverter(name)
    due_s = bench.plant.now_s

    def look() -> None:
        nonlocal due_s
        if bench.plant.now_s < due_s:
            return
        due_s += armed.number("every_s")
        if isinstance(device, InverterDevice):
            taken = device.answer(_set_point(device, power_w, timer_s)) == b""
        else:
            part.set_point(SetPoint(enabled=True, power_w=power_w, timer_s=timer_s))
            taken = True
        if taken:
            armed.bit()

    return Standing(lambda: None, look)


def _set_point(device: InverterDevice, power_w: float, timer_s: float) -> Request:
    registers = SET_BLOCK.pack(1, WATTS, round(power_w), 0, 0, 0, 0, round(timer_s))
    return Request(
        unit=device.unit,
        function=16,
        address=BASE + device.image.cell("704.WSetEna").offset_bytes // 2,
        count=len(registers) // 2,
        registers=registers,
        peer="second master",
    )


VERBS: tuple[Verb, ...] = (
    Verb(name="mute", layer="device", says="the device says nothing", on=ANY, begin=_mute, cuts=True),
    Verb(
        name="lose_unit",
        layer="device",
        says="the inverter is dead, and starts anew at the end",
        on=INVERTER,
        begin=_lose_unit,
        cuts=True,
    ),
    _verb("write_ignored", "writes are acknowledged and nothing happens", Ignored, on=INVERTER),
    Verb(
        name="write_late",
        layer="device",
        says="writes are acknowledged at once and taken later",
        on=INVERTER,
        begin=_write_late,
        params={"late_s": Param(default=5.0, low=0.1, high=300.0, unit="s", says="how much later")},
        modes=WITH_FRAMES,
    ),
    _verb(
        "write_elsewhere",
        "what is written to one point lands in another, and is read back there",
        Elsewhere,
        on=INVERTER,
        point=Param(default="704.WSet", says="what is written"),
        other=Param(default="704.WSetRvrt", says="where it lands"),
    ),
    _verb(
        "frozen",
        "registers stay as they are; writes are taken and read back",
        Frozen,
        heartbeat=Param(default="stops", choices=("stops", "goes on"), says="what the device's own heartbeat does"),
    ),
    _verb(
        "sentinels",
        'registers hold a word that means "not implemented"',
        Sentinels,
        point=_POINT,
        word=Param(default="0x8000", choices=("0x8000", "0xFFFF", "0x7FC00000"), says="what they hold"),
    ),
    _verb(
        "swapped",
        "values come, and are taken, in another order than the paper's",
        Swapped,
        order=Param(default="words", choices=("words", "bytes"), says="what is turned: registers of a value, or bytes"),
    ),
    _verb(
        "scale_moves",
        "a scale factor changes while the device runs",
        ScaleMoves,
        factor=Param(default="", says='its name; "" = that of the power: "701.W_SF", "203.W_SF"'),
        by=Param(default=1.0, low=-4.0, high=4.0, says="how much is added to the exponent"),
        late_s=Param(default=0.0, low=0.0, high=60.0, unit="s", says="the values follow so much later"),
    ),
    _verb("torn", "the registers of a long value are of two moments", Torn, point=_POINT),
    _verb(
        "occupied",
        "another master holds the only connection that is served",
        Occupied,
        cuts=True,
        answer=Param(default="silence", choices=("silence", "busy"), says="to all others: nothing, or exception 6"),
    ),
    Verb(
        name="second_master",
        layer="device",
        says="another master writes its own set point",
        on=INVERTER,
        begin=_second_master,
        params={
            "power_w": Param(default=-2000.0, low=-1e7, high=1e7, unit="W", says="its set point, + toward the grid"),
            "every_s": Param(default=2.0, low=0.1, high=3600.0, unit="s", says="how often it writes"),
            "timer_s": Param(default=0.0, low=0.0, high=86_400.0, unit="s", says="its reversion time, 0 = none"),
        },
    ),
    _verb(
        "small_reads",
        "reads are short and requests far apart, or they are refused",
        SmallReads,
        registers=Param(default=10.0, low=1.0, high=125.0, unit="registers", says="most in one read, else exception 3"),
        gap_s=Param(default=0.1, low=0.0, high=10.0, unit="s", says="a request sooner after another gets no answer"),
    ),
    _verb(
        "moved",
        "the device starts anew, and its models are elsewhere then",
        Moved,
        silent_s=Param(default=20.0, low=0.0, high=600.0, unit="s", says="says nothing for so long"),
        order=Param(default="turned", choices=("turned", "kept"), says="of the models behind the common one"),
        without=Param(default=0.0, low=0.0, high=65_534.0, says="the model that is gone, 0 = none"),
    ),
    _verb(
        "other_serial",
        "another device of the same make answers at the address, at rest",
        Other,
        serial=Param(default="OTHER-0002", says="its serial number"),
        share=Param(default=1.0, low=0.0, high=1.0, says="at how many of the requests"),
    ),
)
