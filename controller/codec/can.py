"""Frames of a battery on CAN, turned into readings as a DBC lays them out.

Laws:
- The DBC tells everything: which frame holds what (by the signal names in _KNOWN), its scale and unit, what is
  plausible ([min|max]), how short a frame may be ("LeastBytes"). No identifier stands in this file.
- A signal named Alarm_x or Warning_x is one bit (1 = raised) or a pair (1 = raised, 2 = cleared, 0 and 3 = not
  supported). A byte that holds one holds nothing else: its other bits are told by their place and never dropped.
- A signal that a short frame does not carry, or that is all ones (unsigned) or 0x8000 (signed), is None.
- A frame of alarms or permissions that was met once and is lost is never taken for "no alarm" or "permitted".
- What any other frame told is None once that frame is stale, whatever else goes on being heard.

To add a battery of this kind: a DBC with these names and a profile; no code.
"""

from collections.abc import Iterator, Mapping

import msgspec
from cantools.database import load_string
from cantools.database.can import Database, Message, Signal
from cantools.database.errors import Error as DbcError

from controller.model import Battery, FaultName, Profile

EXTENDED = 1 << 31  # set in the identifier of a 29-bit frame, as in DBC files

_PER_UNIT = {"V": 1000, "mV": 1, "A": 1000, "degC": 1000, "%": 100, "kOhm": 1, "": 1}  # -> mV, mA, mC, bp
_LIMITS = ("ChargeCurrentMax", "DischargeCurrentMax")
_NEEDED = (*_LIMITS, "SoC", "PackVoltage")  # no reading without a fresh frame of each
_PERMISSIONS = ("ChargeEnable", "DischargeEnable")
_KNOWN = frozenset(
    (
        *_NEEDED,
        *_PERMISSIONS,
        "ChargeVoltageMax",
        "DischargeVoltageMin",
        "SoCFine",
        "SoH",
        "PackCurrent",
        "PackTemperature",
        "CellVoltageMin",
        "CellVoltageMax",
        "CellTemperatureMin",
        "CellTemperatureMax",
        "Isolation",
        "ForceChargeI",
        "ForceChargeII",
        "FullChargeRequest",
        "Modules",
    )
)
_SOC_AGREE_BP = 100  # the fine state of charge is believed this close to the coarse one
_SOC_APART_BP = 500  # two states of charge further apart contradict each other
_VOLTAGE_RATIO = 3  # a scale taken wrongly is off by 10; a pack is never this far from its own limits
_SWING_PCT = 10  # a load step of a healthy pack moves its voltage by less


class _Value(msgspec.Struct, frozen=True):
    """A number in a frame. invalid is the raw number that means "not told"."""

    name: str
    factor: float
    offset: float
    unit: str
    invalid: int | None
    least: float | None
    most: float | None


class _Flag(msgspec.Struct, frozen=True):
    """One bit (mask 1) or one pair of bits (mask 3); raised where the masked bits read 1."""

    text: str
    warning: bool
    index: int  # of the byte
    bit: int
    mask: int


class _Layout(msgspec.Struct, frozen=True):
    """One frame of the DBC."""

    label: str
    message: Message
    least_bytes: int
    values: tuple[_Value, ...]
    flags: tuple[_Flag, ...]

    def holds(self, *names: str) -> bool:
        """Return whether any of the signals is in this frame."""
        return any(value.name in names for value in self.values)


class _Heard(msgspec.Struct, frozen=True):
    """What a frame said last. values are in the units of Battery, those beyond their range included."""

    at_ms: int
    values: dict[str, int]
    beyond: dict[str, str]  # signal -> what is implausible about it
    alarms: tuple[str, ...]
    warnings: tuple[str, ...]


class _Trace(msgspec.Struct):
    """The last moves of a value, to notice that two batteries take turns in telling it."""

    value: int
    offset: int = 0  # of the last jump
    jumped_ms: int = 0
    swung_ms: int | None = None


class BatteryFrames:
    """The frames of one battery, put together. Pure: time is handed in and must not run backwards.

    Raises ValueError from the constructor when the DBC cannot be read or lacks a frame no battery can do without.
    """

    def __init__(self, device: str, profile: Profile, dbc_text: str) -> None:
        self._device = device
        self._profile = profile
        self._layouts = {_identifier(message): _layout(message) for message in _messages(profile, dbc_text)}
        layouts = self._layouts.items()
        for name in _NEEDED:
            if not any(layout.holds(name) for _, layout in layouts):
                raise ValueError(f"{profile.dbc}: no frame holds the signal {name}")
        self._needed = {key for key, layout in layouts if layout.holds(*_NEEDED)}
        self._alarming = {key for key, layout in layouts if layout.flags}
        self._permitting = {key for key, layout in layouts if layout.holds(*_PERMISSIONS)}
        limiting = {key for key, layout in layouts if layout.holds(*_LIMITS)}
        self._urgent = limiting | self._alarming | self._permitting
        self._heard: dict[int, _Heard] = {}
        self._refused: dict[int, tuple[int, str]] = {}
        self._round: set[int] = set()  # the needed frames heard since a set was complete
        self._traces: dict[str, _Trace] = {}

    def take(self, identifier: int, data: bytes, now_ms: int) -> bool:
        """Take a frame; return whether a reading is due: limits, alarms, permissions at once, the rest by the set."""
        layout = self._layouts.get(identifier)
        if layout is None:
            return False
        if len(data) < layout.least_bytes:
            text = f"{layout.label} has {len(data)} bytes, at least {layout.least_bytes} are needed"
            self._refused[identifier] = (now_ms, text)
            return False
        self._refused.pop(identifier, None)
        heard = _decode(layout, data, now_ms)
        self._heard[identifier] = heard
        for name in ("SoC", "PackVoltage"):
            if name in heard.values and name not in heard.beyond:
                self._follow(name, heard.values[name], now_ms)
        if identifier in self._needed:
            self._round.add(identifier)
            if self._round == self._needed:
                self._round.clear()
                return True
        return identifier in self._urgent

    def reading(self, now_ms: int) -> Battery | None:
        """Return what is known of the battery now, None unless each needed frame is fresh.

        sampled_ms is the time of the oldest needed frame: a battery that goes on telling its voltage only grows stale.
        """
        fresh = self._fresh(now_ms)
        if not self._needed <= fresh.keys():
            return None
        lost = (self._heard.keys() | self._refused.keys()) - fresh.keys()
        values = _merged(fresh)
        contradictions = self._contradictions(values, now_ms)
        for name in [name for heard in fresh.values() for name in heard.beyond] + [
            name for names, _ in contradictions for name in names
        ]:
            values.pop(name, None)
        current_ma = values.get("PackCurrent")
        return Battery(
            device=self._device,
            sampled_ms=min(fresh[key].at_ms for key in self._needed) - self._profile.latency_ms,
            heard_ms=now_ms,
            soc_bp=_soc_bp(values),
            soh_bp=values.get("SoH"),
            voltage_mv=values.get("PackVoltage"),
            current_ma=None if current_ma is None else self._profile.power_sign * current_ma,
            charge_max_ma=_magnitude(values.get("ChargeCurrentMax")),
            discharge_max_ma=_magnitude(values.get("DischargeCurrentMax")),
            charge_max_mv=values.get("ChargeVoltageMax"),
            discharge_min_mv=values.get("DischargeVoltageMin"),
            charge_allowed=self._allowed("ChargeEnable", values, lost),
            discharge_allowed=self._allowed("DischargeEnable", values, lost),
            force_charge=bool(values.get("ForceChargeI") or values.get("ForceChargeII")),
            full_charge_wanted=bool(values.get("FullChargeRequest")),
            isolation_kohm=values.get("Isolation"),
            temperature_mc=values.get("PackTemperature"),
            temperature_min_mc=values.get("CellTemperatureMin"),
            temperature_max_mc=values.get("CellTemperatureMax"),
            cell_min_mv=values.get("CellVoltageMin"),
            cell_max_mv=values.get("CellVoltageMax"),
            modules=values.get("Modules"),
            alarms=self._told([heard.alarms for heard in fresh.values()], lost & self._alarming),
            warnings=self._told([heard.warnings for heard in fresh.values()], lost & self._permitting),
        )

    def faults(self, now_ms: int) -> tuple[tuple[FaultName, str], ...]:
        """Return the faults found in frames that are not stale, each once, with what was read."""
        fresh = self._fresh(now_ms)
        stale_ms = self._profile.stale_after_ms
        found: tuple[tuple[FaultName, list[str]], ...] = (
            ("bad_frame", [text for at_ms, text in self._refused.values() if now_ms - at_ms <= stale_ms]),
            ("battery_implausible", [text for heard in fresh.values() for text in heard.beyond.values()]),
            ("contradiction", [text for _, text in self._contradictions(_merged(fresh), now_ms)]),
        )
        return tuple((fault, "; ".join(texts)) for fault, texts in found if texts)

    def _fresh(self, now_ms: int) -> dict[int, _Heard]:
        stale_ms = self._profile.stale_after_ms
        return {key: heard for key, heard in self._heard.items() if now_ms - heard.at_ms <= stale_ms}

    def _told(self, told: list[tuple[str, ...]], lost: set[int]) -> tuple[str, ...]:
        missing = [f"{self._layouts[key].label} is lost" for key in sorted(lost)]
        return tuple(dict.fromkeys([text for texts in told for text in texts] + missing))

    def _allowed(self, name: str, values: Mapping[str, int], lost: set[int]) -> bool | None:
        if any(self._layouts[key].holds(name) for key in lost):
            return False
        return None if name not in values else bool(values[name])

    def _follow(self, name: str, value: int, now_ms: int) -> None:
        """Note a jump, and a jump back soon after it. One jump alone is how a BMS corrects its estimate."""
        trace = self._traces.setdefault(name, _Trace(value))
        jump, trace.value = value - trace.value, value
        if abs(jump) <= (_SOC_APART_BP if name == "SoC" else abs(value) * _SWING_PCT // 100):
            return
        if jump * trace.offset < 0 and now_ms - trace.jumped_ms <= self._profile.stale_after_ms:
            trace.swung_ms = now_ms
        trace.offset, trace.jumped_ms = jump, now_ms

    def _contradictions(self, values: Mapping[str, int], now_ms: int) -> list[tuple[tuple[str, ...], str]]:
        found = list(_disagreements(values))
        for name, trace in self._traces.items():
            if trace.swung_ms is not None and now_ms - trace.swung_ms <= 2 * self._profile.stale_after_ms:
                ends = sorted((trace.value - trace.offset, trace.value))
                found.append(((name,), f"{name} swings between {_span(name, *ends)}: two batteries with one address?"))
        return found


def _messages(profile: Profile, dbc_text: str) -> list[Message]:
    try:
        database = load_string(dbc_text, "dbc", strict=True)
    except DbcError as error:
        raise ValueError(f"{profile.dbc}: {error}") from error
    if not isinstance(database, Database):
        raise ValueError(f"{profile.dbc}: not a CAN database")
    return database.messages


def _identifier(message: Message) -> int:
    return message.frame_id | EXTENDED if message.is_extended_frame else message.frame_id


def _layout(message: Message) -> _Layout:
    least = message.dbc.attributes.get("LeastBytes") if message.dbc else None
    return _Layout(
        label=f"0x{message.frame_id:03X}",
        message=message,
        least_bytes=message.length if least is None else int(least.value),
        values=tuple(_value(signal) for signal in message.signals if signal.name in _KNOWN),
        flags=tuple(_flags(message)),
    )


def _value(signal: Signal) -> _Value:
    unit = signal.unit or ""
    if unit not in _PER_UNIT:
        raise ValueError(f"signal {signal.name}: unit {unit!r} is none of {', '.join(filter(None, _PER_UNIT))}")
    invalid = None
    if signal.length >= 16:
        invalid = -(1 << signal.length - 1) if signal.is_signed else (1 << signal.length) - 1
    return _Value(
        name=signal.name,
        factor=float(signal.scale),
        offset=float(signal.offset),
        unit=unit,
        invalid=invalid,
        least=None if signal.minimum is None else float(signal.minimum),
        most=None if signal.maximum is None else float(signal.maximum),
    )


def _flags(message: Message) -> Iterator[_Flag]:
    named = {signal.start: signal for signal in message.signals if signal.name.startswith(("Alarm_", "Warning_"))}
    kinds = {signal.start // 8: signal for signal in named.values()}
    for byte, kind in sorted(kinds.items()):
        for bit in range(0, 8, kind.length):
            signal = named.get(8 * byte + bit)
            text = (
                signal.name.split("_", 1)[1].replace("_", " ")
                if signal
                else f"0x{message.frame_id:03X} bit {byte}.{bit}"
            )
            yield _Flag(
                text=text, warning=kind.name.startswith("Warning_"), index=byte, bit=bit, mask=(1 << kind.length) - 1
            )


def _decode(layout: _Layout, data: bytes, now_ms: int) -> _Heard:
    values: dict[str, int] = {}
    beyond: dict[str, str] = {}
    raws = _raws(layout.message, data) if layout.values else {}
    for value in layout.values:
        raw = raws.get(value.name)
        if not isinstance(raw, int) or raw == value.invalid:
            continue
        number = raw * value.factor + value.offset
        values[value.name] = round(number * _PER_UNIT[value.unit])
        if value.least is not None and value.most is not None and not value.least <= number <= value.most:
            text = f"{value.name} {number:g} {value.unit} is outside {value.least:g} to {value.most:g}"
            beyond[value.name] = text
    raised = [
        flag for flag in layout.flags if flag.index < len(data) and (data[flag.index] >> flag.bit) & flag.mask == 1
    ]
    return _Heard(
        at_ms=now_ms,
        values=values,
        beyond=beyond,
        alarms=tuple(flag.text for flag in raised if not flag.warning),
        warnings=tuple(flag.text for flag in raised if flag.warning),
    )


def _raws(message: Message, data: bytes) -> Mapping[str, object]:
    return message.decode_simple(data, decode_choices=False, scaling=False, allow_truncated=True)


def _merged(fresh: Mapping[int, _Heard]) -> dict[str, int]:
    return {name: value for heard in fresh.values() for name, value in heard.values.items()}


def _disagreements(values: Mapping[str, int]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the signals that contradict each other in one set, and what is wrong about them."""
    pack_mv = values.get("PackVoltage")
    for name in ("ChargeVoltageMax", "DischargeVoltageMin"):
        limit_mv = values.get(name)
        if (
            pack_mv is not None
            and limit_mv
            and not limit_mv < abs(pack_mv) * _VOLTAGE_RATIO < limit_mv * _VOLTAGE_RATIO**2
        ):
            text = f"PackVoltage {pack_mv / 1000:g} V does not go with {name} {limit_mv / 1000:g} V: another scale?"
            yield ("PackVoltage", name), text
    soc_bp, fine_bp = values.get("SoC"), values.get("SoCFine", 0)
    if soc_bp is not None and 0 < fine_bp <= 10_000 and abs(fine_bp - soc_bp) > _SOC_APART_BP:
        yield ("SoC", "SoCFine"), f"SoC {soc_bp / 100:g} % does not go with SoCFine {fine_bp / 100:g} %"
    low_mv, high_mv = values.get("CellVoltageMin"), values.get("CellVoltageMax")
    if low_mv is not None and high_mv is not None and low_mv > high_mv:
        yield ("CellVoltageMin", "CellVoltageMax"), f"the lowest cell has {low_mv} mV, the highest {high_mv} mV"
    cold_mc, hot_mc = values.get("CellTemperatureMin"), values.get("CellTemperatureMax")
    if cold_mc is not None and hot_mc is not None and cold_mc > hot_mc:
        text = f"the coldest cell has {cold_mc / 1000:g} degC, the hottest {hot_mc / 1000:g} degC"
        yield ("CellTemperatureMin", "CellTemperatureMax"), text


def _soc_bp(values: Mapping[str, int]) -> int | None:
    """Return the fine state of charge where it is told and agrees with the coarse one, else the coarse one."""
    soc_bp, fine_bp = values.get("SoC"), values.get("SoCFine", 0)
    if soc_bp is not None and 0 < fine_bp <= 10_000 and abs(fine_bp - soc_bp) <= _SOC_AGREE_BP:
        return fine_bp
    return soc_bp


def _magnitude(current_ma: int | None) -> int | None:
    return None if current_ma is None else abs(current_ma)


def _span(name: str, least: int, most: int) -> str:
    return f"{least / 100:g} and {most / 100:g} %" if name == "SoC" else f"{least / 1000:g} and {most / 1000:g} V"
