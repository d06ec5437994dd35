"""What a device told once and tells no more never widens what the site does."""

import msgspec
import pytest

from controller.codec.settled import settled
from controller.model import Battery, Derating, Inverter
from controller.rules import temperature
from tests.words import a_battery, a_meter, a_site, a_unit, an_inverter


@pytest.mark.parametrize("name", ["charge_max_w", "discharge_max_w", "apparent_max_va"])
def test_a_rating_that_is_lost_stays_as_it_was_told_last(name: str) -> None:
    told, lost, never = an_inverter(**{name: 2000}), an_inverter(), an_inverter(**{name: 0})
    first = settled(told, lost)
    assert getattr(first, name) == 2000
    assert getattr(settled(first, lost), name) == 2000, "for as long as it is not told again"
    assert getattr(settled(first, an_inverter(**{name: 9000})), name) == 9000
    assert getattr(settled(never, lost), name) == 0
    assert settled(lost, lost) is lost


@pytest.mark.parametrize("name", ["charge_allowed", "discharge_allowed", "contactor_closed"])
@pytest.mark.parametrize("told", [True, False])
def test_a_permission_of_the_battery_that_is_lost_counts_as_refused(name: str, told: bool) -> None:
    before, lost = a_battery(**{name: told}), a_battery(**{name: None})
    first = settled(before, lost)
    assert getattr(first, name) is False
    assert getattr(settled(first, lost), name) is False
    assert getattr(settled(first, a_battery(**{name: True})), name) is True
    assert getattr(settled(lost, lost), name) is None, "a battery that has no such flag"


@pytest.mark.parametrize("told", [True, False])
def test_an_inverter_that_stops_telling_whether_it_is_connected_counts_as_cut_off(told: bool) -> None:
    after = settled(an_inverter(connected=told), an_inverter())
    assert isinstance(after, Inverter)
    assert after.connected is False


@pytest.mark.parametrize(("cold_mc", "hot_mc"), [(2_000, 30_000), (2_000, None), (None, 30_000)])
def test_a_battery_that_lost_the_ends_of_its_temperatures_is_not_believed_by_its_mean(
    cold_mc: int | None, hot_mc: int | None
) -> None:
    curve = ((0, 0), (10, 100))
    unit = msgspec.structs.replace(a_site().unit[0], derating=Derating(charge_by_temperature_c=curve))
    lost = a_battery(temperature_mc=20_000)
    battery = settled(a_battery(temperature_mc=20_000, temperature_min_mc=cold_mc, temperature_max_mc=hot_mc), lost)
    for _ in range(3):
        assert isinstance(battery, Battery)
        limit = temperature.limit(a_site(), a_unit(unit=unit, battery=battery))
        assert limit is not None
        assert limit.low_w == 0
        battery = settled(battery, lost)
    whole = a_battery(temperature_mc=20_000, temperature_min_mc=19_000, temperature_max_mc=21_000)
    assert settled(battery, whole) is whole, "told again"
    assert settled(lost, lost) is lost, "a battery that has one temperature"


def test_nothing_is_settled_where_nothing_was_lost_or_another_kind_of_device_answers() -> None:
    sound, meter = a_battery(), a_meter()
    assert settled(None, sound) is sound
    assert settled(a_battery(), sound) is sound
    assert settled(an_inverter(charge_max_w=1), sound) is sound
    assert settled(meter, meter) is meter
    several = settled(a_battery(contactor_closed=True), a_battery(charge_allowed=None, contactor_closed=None))
    assert isinstance(several, Battery)
    assert (several.charge_allowed, several.contactor_closed) == (False, False)
