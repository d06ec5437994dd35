"""SunSpec values to readings: which models a device of a kind is read by, and what their points mean to the site.

Signs: the profile's power_sign turns the device's W (and a battery's A) into ours. Reactive power stays as it is told:
SunSpec's is positive where it is injected (over-excited), as is ours.
Source: model definitions of sunspec/models; the points are named as there.
"""

from collections.abc import Collection, Mapping
from typing import Literal

from controller.codec.sunspec import Values, bit_names
from controller.model import AnyReading, Battery, Inverter, Meter, Profile

Models = Mapping[int, Values]
State = Literal["off", "standby", "starting", "run", "fault"]

INVERTER = (701, 103, 102, 101, 113, 112, 111)
METER = (203, 204, 202, 201, 213, 214, 212, 211)
BATTERY = (802, 713, 124)
BATTERY_FAULT = 99
SETTINGS = (702, 120, 121, 704, 715, 122)
LIVE = (122,)  # of the settings, what is measured: it is not believed for longer than it is read
PHASED = (203, 204, 202, 213, 214, 212)  # meters of more than one phase

# What is made into readings and commands, for telling when a scale factor spoils it.
_USED: dict[int, frozenset[str]] = {
    **{model_id: frozenset(("W", "Var", "VAr")) for model_id in INVERTER},
    **{
        model_id: frozenset(("W", "PhV", "Hz", *(f"{what}ph{phase}" for what in ("W", "PhV", "A") for phase in "ABC")))
        for model_id in METER
    },
    120: frozenset(("WRtg", "MaxChaRte", "MaxDisChaRte")),
    121: frozenset(("WMax", "VAMax")),
    122: frozenset(("Ris",)),
    124: frozenset(("ChaState", "InBatV", "WChaMax")),
    702: frozenset(("WMax", "WChaRteMax", "WDisChaRteMax", "VAMax")),
    704: frozenset(("WSet", "VarSet")),
    713: frozenset(("WHRtg", "SoC", "SoH")),
    802: frozenset(("SoC", "SoH", "V", "VMax", "VMin", "A", "AChaMax", "ADisChaMax", "CellVMin", "CellVMax")),
}
_STATE_701: dict[int, State] = {
    0: "off",
    1: "standby",
    2: "starting",
    3: "run",
    4: "run",
    5: "off",
    6: "fault",
    7: "standby",
}
_STATE_10X: dict[int, State] = {number + 1: state for number, state in _STATE_701.items()}
_CONNECTED: dict[object, bool] = {0: False, 1: True}  # 701.ConnSt
_CONTACTOR: dict[int, bool] = {1: False, 2: False, 3: True}  # 802.State DISCONNECTED, INITIALIZING, CONNECTED


LOCAL = 1  # 715.LocRemCtl


def wanted(kind: str, present: Collection[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the models to read at every poll and those to read less often, of the models a device has."""
    if kind == "battery":
        return tuple(model_id for model_id in BATTERY if model_id in present), ()
    measures = next((model_id for model_id in (METER if kind == "meter" else INVERTER) if model_id in present), None)
    if measures is None:
        return (), ()
    settings = SETTINGS if kind == "inverter" else ()
    return (measures,), tuple(model_id for model_id in settings if model_id in present)


def used(model_id: int, points: Collection[str]) -> tuple[str, ...]:
    """Return those of the points that readings and commands are made of."""
    return tuple(point for point in points if point in _USED.get(model_id, ()))


def reading(device: str, profile: Profile, models: Models, heard_ms: int) -> AnyReading | None:
    """Return what the models tell, None when a meter does not tell its power or no model of the kind is there."""
    if profile.kind == "inverter":
        return _inverter(device, profile, models, heard_ms)
    if profile.kind == "meter":
        return _meter(device, profile, models, heard_ms)
    return _battery(device, profile, models, heard_ms)


def settled(before: Values, now: Values) -> Values:
    """Return a settings model as it is to be taken: what was told and is told no more may not widen anything.

    A rating stays what it was told last, and a local/remote switch that fell silent does not say "remote".
    """
    lost = {point: value for point, value in before.items() if value is not None and now.get(point) is None}
    if "LocRemCtl" in lost:
        lost["LocRemCtl"] = LOCAL
    return {**now, **lost} if lost else now


def remote(models: Models) -> bool:
    """Return whether the device obeys from afar: 715.LocRemCtl. A device without the point has no such switch."""
    return 715 not in models or models[715].get("LocRemCtl", 1) in (0, None)


def _inverter(device: str, profile: Profile, models: Models, heard_ms: int) -> Inverter | None:
    measures = next((model_id for model_id in INVERTER if model_id in models), None)
    if measures is None:
        return None
    values = models[measures]
    newer = measures == 701
    state, strange = _state_701(values) if newer else _state_10x(values)
    ratings, settings, capacity = (models.get(model_id, {}) for model_id in (120, 121, 702))
    if capacity:
        charge = _whole(capacity, "WChaRteMax", 1)
        discharge = _least(_whole(capacity, "WDisChaRteMax", 1), _whole(capacity, "WMax", 1))
    else:
        charge = _whole(ratings, "MaxChaRte", 1)
        allowed = _least(_whole(ratings, "WRtg", 1), _whole(settings, "WMax", 1))
        discharge = _least(_whole(ratings, "MaxDisChaRte", 1), allowed)
    isolation_ohm = _whole(models.get(122, {}), "Ris", 1)
    return Inverter(
        device=device,
        sampled_ms=heard_ms - profile.latency_ms,
        heard_ms=heard_ms,
        power_w=_whole(values, "W", profile.power_sign),
        reactive_var=_whole(values, "Var" if newer else "VAr", 1),
        state=state,
        remote=remote(models),
        charge_max_w=charge,
        discharge_max_w=discharge,
        connected=_CONNECTED.get(values.get("ConnSt")) if newer else None,
        apparent_max_va=_least(_whole(capacity, "VAMax", 1), _whole(settings, "VAMax", 1)),
        isolation_kohm=None if isolation_ohm is None else isolation_ohm // 1000,
        alarms=_bits(measures, values, "Alrm" if newer else "Evt1") + strange,
    )


def _meter(device: str, profile: Profile, models: Models, heard_ms: int) -> Meter | None:
    model_id = next((model_id for model_id in METER if model_id in models), 0)
    values = models.get(model_id, {})
    power_w = _whole(values, "W", profile.power_sign)
    if power_w is None:
        return None
    voltage_mv = _whole(values, "PhV", 1000)
    phased = model_id in PHASED
    currents_ma = _phases(values, "A", 1000) if phased else None
    return Meter(
        device=device,
        sampled_ms=heard_ms - profile.latency_ms,
        heard_ms=heard_ms,
        power_w=power_w,
        voltage_mv=voltage_mv if voltage_mv is not None else _whole(values, "PhVphA", 1000),
        frequency_mhz=_whole(values, "Hz", 1000),
        phase_w=_phases(values, "W", profile.power_sign) if phased else None,
        phase_mv=_phases(values, "PhV", 1000) if phased else None,
        phase_ma=(abs(currents_ma[0]), abs(currents_ma[1]), abs(currents_ma[2])) if currents_ma else None,
    )


def _battery(device: str, profile: Profile, models: Models, heard_ms: int) -> Battery | None:
    bank, storage, basic = (models.get(model_id, {}) for model_id in BATTERY)
    if not (bank or storage or basic):
        return None
    if not (_whole(storage, "WHRtg", 1) or 0) > 0:
        storage = {}  # 713.SoC is fixed to 0 % for a device without storage
    charges = (_share(bank, "SoC"), _share(storage, "SoC"), _share(basic, "ChaState"))
    healths = (_share(bank, "SoH"), _share(storage, "SoH"))
    voltage_mv = _whole(bank, "V", 1000) if bank else _whole(basic, "InBatV", 1000)
    state = bank.get("State")
    events = _bits(802, bank, "Evt1")
    return Battery(
        device=device,
        sampled_ms=heard_ms - profile.latency_ms,
        heard_ms=heard_ms,
        soc_bp=next((soc_bp for soc_bp in charges if soc_bp is not None), None),
        soh_bp=next((soh_bp for soh_bp in healths if soh_bp is not None), None),
        voltage_mv=voltage_mv,
        current_ma=_whole(bank, "A", 1000 * profile.power_sign),
        charge_max_ma=_whole(bank, "AChaMax", 1000) if bank else _charge_max_ma(basic, voltage_mv),
        discharge_max_ma=_whole(bank, "ADisChaMax", 1000),
        charge_max_mv=_whole(bank, "VMax", 1000),
        discharge_min_mv=_whole(bank, "VMin", 1000),
        contactor_closed=_CONTACTOR.get(state) if isinstance(state, int) else None,
        cell_min_mv=_whole(bank, "CellVMin", 1000),
        cell_max_mv=_whole(bank, "CellVMax", 1000),
        alarms=tuple(name for name in events if not name.endswith("WARNING"))
        + (("FAULT",) if state == BATTERY_FAULT else ())
        + (("storage error",) if storage.get("Sta") == 2 else ()),
        warnings=tuple(name for name in events if name.endswith("WARNING"))
        + (("storage warning",) if storage.get("Sta") == 1 else ()),
    )


def _state_701(values: Values) -> tuple[State, tuple[str, ...]]:
    number = values.get("InvSt")
    if number is None:
        number = 0 if values.get("St") == 0 else 3
    state, strange = _known_state(_STATE_701, number)
    disconnected = values.get("ConnSt") == 0
    return ("standby" if state == "run" and disconnected else state), strange


def _state_10x(values: Values) -> tuple[State, tuple[str, ...]]:
    number = values.get("St")
    return _known_state(_STATE_10X, 4 if number is None else number)


def _known_state(states: Mapping[int, State], number: object) -> tuple[State, tuple[str, ...]]:
    """Return the state; one that no paper knows counts as a fault and is named."""
    if isinstance(number, int) and number in states:
        return states[number], ()
    return "fault", (f"unknown state {number}",)


def _bits(model_id: int, values: Values, point: str) -> tuple[str, ...]:
    return bit_names(model_id, point, values.get(point))


def _whole(values: Values, point: str, factor: int) -> int | None:
    value = values.get(point)
    return round(value * factor) if isinstance(value, (int, float)) else None


def _phases(values: Values, what: str, factor: int) -> tuple[int, int, int] | None:
    """Return a quantity of the phases A, B and C, None unless all three are told."""
    a, b, c = (_whole(values, f"{what}ph{phase}", factor) for phase in "ABC")
    return None if a is None or b is None or c is None else (a, b, c)


def _share(values: Values, point: str) -> int | None:
    """Return a percentage in basis points, None when it is not one."""
    share_bp = _whole(values, point, 100)
    return share_bp if share_bp is not None and 0 <= share_bp <= 10_000 else None


def _least(one: int | None, other: int | None) -> int | None:
    known = [value for value in (one, other) if value is not None]
    return min(known, default=None)


def _charge_max_ma(basic: Values, voltage_mv: int | None) -> int | None:
    """Return model 124's charge limit, told in W, as the current it is at the present voltage."""
    charge_max_w = _whole(basic, "WChaMax", 1)
    return charge_max_w * 1_000_000 // voltage_mv if charge_max_w is not None and voltage_mv else None
