"""The frames of a BMS that tells of its cells: what SMA defined, with what Victron and BYD added to it.

Source: SMA, FSS-ConnectingBat-TI-en-10 (0x351, 0x355, 0x356, 0x35A, 0x35E, 0x35F; what is not told is all ones, with a
sign 0x8000); Safiery, CAN guide V5.1 p. 11-13 and github.com/dfch/BydCanProtocol (0x372, 0x373: cells in mV and
whole kelvin); Pylontech LV V1.2 (0x35C, the requests, which some makers of this kind send as well). Little-endian.
"""

from struct import pack as packed

from hil.plant.battery import Battery

Frame = tuple[int, bytes]

NOT_TOLD_U16, NOT_TOLD_S16 = 0xFFFF, -0x8000
KELVIN = 273.15
RAISED, CLEARED = 0b01, 0b10
WORDS_BYTES = 4
# 0x35A: the pair of each of the BMS's names, counted from the lowest bits of byte 0.
PAIRS = {
    "over_voltage": 1,
    "under_voltage": 2,
    "over_temperature": 3,
    "under_temperature": 4,
    "discharge_over_current": 7,
    "charge_over_current": 8,
    "contactor": 9,
    "communication": 11,
    "imbalance": 12,
}
GENERAL = 0  # all other names
PAIRS_SENT = 13


def limits(part: Battery, t_s: float) -> Frame:
    """Return 0x351."""
    charge_v, discharge_v = round(10 * part.charge_max_v), round(10 * part.discharge_min_v)
    charge_a, discharge_a = (
        _s16(part, point, int(10 * value) / 10, t_s, 10)
        for point, value in (("charge_max_a", part.charge_max_a), ("discharge_max_a", part.discharge_max_a))
    )
    return 0x351, packed("<HhhH", charge_v, charge_a, discharge_a, discharge_v)


def frames(part: Battery, request_bits: int, t_s: float) -> tuple[Frame, ...]:
    """Return the whole set as the battery stands now, as its sensors tell it. request_bits: byte 0 of 0x35C."""
    soc_pct = _u16(part, "soc", part.soc_told, t_s, 100)
    fine = _u16(part, "soc", part.soc_told, t_s, 10_000)
    health_pct = _u16(part, "soh", part.soh_told, t_s, 100)
    volts = _s16(part, "pack_v", part.pack_v, t_s, 100)
    charge = _s16(part, "pack_a", part.pack_a, t_s, -10)  # charging counts positive
    celsius = _s16(part, "temperature_c", part.temperature_c, t_s, 10)
    modules = part.modules
    blocked = (0 if part.charge_enabled else modules, 0 if part.discharge_enabled else modules)
    return (
        limits(part, t_s),
        (0x355, packed("<HHH", soc_pct, health_pct, fine)),
        (0x356, packed("<hhh", volts, charge, celsius)),
        (0x35A, _pairs(part.alarms) + _pairs(part.warnings)),
        (0x35C, packed("<BB", request_bits, 0)),
        (0x35E, b"BENCHBMS"),
        (0x35F, packed("<HHHH", 0, 0x0100, round(part.capacity_wh / part.pack_v), 0)),
        (0x372, packed("<HHHH", modules, *blocked, 0)),
        (0x373, packed("<HHHH", *cells(part, t_s))),
    )


def cells(part: Battery, t_s: float) -> tuple[int, int, int, int]:
    """Return what 0x373 tells: the lowest and the highest cell in mV, the coldest and the hottest in kelvin."""
    return (
        _u16(part, "cell_min_v", part.cell_min_v, t_s, 1000),
        _u16(part, "cell_max_v", part.cell_max_v, t_s, 1000),
        _kelvin(part, "temperature_min_c", part.cell_cold_c, t_s),
        _kelvin(part, "temperature_max_c", part.cell_c, t_s),
    )


def _u16(part: Battery, point: str, value: float, t_s: float, per_unit: int) -> int:
    """Return a number without a sign, in steps of the frame; a negative one wraps, as it does in small firmware."""
    told = part.told.told(point, value, t_s)
    return NOT_TOLD_U16 if told is None else round(told * per_unit) & 0xFFFF


def _s16(part: Battery, point: str, value: float, t_s: float, per_unit: int) -> int:
    told = part.told.told(point, value, t_s)
    return NOT_TOLD_S16 if told is None else max(-0x7FFF, min(0x7FFF, round(told * per_unit)))


def _kelvin(part: Battery, point: str, true_c: float, t_s: float) -> int:
    told = part.told.told(point, true_c, t_s)
    return NOT_TOLD_U16 if told is None else round(told + KELVIN) & 0xFFFF


def _pairs(names: frozenset[str]) -> bytes:
    """Return four bytes of pairs: raised or cleared, what lies behind the last one not supported."""
    raised = {PAIRS.get(name, GENERAL) for name in names}
    word = sum((RAISED if place in raised else CLEARED) << 2 * place for place in range(PAIRS_SENT))
    return word.to_bytes(WORDS_BYTES, "little")
