"""Watch: which faults are found, how long they stand, and what they say of each unit. Both sides of every edge."""

from typing import Any

import msgspec
import pytest

from controller.engine import watch
from controller.engine.watch import CELLS_APART_MV, NEVER_HEARD, Told
from controller.model import (
    FAULTS,
    SITE,
    Active,
    AnyReading,
    Battery,
    Consumed,
    Consumption,
    Envelope,
    Fault,
    FaultName,
    Input,
    Inputs,
    Missing,
    Notice,
    Order,
    Remembered,
    Share,
    Site,
    Snapshot,
    Standing,
    State,
    Trust,
)
from tests.words import a_battery, a_meter, a_site, a_snapshot, a_target, all_fresh, an_inverter

NOW_MS = 100_000
CALM = State(consumed=Consumed(phase="unlimited"))
Row = tuple[FaultName, str, str]


def found_in(
    snapshot: Snapshot, site: Site | None = None, state: State = CALM, active: tuple[Active, ...] = ()
) -> list[Row]:
    """Return the faults found; a utility that is heard unless the snapshot says otherwise."""
    readings = {reading.device: reading for reading in snapshot.readings}
    return watch.conditions(site or a_site(), state, snapshot, readings, active)


def heard(*readings: AnyReading, **changes: Any) -> Snapshot:
    return a_snapshot(*readings, utility_silent=False, **changes)


def sound(**changes: Any) -> Snapshot:
    return all_fresh(utility_silent=False, **changes)


def an_isolated(site: Site, *least_kohm: int | None) -> Site:
    units = tuple(
        msgspec.structs.replace(unit, isolation_min_kohm=least)
        for unit, least in zip(site.unit, least_kohm, strict=True)
    )
    return msgspec.structs.replace(site, unit=units)


def with_poi(**changes: Any) -> Site:
    site = a_site()
    return msgspec.structs.replace(site, poi=msgspec.structs.replace(site.poi, **changes))


def with_batteries(*of_units: str | tuple[str, ...]) -> Site:
    """Return a site whose units have these batteries."""
    site = a_site(len(of_units))
    units = [msgspec.structs.replace(unit, battery=names) for unit, names in zip(site.unit, of_units, strict=True)]
    return msgspec.structs.replace(site, unit=tuple(units))


# -- what is found ------------------------------------------------------------------------------------------------


def test_a_sound_site_has_no_fault() -> None:
    assert found_in(sound()) == []
    assert found_in(heard(a_meter(), an_inverter(), a_battery(), an_inverter(n=2), a_battery(n=2)), a_site(2)) == []


def test_what_others_notice_is_taken_over_as_it_is_told() -> None:
    notices = (Notice(fault="bad_reply", device="meter", detail="short"), Notice(fault="link_down", device="inverter1"))
    assert found_in(sound(notices=notices)) == [("bad_reply", "meter", "short"), ("link_down", "inverter1", "")]


@pytest.mark.parametrize(("age_ms", "detail"), [(None, NEVER_HEARD), (0, "silent"), (4000, "silent")])
@pytest.mark.parametrize(
    ("device", "fault"), [("meter", "meter_stale"), ("inverter1", "inverter_stale"), ("battery1", "battery_stale")]
)
def test_a_device_that_is_missing_is_stale(device: str, fault: FaultName, age_ms: int | None, detail: str) -> None:
    left = tuple(reading for reading in sound().readings if reading.device != device)
    missing = (Missing(device=device, age_ms=age_ms),)
    assert found_in(sound(readings=left, missing=missing)) == [(fault, device, detail)]


@pytest.mark.parametrize(
    ("device", "fault"), [("meter", "meter_stale"), ("inverter1", "inverter_stale"), ("battery1", "battery_stale")]
)
def test_a_reading_of_another_kind_counts_as_none(device: str, fault: FaultName) -> None:
    other = Inputs(device=device, sampled_ms=NOW_MS, heard_ms=NOW_MS, closed=(True,))
    left = tuple(reading for reading in sound().readings if reading.device != device)
    assert found_in(sound(readings=(*left, other))) == [(fault, device, NEVER_HEARD)]


@pytest.mark.parametrize(("meter_w", "wrong"), [(-42_000, False), (-42_001, True), (30_000, False), (30_001, True)])
def test_a_meter_is_implausible_beyond_twice_the_load_and_generation_and_the_units_swing(
    meter_w: int, wrong: bool
) -> None:
    found = found_in(heard(a_meter(meter_w), an_inverter(), a_battery()))
    assert [(fault, device) for fault, device, _ in found] == [("meter_implausible", "meter")] * wrong
    assert all(f"{meter_w:+d} W would be a load of {-meter_w} W" in detail for _, _, detail in found)


@pytest.mark.parametrize(("until_ms", "doubted"), [(NOW_MS, False), (NOW_MS + 1, True)])
def test_a_meter_is_doubted_until_the_moment_that_was_set(until_ms: int, doubted: bool) -> None:
    state = msgspec.structs.replace(CALM, trust=Trust(until_ms=until_ms))
    assert found_in(sound(), state=state) == [("meter_not_following", "meter", "")] * doubted


def test_of_a_meter_only_the_worst_is_told() -> None:
    state = msgspec.structs.replace(CALM, trust=Trust(until_ms=NOW_MS + 1))
    wrong = heard(a_meter(-50_000), an_inverter(), a_battery())
    assert [fault for fault, _, _ in found_in(wrong, state=state)] == ["meter_implausible"]
    silent = heard(an_inverter(), a_battery())
    assert [fault for fault, _, _ in found_in(silent, state=state)] == ["meter_stale"]


INVERTERS: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({}, []),
    ({"state": "fault"}, [("inverter_fault", "")]),
    ({"state": "fault", "alarms": ("hot", "fan")}, [("inverter_fault", "hot, fan")]),
    ({"alarms": ("hot", "fan")}, [("inverter_alarm", "hot, fan")]),
    ({"state": "starting"}, []),
    ({"state": "standby"}, []),
    ({"state": "off"}, []),
    ({"connected": False}, [("inverter_disconnected", "")]),
    ({"connected": None}, []),
    ({"connected": True}, []),
    ({"remote": False}, [("inverter_local", "")]),
    ({"power_w": None}, [("inverter_silent_power", "")]),
    ({"power_w": 0}, []),
    (
        {"state": "fault", "connected": False, "remote": False, "power_w": None},
        [("inverter_fault", ""), ("inverter_disconnected", ""), ("inverter_local", ""), ("inverter_silent_power", "")],
    ),
]


@pytest.mark.parametrize(("changes", "faults"), INVERTERS)
def test_what_an_inverter_tells(changes: dict[str, Any], faults: list[tuple[str, str]]) -> None:
    found = found_in(heard(a_meter(), msgspec.structs.replace(an_inverter(), **changes), a_battery()))
    assert found == [(fault, "inverter1", detail) for fault, detail in faults]


BATTERIES: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({}, []),
    ({"alarms": ("cold", "weak")}, [("battery_alarm", "cold, weak")]),
    ({"warnings": ("cold", "weak")}, [("battery_warning", "cold, weak")]),
    ({"contactor_closed": False}, [("battery_contactor_open", "")]),
    ({"contactor_closed": None}, []),
    ({"contactor_closed": True}, []),
    ({"soc_bp": None}, [("soc_unknown", "")]),
    ({"soc_bp": -1}, [("battery_implausible", "state of charge -0.01 %")]),
    ({"soc_bp": 0}, []),
    ({"soc_bp": 10_000}, []),
    ({"soc_bp": 10_001}, [("battery_implausible", "state of charge 100.01 %")]),
    ({"cell_min_mv": 3000, "cell_max_mv": 3500}, []),
    ({"cell_min_mv": 3000, "cell_max_mv": 3501}, [("cells_apart", f"501 mV, at most {CELLS_APART_MV} mV")]),
    ({"cell_min_mv": None, "cell_max_mv": 3501}, []),
    ({"cell_min_mv": 3000, "cell_max_mv": None}, []),
    (
        {"alarms": ("a",), "warnings": ("w",), "contactor_closed": False, "soc_bp": None},
        [("battery_alarm", "a"), ("battery_warning", "w"), ("battery_contactor_open", ""), ("soc_unknown", "")],
    ),
]


@pytest.mark.parametrize(("changes", "faults"), BATTERIES)
def test_what_a_battery_tells(changes: dict[str, Any], faults: list[tuple[str, str]]) -> None:
    found = found_in(heard(a_meter(), an_inverter(), msgspec.structs.replace(a_battery(), **changes)))
    assert found == [(fault, "battery1", detail) for fault, detail in faults]


def test_a_reading_that_did_not_change_is_judged_the_same_and_one_that_did_anew() -> None:
    inverter, battery = an_inverter(state="fault"), a_battery(warnings=("w",))
    first = found_in(heard(a_meter(), inverter, battery))
    assert first == found_in(heard(a_meter(), inverter, battery))
    assert [fault for fault, _, _ in first] == ["inverter_fault", "battery_warning"]
    assert found_in(heard(a_meter(), an_inverter(), a_battery())) == []


def test_a_reading_is_judged_once_and_not_each_cycle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A site of a hundred units decides often, and its devices tell something new only now and then."""
    judged = []
    look = watch._battery

    def counting(battery: Battery) -> list[watch.Found]:
        judged.append(battery.device)
        return look(battery)

    monkeypatch.setattr(watch, "_battery", counting)
    site, inverter, battery = a_site(), an_inverter(), a_battery(warnings=("w",))
    for _ in range(3):
        assert found_in(heard(a_meter(), inverter, battery), site) == [("battery_warning", "battery1", "w")]
    assert judged == ["battery1"]
    found_in(heard(a_meter(), inverter, a_battery(warnings=("w",), voltage_mv=52_001)), site)
    assert judged == ["battery1", "battery1"]


@pytest.mark.parametrize(("low_mv", "high_mv", "told"), [(3300, 3300, False), (3301, 3300, True)])
def test_a_lowest_cell_above_the_highest_one_is_believed_in_neither(low_mv: int, high_mv: int, told: bool) -> None:
    battery = a_battery(cell_min_mv=low_mv, cell_max_mv=high_mv)
    found = found_in(heard(a_meter(), an_inverter(), battery))
    text = "its lowest cell at 3301 mV, its highest at 3300 mV"
    assert found == ([("battery_implausible", "battery1", text)] if told else [])


# -- isolation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inverter_kohm", "battery_kohm", "faults"),
    [
        (None, None, [("isolation_unknown", "inverter1", "neither inverter1 nor battery1 tells it")]),
        (50, None, []),
        (None, 50, []),
        (49, None, [("isolation_low", "inverter1", "49 kohm, at least 50 kohm")]),
        (None, 0, [("isolation_low", "battery1", "0 kohm, at least 50 kohm")]),
        (50, 49, [("isolation_low", "battery1", "49 kohm, at least 50 kohm")]),
        (
            1,
            2,
            [
                ("isolation_low", "inverter1", "1 kohm, at least 50 kohm"),
                ("isolation_low", "battery1", "2 kohm, at least 50 kohm"),
            ],
        ),
    ],
)
def test_a_unit_needs_the_resistance_that_its_site_file_asks_for(
    inverter_kohm: int | None, battery_kohm: int | None, faults: list[Row]
) -> None:
    told = heard(a_meter(), an_inverter(isolation_kohm=inverter_kohm), a_battery(isolation_kohm=battery_kohm))
    assert found_in(told, an_isolated(a_site(), 50)) == faults
    assert found_in(told, an_isolated(a_site(), None)) == [], "nobody asks for it"


@pytest.mark.parametrize("device", ["inverter1", "battery1"])
def test_of_a_silent_device_it_is_not_said_that_it_does_not_tell_its_resistance(device: str) -> None:
    left = tuple(reading for reading in sound().readings if reading.device != device)
    found = found_in(sound(readings=left), an_isolated(a_site(), 50))
    assert [fault for fault, _, _ in found] == [f"{device[:-1]}_stale"]


def test_the_resistance_of_a_shared_battery_is_held_against_each_units_own_demand() -> None:
    site = an_isolated(with_batteries("battery1", "battery1"), None, 50)
    told = heard(a_meter(), an_inverter(), an_inverter(n=2), a_battery(isolation_kohm=49))
    assert found_in(told, site) == [("isolation_low", "battery1", "49 kohm, at least 50 kohm")]


# -- units --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("phase", "failed"), [("fault", True), ("off", False), ("standby", False), ("run", False)])
def test_a_unit_that_gave_up_starting_is_a_fault(phase: Any, failed: bool) -> None:
    state = msgspec.structs.replace(CALM, units=(Remembered(unit="unit1", phase=phase),))
    assert found_in(sound(), state=state) == [("start_failed", "unit1", "")] * failed


@pytest.mark.parametrize(("counted_wh", "astray"), [(15_000, False), (14_250, False), (14_249, True)])
def test_a_state_of_charge_that_left_the_band_of_what_was_counted_is_astray(counted_wh: int, astray: bool) -> None:
    remembered = Remembered(unit="unit1", phase="run", soc_bp=6000, counted_mwh=counted_wh * 1000)
    found = found_in(sound(), state=msgspec.structs.replace(CALM, units=(remembered,)))
    assert [(fault, device) for fault, device, _ in found] == [("soc_astray", "battery1")] * astray
    assert all("60 %" in detail and "56 %" in detail for _, _, detail in found)


def test_the_first_of_several_batteries_stands_for_their_state_of_charge() -> None:
    site = with_batteries(("battery1", "battery2"))
    remembered = Remembered(unit="unit1", phase="run", soc_bp=6000, counted_mwh=10_000_000)
    told = heard(a_meter(), an_inverter(), a_battery(), a_battery(n=2))
    found = found_in(told, site, msgspec.structs.replace(CALM, units=(remembered,)))
    assert [(fault, device) for fault, device, _ in found] == [("soc_astray", "battery1")]


def test_a_memory_of_a_unit_that_the_site_no_longer_has_is_no_fault() -> None:
    state = msgspec.structs.replace(CALM, units=(Remembered(unit="old", phase="fault"),))
    assert found_in(sound(), state=state) == []


def test_each_of_several_batteries_is_watched() -> None:
    site = with_batteries(("battery1", "battery2"))
    told = heard(a_meter(), an_inverter(), a_battery(warnings=("w",)))
    assert found_in(told, site) == [
        ("battery_warning", "battery1", "w"),
        ("battery_stale", "battery2", NEVER_HEARD),
    ]


def test_a_battery_that_units_share_is_watched_once() -> None:
    site = with_batteries("battery1", "battery1", "battery3")
    told = heard(a_meter(), *(an_inverter(n=n) for n in (1, 2, 3)), a_battery(warnings=("w",)), a_battery(n=3))
    assert found_in(told, site) == [("battery_warning", "battery1", "w")]
    told = heard(a_meter(), *(an_inverter(n=n) for n in (1, 2, 3)), a_battery(n=3, alarms=("a",)))
    assert found_in(told, site) == [("battery_stale", "battery1", NEVER_HEARD), ("battery_alarm", "battery3", "a")]


# -- following ----------------------------------------------------------------------------------------------------


def following(commanded_w: int = 3000, moved_ms: int = 96_000, **changes: Any) -> State:
    part = Share(unit="unit1", low_w=-9000, high_w=9000, power_w=commanded_w)
    return msgspec.structs.replace(CALM, moved_ms=moved_ms, shares=(part,), **changes)


def a_rated(rated_w: int, settle_ms: int | None) -> Site:
    site = a_site()
    unit = msgspec.structs.replace(site.unit[0], charge_max_w=rated_w, discharge_max_w=rated_w, settle_ms=settle_ms)
    return msgspec.structs.replace(site, unit=(unit,))


@pytest.mark.parametrize(
    ("measured_w", "sampled_ms", "rated_w", "settle_ms", "astray"),
    [
        (2500, 100_000, 10_000, 1000, False),
        (2499, 100_000, 10_000, 1000, True),
        (3500, 100_000, 10_000, 1000, False),
        (3501, 100_000, 10_000, 1000, True),
        (2499, 99_999, 10_000, 1000, False),
        (2499, 99_000, 10_000, None, True),
        (2499, 98_999, 10_000, None, False),
        (2800, 100_000, 2000, 1000, False),
        (2799, 100_000, 2000, 1000, True),
        (None, 100_000, 10_000, 1000, False),
    ],
)
def test_an_inverter_is_astray_beyond_a_twentieth_of_its_nameplate_or_200_w_three_seconds_after_settling(
    measured_w: int | None, sampled_ms: int, rated_w: int, settle_ms: int | None, astray: bool
) -> None:
    told = heard(a_meter(), an_inverter(measured_w, at_ms=sampled_ms), a_battery())
    found = [
        row for row in found_in(told, a_rated(rated_w, settle_ms), following()) if row[0] != "inverter_silent_power"
    ]
    detail = f"commanded +3000 W, measured +{measured_w} W"
    assert found == [("inverter_not_following", "inverter1", detail)] * astray


@pytest.mark.parametrize(
    ("charge_w", "discharge_w", "astray"), [(10_000, 2000, False), (2000, 10_000, False), (2000, 2000, True)]
)
def test_the_larger_of_its_two_nameplates_counts(charge_w: int, discharge_w: int, astray: bool) -> None:
    site = a_rated(0, 1000)
    unit = msgspec.structs.replace(site.unit[0], charge_max_w=charge_w, discharge_max_w=discharge_w)
    told = heard(a_meter(), an_inverter(2600), a_battery())
    found = found_in(told, msgspec.structs.replace(site, unit=(unit,)), following())
    assert bool(found) is astray


def test_a_silent_inverter_is_stale_and_not_astray() -> None:
    assert [row[0] for row in found_in(heard(a_meter(), a_battery()), state=following())] == ["inverter_stale"]


@pytest.mark.parametrize(
    ("commanded_w", "measured_w", "beyond_w", "unruly"),
    [
        (1000, 5000, 1, True),  # relative to the export limit
        (1000, 5000, 0, False),
        (5000, 1000, 1, False),  # what it does not give is no harm to the export limit
        (-1000, -5000, -1, True),  # relative to the import limit
        (-1000, -5000, 0, False),
        (-5000, -1000, -1, False),
        (1000, 1100, 1, False),  # it follows
    ],
)
def test_an_inverter_that_breaks_a_grid_limit_by_what_was_not_commanded_is_unruly(
    commanded_w: int, measured_w: int, beyond_w: int, unruly: bool
) -> None:
    poi = a_site().poi
    meter_w = (poi.export_max_w if commanded_w > 0 else -poi.import_max_w) + beyond_w
    told = heard(a_meter(meter_w), an_inverter(measured_w), a_battery())
    found = found_in(told, state=following(commanded_w))
    detail = f"commanded {commanded_w:+d} W, measured {measured_w:+d} W"
    astray = [("inverter_not_following", "inverter1", detail)] * (abs(measured_w - commanded_w) > 500)
    assert found == astray + [("inverter_unruly", "inverter1", detail)] * unruly


def test_without_a_meter_nothing_is_unruly() -> None:
    found = found_in(heard(an_inverter(9000), a_battery()), state=following(1000))
    assert [fault for fault, _, _ in found] == ["meter_stale", "inverter_not_following"]


@pytest.mark.parametrize("fault", ["command_refused", "not_commissioned", "write_failed", "bad_reply"])
@pytest.mark.parametrize("device", ["inverter1", "inverter2", SITE])
@pytest.mark.parametrize("notified", [True, False])
def test_what_was_not_written_is_not_followed(fault: FaultName, device: str, notified: bool) -> None:
    """Nor for the clearing time after it: the first command that passes needs as long to show as any other."""
    notices = (Notice(fault=fault, device=device),) if notified else ()
    standing = () if notified else (Standing(fault=fault, device=device, since_ms=1, clear_since_ms=2),)
    told = heard(a_meter(-12_001), an_inverter(0), a_battery(), notices=notices)
    found = [row[0] for row in found_in(told, state=following(3000, standing=standing))]
    excused = fault in ("command_refused", "not_commissioned") and device != "inverter2"
    assert ("inverter_not_following" in found, "inverter_unruly" in found) == (not excused, not excused)


def test_units_without_a_part_yet_follow_nothing() -> None:
    told = heard(a_meter(), an_inverter(5000), an_inverter(5000, 2), a_battery(), a_battery(n=2))
    found = found_in(told, a_site(2), following(1000))
    assert [(fault, device) for fault, device, _ in found] == [("inverter_not_following", "inverter1")]


# -- from outside -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("silent", [True, False])
def test_a_silent_utility_is_told(silent: bool) -> None:
    assert found_in(all_fresh(utility_silent=silent)) == [("utility_silent", "utility", "")] * silent


@pytest.mark.parametrize(
    ("import_w", "export_w", "scheme"), [(None, None, False), (1000, None, True), (None, 0, True), (0, 0, True)]
)
@pytest.mark.parametrize("kind", ["envelope", "limit", ""])
def test_an_envelope_lapses_where_the_site_has_such_a_scheme_and_none_is_in_force(
    import_w: int | None, export_w: int | None, scheme: bool, kind: Any
) -> None:
    site = with_poi(envelope=Envelope(import_default_w=import_w, export_default_w=export_w))
    orders: tuple[Order, ...] = (msgspec.structs.replace(a_target(0), kind=kind),) if kind else ()
    lapsed = scheme and kind != "envelope"
    assert found_in(sound(orders=orders), site) == [("envelope_lapsed", "utility", "")] * lapsed


@pytest.mark.parametrize(
    ("phase", "stands"), [("init", True), ("failsafe", True), ("limited", False), ("unlimited", False)]
)
@pytest.mark.parametrize("failsafe_w", [None, 0, 4200])
def test_the_failsafe_of_consumption_is_told_while_it_holds(phase: Any, stands: bool, failsafe_w: int | None) -> None:
    site = with_poi(consumption=Consumption(failsafe_w=failsafe_w))
    found = found_in(sound(), site, State(consumed=Consumed(phase=phase)))
    assert found == [("consumption_failsafe", "utility", "")] * (stands and failsafe_w is not None)


MEANS = ["emergency_stop", "no_charge", "no_discharge", "import_limit", "export_limit", "islanded", "storm"]


@pytest.mark.parametrize("means", MEANS)
@pytest.mark.parametrize("lost", [True, False])
def test_a_contact_that_acts_is_a_fault_where_it_stops_the_site_or_is_lost(means: str, lost: bool) -> None:
    found = found_in(sound(), active=(Active(name="red", means=means, lost=lost),))
    if means == "emergency_stop":
        assert found == [("emergency_stop_lost" if lost else "emergency_stop", SITE, "red")]
    else:
        assert found == [("input_lost", "red", f"it counts as active: {means}")] * lost


def inputs_of(*contacts: Input) -> Site:
    return a_site(input=contacts)


def a_contact(name: str = "red", channel: int = 0, **changes: Any) -> Input:
    contact = Input(name=name, device="inputs", channel=channel, means="storm")
    return msgspec.structs.replace(contact, **changes)


def a_module(*closed: bool) -> dict[str, AnyReading]:
    return {"inputs": Inputs(device="inputs", sampled_ms=NOW_MS, heard_ms=NOW_MS, closed=closed)}


@pytest.mark.parametrize("means", MEANS)
@pytest.mark.parametrize(
    ("active", "closed", "acts"),
    [("open", True, False), ("open", False, True), ("closed", True, True), ("closed", False, False)],
)
def test_a_contact_acts_in_its_own_state(means: Any, active: Any, closed: bool, acts: bool) -> None:
    contact = a_contact(means=means, active=active, limit_w=700)
    expected = (Active(name="red", means=means, limit_w=700, lost=False),) if acts else ()
    assert watch.acting(inputs_of(contact), a_module(closed)) == expected


@pytest.mark.parametrize("active", ["open", "closed"])
@pytest.mark.parametrize("means", MEANS)
@pytest.mark.parametrize(
    "readings",
    [{}, a_module(), a_module(True), {"inputs": a_meter()}],
    ids=["silent", "no channels", "too few channels", "another device"],
)
def test_a_contact_that_is_not_heard_of_acts_whatever_its_state(
    readings: dict[str, AnyReading], means: Any, active: Any
) -> None:
    site = inputs_of(a_contact(channel=1, means=means, active=active))
    assert watch.acting(site, readings) == (Active(name="red", means=means, lost=True),)


def test_each_contact_is_seen_by_its_own_channel_in_the_order_of_the_site_file() -> None:
    site = inputs_of(*(a_contact(f"c{channel}", channel) for channel in (2, 0, 1, 3)))
    acting = watch.acting(site, a_module(False, True, False))
    assert [(one.name, one.lost) for one in acting] == [("c2", False), ("c0", False), ("c3", True)]
    assert watch.acting(a_site(), {}) == ()


# -- how long it stands -------------------------------------------------------------------------------------------


def a_standing(fault: FaultName, since_ms: int = 1000, clear_since_ms: int | None = None, **changes: Any) -> Standing:
    known = Standing(fault=fault, device="x", since_ms=since_ms, detail="d", clear_since_ms=clear_since_ms)
    return msgspec.structs.replace(known, **changes)


def test_a_fault_that_is_found_stands_from_that_moment() -> None:
    row: Row = ("bad_reply", "x", "d")
    assert watch.standing((), [row], 7000) == (Standing(fault="bad_reply", device="x", since_ms=7000, detail="d"),)


def test_a_fault_that_is_found_again_keeps_its_beginning_and_tells_the_newest_detail() -> None:
    for before in (a_standing("bad_reply"), a_standing("bad_reply", clear_since_ms=6000)):
        again = watch.standing((before,), [("bad_reply", "x", "new")], 7000)
        assert again == (Standing(fault="bad_reply", device="x", since_ms=1000, detail="new"),)


def test_the_same_fault_at_two_devices_is_two() -> None:
    found: list[Row] = [("bad_reply", "x", ""), ("bad_reply", "y", ""), ("bad_frame", "x", "")]
    stands = watch.standing((), found, 7000)
    assert [(one.fault, one.device) for one in stands] == [("bad_reply", "x"), ("bad_reply", "y"), ("bad_frame", "x")]
    left = watch.standing(stands, [("bad_reply", "y", "")], 8000)
    assert {(one.device, one.fault): one.clear_since_ms for one in left} == {
        ("y", "bad_reply"): None,
        ("x", "bad_reply"): 8000,
        ("x", "bad_frame"): 8000,
    }


@pytest.mark.parametrize("row", [row for row in FAULTS.values() if not row.latches], ids=lambda row: row.name)
def test_a_fault_that_is_gone_stands_for_its_clearing_time_and_no_longer(row: Fault) -> None:
    gone_ms = 50_000
    first = watch.standing((a_standing(row.name),), [], gone_ms)
    if not row.clears_after_ms:
        assert first == ()
        return
    assert first == (a_standing(row.name, clear_since_ms=gone_ms),)
    assert watch.standing(first, [], gone_ms + row.clears_after_ms - 1) == first
    assert watch.standing(first, [], gone_ms + row.clears_after_ms) == ()


@pytest.mark.parametrize("row", [row for row in FAULTS.values() if row.latches], ids=lambda row: row.name)
@pytest.mark.parametrize("detail", ["d", NEVER_HEARD])
def test_a_fault_that_latches_stands_whatever_comes(row: Fault, detail: str) -> None:
    first = watch.standing((a_standing(row.name, detail=detail),), [], 50_000)
    assert first == (a_standing(row.name, clear_since_ms=50_000, detail=detail),)
    assert watch.standing(first, [], 50_000_000) == first
    assert watch.standing(first, [(row.name, "x", detail)], 60_000) == (a_standing(row.name, detail=detail),)


@pytest.mark.parametrize("fault", ["meter_stale", "inverter_stale", "battery_stale"])
def test_a_device_that_was_never_heard_is_let_go_as_soon_as_it_is(fault: FaultName) -> None:
    assert watch.standing((a_standing(fault, detail=NEVER_HEARD),), [], 50_000) == ()
    assert len(watch.standing((a_standing(fault, detail="silent"),), [], 50_000)) == 1


# -- what it says of a unit ---------------------------------------------------------------------------------------

OF_RESPONSE: dict[str, FaultName] = {
    "note": "bad_reply",
    "narrow": "soc_astray",
    "no_start": "battery_warning",
    "hold": "inverter_alarm",
    "ramp_down": "cells_apart",
    "trip": "battery_alarm",
    "release": "inverter_unruly",
}


def of_response(response: str, device: str, since_ms: int = 1, detail: str = "") -> Standing:
    return Standing(fault=OF_RESPONSE[response], device=device, since_ms=since_ms, detail=detail)


@pytest.mark.parametrize(
    ("response", "field"), [("no_start", "no_start"), ("hold", "held"), ("ramp_down", "fading"), ("trip", "trip")]
)
@pytest.mark.parametrize("detail", ["", "why"])
def test_a_fault_says_its_row_and_its_detail_of_its_unit(response: str, field: str, detail: str) -> None:
    said = watch.told(a_site(2), (of_response(response, "battery2", detail=detail),))
    text = f"battery2: {FAULTS[OF_RESPONSE[response]].means}" + (" (why)" if detail else "")
    assert said == {"unit1": Told(), "unit2": msgspec.structs.replace(Told(), **{field: text})}


def test_a_released_inverter_releases_its_unit() -> None:
    said = watch.told(a_site(2), (of_response("release", "inverter1"),))
    assert said == {"unit1": Told(released=True), "unit2": Told()}


@pytest.mark.parametrize("response", ["note", "narrow"])
def test_what_is_only_told_or_narrows_says_nothing_of_a_unit(response: str) -> None:
    assert watch.told(a_site(), (of_response(response, "battery1"),)) == {"unit1": Told()}


@pytest.mark.parametrize(
    ("device", "units"),
    [
        (SITE, {"unit1", "unit2", "unit3"}),
        ("inverter2", {"unit2"}),
        ("unit3", {"unit3"}),
        ("battery1", {"unit1", "unit2"}),
        ("battery2", {"unit1", "unit2"}),
        ("battery3", {"unit3"}),
        ("meter", set()),
    ],
)
def test_a_fault_concerns_the_units_of_its_device(device: str, units: set[str]) -> None:
    site = with_batteries(("battery1", "battery2"), ("battery1", "battery2"), "battery3")
    said = watch.told(site, (of_response("trip", device),))
    assert {name for name, about in said.items() if about.trip} == units
    assert set(said) == {"unit1", "unit2", "unit3"}


@pytest.mark.parametrize("since_ms", [(1, 2), (2, 1), (1, 1)])
@pytest.mark.parametrize("devices", [("inverter1", "battery1"), ("battery1", "inverter1"), (SITE, "unit1")])
def test_of_several_faults_the_one_that_stands_longest_is_told(
    since_ms: tuple[int, int], devices: tuple[str, str]
) -> None:
    faults = tuple(of_response("trip", device, at_ms) for device, at_ms in zip(devices, since_ms, strict=True))
    first = devices[0] if since_ms[0] <= since_ms[1] else devices[1]
    assert watch.told(a_site(), faults)["unit1"].trip.startswith(f"{first}: ")


def test_faults_of_different_responses_are_all_told() -> None:
    faults = tuple(of_response(response, "battery1") for response in OF_RESPONSE)
    about = watch.told(a_site(), faults)["unit1"]
    assert all((about.trip, about.fading, about.held, about.no_start, about.released))


def test_what_is_said_of_a_sound_unit_is_always_the_same_object() -> None:
    """So that what is kept of it is found again, whatever stands elsewhere."""
    calm = watch.told(a_site(2), ())["unit1"]
    noted = watch.told(a_site(2), (of_response("trip", "unit2"), of_response("note", "inverter1")))
    assert noted["unit1"] is calm
    assert noted["unit2"] is not calm
