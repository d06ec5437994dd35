"""Several batteries on one DC side, and several inverters on one bank, as the controller sees them."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.engine.bank import parts, together
from controller.model import AnyReading, Battery, Site
from tests.words import a_battery, a_meter, a_site, an_inverter


def pair(one: dict[str, object], two: dict[str, object]) -> Battery:
    """Return two batteries as one; each is closed unless it is told otherwise."""
    first = a_battery(**{"contactor_closed": True} | one)
    second = a_battery(**{"n": 2, "contactor_closed": True} | two)
    return together([first, second])


# -- batteries as one ---------------------------------------------------------------------------------------------


def test_a_single_battery_is_left_as_it_is() -> None:
    battery = a_battery(contactor_closed=False, alarms=("over voltage",))
    assert together([battery]) is battery


def test_every_field_of_two_batteries_as_one() -> None:
    one = Battery(
        device="left",
        sampled_ms=70,
        heard_ms=110,
        soc_bp=5001,
        soh_bp=9_900,
        voltage_mv=52_100,
        current_ma=-30_000,
        charge_max_ma=100_000,
        discharge_max_ma=160_000,
        charge_max_mv=57_000,
        discharge_min_mv=44_000,
        charge_allowed=True,
        discharge_allowed=False,
        contactor_closed=True,
        force_charge=True,
        full_charge_wanted=False,
        isolation_kohm=800,
        temperature_mc=21_000,
        temperature_min_mc=19_000,
        temperature_max_mc=24_000,
        cell_min_mv=3_310,
        cell_max_mv=3_340,
        modules=4,
        alarms=("cell voltage", "contactor"),
        warnings=("temperature",),
    )
    two = Battery(
        device="right",
        sampled_ms=80,
        heard_ms=100,
        soc_bp=6002,
        soh_bp=9_500,
        voltage_mv=52_300,
        current_ma=-20_000,
        charge_max_ma=120_000,
        discharge_max_ma=150_000,
        charge_max_mv=56_000,
        discharge_min_mv=45_000,
        charge_allowed=True,
        discharge_allowed=True,
        contactor_closed=True,
        force_charge=False,
        full_charge_wanted=True,
        isolation_kohm=900,
        temperature_mc=22_000,
        temperature_min_mc=18_000,
        temperature_max_mc=23_000,
        cell_min_mv=3_300,
        cell_max_mv=3_350,
        modules=3,
        alarms=("contactor",),
        warnings=("imbalance",),
    )
    assert together([one, two]) == Battery(
        device="left+right",
        sampled_ms=70,
        heard_ms=100,
        soc_bp=5501,
        soh_bp=9_500,
        voltage_mv=52_100,
        current_ma=-50_000,
        charge_max_ma=200_000,
        discharge_max_ma=300_000,
        charge_max_mv=56_000,
        discharge_min_mv=45_000,
        charge_allowed=True,
        discharge_allowed=False,
        contactor_closed=True,
        force_charge=True,
        full_charge_wanted=True,
        isolation_kohm=800,
        temperature_min_mc=18_000,
        temperature_max_mc=24_000,
        cell_min_mv=3_300,
        cell_max_mv=3_350,
        modules=7,
        alarms=("left: cell voltage", "left: contactor", "right: contactor"),
        warnings=("left: temperature", "right: imbalance"),
        packs=(2, 2),
    )


def test_the_weakest_pack_says_what_each_may_take() -> None:
    """Parallel packs do not part the current by their limits: 100 A and 20 A are not 120 A."""
    assert pair({"charge_max_ma": 100_000}, {"charge_max_ma": 20_000}).charge_max_ma == 40_000
    assert pair({"charge_max_ma": 100_000}, {"charge_max_ma": 0}).charge_max_ma == 0
    three = together([a_battery(n=n, discharge_max_ma=50_000 + n) for n in (1, 2, 3)])
    assert three.discharge_max_ma == 150_003


def test_a_pack_that_leaves_takes_its_current_with_it() -> None:
    """A recorded pair of packs goes from 50 A to 25 A when one of them leaves (canbms 5, T13)."""
    each = {"discharge_max_ma": 25_000, "charge_max_ma": 25_000, "current_ma": 7_000}
    assert pair(each, each).discharge_max_ma == 50_000
    left = pair(each, each | {"contactor_closed": False, "discharge_max_ma": 5_000, "soc_bp": 100})
    assert (left.discharge_max_ma, left.charge_max_ma, left.current_ma) == (25_000, 25_000, 7_000)
    assert (left.soc_bp, left.contactor_closed) == (6_000, True)
    assert pair(each, each | {"contactor_closed": None}).discharge_max_ma == 50_000, "not known to be open"


def test_what_an_open_pack_asks_of_the_current_is_not_asked_of_the_others() -> None:
    left = pair(
        {},
        {
            "contactor_closed": False,
            "charge_allowed": False,
            "discharge_allowed": None,
            "force_charge": True,
            "full_charge_wanted": True,
            "cell_min_mv": 2_500,
            "cell_max_mv": 3_700,
            "alarms": ("under voltage",),
        },
    )
    assert (left.charge_allowed, left.discharge_allowed) == (True, True)
    assert (left.force_charge, left.full_charge_wanted, left.cell_min_mv) == (False, False, None)
    assert left.alarms == ("battery2: under voltage",), "but its alarm is the bank's"


def test_a_bank_with_every_contactor_open_takes_nothing_and_still_tells() -> None:
    both = pair({"contactor_closed": False, "soc_bp": 2_000}, {"contactor_closed": False, "soc_bp": 3_000})
    assert (both.charge_max_ma, both.discharge_max_ma, both.contactor_closed, both.soc_bp) == (0, 0, False, 2_500)


@pytest.mark.parametrize(
    ("one", "two", "bank"),
    [
        (True, True, True),
        (True, False, True),
        (False, True, True),
        (True, None, True),
        (None, None, None),
        (None, False, None),
        (False, False, False),
    ],
)
def test_a_bank_is_closed_when_any_contactor_is(one: bool | None, two: bool | None, bank: bool | None) -> None:
    assert pair({"contactor_closed": one}, {"contactor_closed": two}).contactor_closed is bank


@pytest.mark.parametrize(
    ("one", "two", "bank"),
    [
        (True, True, True),
        (True, False, False),
        (False, None, False),
        (None, False, False),
        (True, None, None),
        (None, None, None),
    ],
)
@pytest.mark.parametrize("flag", ["charge_allowed", "discharge_allowed"])
def test_a_bank_may_only_what_all_its_packs_may(
    flag: str, one: bool | None, two: bool | None, bank: bool | None
) -> None:
    assert getattr(pair({flag: one}, {flag: two}), flag) is bank


@pytest.mark.parametrize(
    "field",
    [
        "soc_bp",
        "current_ma",
        "charge_max_ma",
        "discharge_max_ma",
        "charge_max_mv",
        "discharge_min_mv",
        "cell_min_mv",
        "cell_max_mv",
        "temperature_min_mc",
        "temperature_max_mc",
        "modules",
    ],
)
def test_what_one_pack_does_not_tell_is_not_told_of_the_bank(field: str) -> None:
    assert getattr(pair({field: 3_000}, {field: 3_000}), field) is not None
    assert getattr(pair({field: None}, {field: 3_000}), field) is None
    assert getattr(pair({field: 3_000}, {field: None}), field) is None
    open_one = pair({field: 3_000}, {field: None, "contactor_closed": False})
    assert getattr(open_one, field) == 3_000, "an open pack is not asked"


@pytest.mark.parametrize("field", ["voltage_mv", "soh_bp", "isolation_kohm"])
def test_the_least_voltage_health_and_isolation_that_is_told_counts(field: str) -> None:
    for one, two, bank in ((500, 400, 400), (400, 500, 400), (None, 500, 500), (500, None, 500), (None, None, None)):
        assert getattr(pair({field: one}, {field: two}), field) == bank


def test_a_single_temperature_counts_as_the_coldest_and_the_hottest() -> None:
    ends = {"temperature_min_mc": 10_000, "temperature_max_mc": 20_000}
    bank = pair(ends, {"temperature_mc": 25_000})
    assert (bank.temperature_min_mc, bank.temperature_max_mc) == (10_000, 25_000)
    bank = pair(ends | {"temperature_mc": -40_000}, {"temperature_mc": 5_000})
    assert (bank.temperature_min_mc, bank.temperature_max_mc) == (5_000, 20_000)
    bank = pair({"temperature_min_mc": 0, "temperature_max_mc": 0, "temperature_mc": 9_000}, ends)
    assert (bank.temperature_min_mc, bank.temperature_max_mc) == (0, 20_000)


# -- units that share a bank --------------------------------------------------------------------------------------


def a_shared_site(*ratings_w: tuple[int, int], alone: int = 0) -> Site:
    """Return a site whose units (charge, discharge) hang on one bank of two; so many others have one of their own."""
    site = a_site(len(ratings_w) + alone)
    units = [
        msgspec.structs.replace(
            unit, battery=("battery1", "battery2"), charge_max_w=charge_w, discharge_max_w=discharge_w
        )
        for unit, (charge_w, discharge_w) in zip(site.unit, ratings_w, strict=False)
    ]
    return msgspec.structs.replace(site, unit=(*units, *site.unit[len(units) :]))


def heard(*inverters: AnyReading) -> dict[str, AnyReading]:
    return {inverter.device: inverter for inverter in inverters}


def test_a_unit_that_shares_with_nobody_has_its_battery_whole() -> None:
    assert parts(a_site(2), heard(an_inverter())) == {"unit1": (1, 1), "unit2": (1, 1)}


def test_units_on_one_bank_part_it_by_what_their_inverters_can_do() -> None:
    site = a_shared_site((10_000, 10_000), (5_000, 3_000), alone=1)
    running = heard(an_inverter(), an_inverter(n=2), an_inverter(n=3))
    assert parts(site, running) == {"unit1": (20_000, 28_000), "unit2": (8_000, 28_000), "unit3": (1, 1)}
    set_lower = heard(an_inverter(charge_max_w=4_000, discharge_max_w=60_000), an_inverter(n=2, discharge_max_w=1_000))
    assert parts(site, set_lower) == {"unit1": (14_000, 20_000), "unit2": (6_000, 20_000), "unit3": (1, 1)}


def test_an_inverter_that_is_not_heard_keeps_its_part() -> None:
    site = a_shared_site((10_000, 10_000), (5_000, 5_000))
    assert parts(site, heard(an_inverter())) == {"unit1": (20_000, 30_000), "unit2": (10_000, 30_000)}
    assert parts(site, {"inverter2": a_meter()} | heard(an_inverter()))["unit2"] == (10_000, 30_000)


@pytest.mark.parametrize(
    ("state", "power_w", "part"),
    [
        ("off", 99, (0, 20_000)),
        ("off", -99, (0, 20_000)),
        ("fault", 0, (0, 20_000)),
        ("off", 100, (20_000, 40_000)),  # 1 % of 10 kW: it does something
        ("fault", -100, (20_000, 40_000)),
        ("off", None, (20_000, 40_000)),
        ("standby", 0, (20_000, 40_000)),
        ("run", 0, (20_000, 40_000)),
        ("starting", 0, (20_000, 40_000)),
    ],
)
def test_an_inverter_that_is_down_leaves_its_part_to_the_other(
    state: str, power_w: int | None, part: tuple[int, int]
) -> None:
    site = a_shared_site((10_000, 10_000), (10_000, 10_000))
    found = parts(site, heard(an_inverter(n=2), an_inverter(power_w, state=state)))
    assert found["unit1"] == part
    assert found["unit2"] == (20_000, part[1])


def test_down_is_measured_by_the_larger_nameplate() -> None:
    for rating in ((10_000, 2_000), (2_000, 10_000)):
        site = a_shared_site(rating, (10_000, 10_000))
        assert parts(site, heard(an_inverter(99, state="off")))["unit1"] == (0, 20_000)
        assert parts(site, heard(an_inverter(100, state="off")))["unit1"] == (12_000, 32_000)


def test_where_all_inverters_are_down_they_part_the_bank_by_nameplate() -> None:
    site = a_shared_site((10_000, 6_000), (5_000, 3_000))
    down = heard(an_inverter(state="off"), an_inverter(n=2, state="fault"))
    assert parts(site, down) == {"unit1": (16_000, 24_000), "unit2": (8_000, 24_000)}
    assert parts(a_shared_site((0, 0), (0, 0)), down) == {"unit1": (1, 2), "unit2": (1, 2)}


def test_the_same_battery_named_alone_or_in_a_list_is_the_same_bank() -> None:
    site = a_site(2)
    first, second = site.unit
    same = (first, msgspec.structs.replace(second, battery=("battery1",)))
    assert parts(msgspec.structs.replace(site, unit=same), {}) == {"unit1": (20_000, 40_000), "unit2": (20_000, 40_000)}


watts = st.integers(0, 20_000)
states = st.tuples(st.sampled_from(("run", "off", "fault")), st.none() | watts, st.none() | watts)


@given(st.lists(st.tuples(watts, watts), min_size=2, max_size=5), st.lists(states, max_size=5))
@settings(max_examples=150, deadline=None)
def test_the_parts_of_a_bank_are_the_whole_bank(
    ratings: list[tuple[int, int]], told: list[tuple[str, int | None, int | None]]
) -> None:
    site = a_shared_site(*ratings, alone=1)
    inverters = [
        an_inverter(power_w, n=n, state=state, charge_max_w=limit_w)
        for n, (state, power_w, limit_w) in enumerate(told[: len(ratings)], 1)
    ]
    found = parts(site, heard(*inverters))
    wholes = {found[unit.name][1] for unit in site.unit[:-1]}
    assert len(wholes) == 1
    assert sum(found[unit.name][0] for unit in site.unit[:-1]) == wholes.pop()
    assert found[site.unit[-1].name] == (1, 1)


@pytest.mark.parametrize(("power_w", "part"), [(100, (0, 20_000)), (101, (20_100, 40_100))])
def test_an_inverter_that_is_off_below_a_hundredth_of_its_nameplate_has_no_part(
    power_w: int, part: tuple[int, int]
) -> None:
    site = a_site(2)
    one = msgspec.structs.replace(site.unit[0], charge_max_w=10_050, discharge_max_w=10_050)
    two = msgspec.structs.replace(site.unit[1], battery="battery1")
    site = msgspec.structs.replace(site, unit=(one, two))
    told = {"inverter1": an_inverter(power_w, state="off"), "inverter2": an_inverter(n=2)}
    assert parts(site, told)["unit1"] == part


@pytest.mark.parametrize(
    ("cold_mc", "hot_mc", "expected"),
    [(None, None, (21_000, 22_000)), (19_000, None, (19_000, None)), (None, 24_000, (None, 24_000))],
)
def test_a_battery_that_tells_one_end_of_its_temperatures_does_not_fall_back_to_its_mean_for_the_other(
    cold_mc: int | None, hot_mc: int | None, expected: tuple[int | None, int | None]
) -> None:
    one = a_battery(temperature_mc=21_000, temperature_min_mc=cold_mc, temperature_max_mc=hot_mc)
    two = a_battery(n=2, temperature_mc=22_000)
    both = together([one, two])
    assert (both.temperature_min_mc, both.temperature_max_mc) == expected
