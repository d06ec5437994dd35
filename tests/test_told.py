"""What a device tells through the faults of its sensors, and the chance that the plant draws from."""

from collections.abc import Iterator
from itertools import islice
from statistics import fmean, pstdev

import pytest

from hil.plant import chance
from hil.plant.told import Alter, Tamper, Told, drift, factor, noise, not_a_number, offset, stuck, wrong


def tampered(alter: Alter, point: str = "soc") -> Told:
    told = Told()
    told.add(point, Tamper(alter=alter))
    return told


def test_without_faults_a_device_tells_the_truth() -> None:
    assert Told().told("soc", 0.42, 10.0) == 0.42


@pytest.mark.parametrize(
    ("alter", "expected"),
    [
        (wrong(0.9), 0.9),
        (stuck(0.5), 0.5),
        (offset(-0.1), 0.3),
        (factor(-1.0), -0.4),
        (drift(per_h=0.02, begun_s=1000.0), 0.43),  # an hour and a half later
        (not_a_number(), None),
    ],
)
def test_tamper_changes_its_point_and_no_other(alter: Alter, expected: float | None) -> None:
    told = tampered(alter)
    heard = told.told("soc", 0.4, 6400.0)
    assert heard == (None if expected is None else pytest.approx(expected))
    assert told.told("pack_v", 52.0, 6400.0) == 52.0


def test_stuck_sensor_keeps_what_it_told_when_the_fault_began() -> None:
    told = tampered(stuck())
    assert [told.told("soc", value, 0.0) for value in (0.5, 0.4, 0.3)] == [0.5, 0.5, 0.5]


def test_each_tamper_sees_what_the_one_before_it_told() -> None:
    told = Told()
    doubled = told.add("a", Tamper(alter=factor(2.0)))
    told.add("a", Tamper(alter=offset(1.0)))
    assert told.told("a", 10.0, 0.0) == 21.0
    told.remove(doubled)
    told.add("a", doubled)
    assert told.told("a", 10.0, 0.0) == 22.0


def test_what_is_no_number_stays_none_whatever_comes_after_it() -> None:
    told = tampered(not_a_number(), "a")
    told.add("a", Tamper(alter=wrong(1.0)))
    assert told.told("a", 10.0, 0.0) is None


def test_healed_sensor_tells_the_truth_again_though_an_equal_fault_is_still_there() -> None:
    told, alter = Told(), offset(1.0)
    first, second = (told.add("a", Tamper(alter=alter)) for _ in range(2))
    told.remove(first)
    assert told.told("a", 10.0, 0.0) == 11.0
    told.remove(second)
    assert told.told("a", 10.0, 0.0) == 10.0
    with pytest.raises(ValueError, match="on no point"):
        told.remove(second)


def test_fault_bites_only_when_it_changes_the_value() -> None:
    bites: list[str] = []
    told = Told()
    told.add("a", Tamper(alter=wrong(5.0), on_bite=lambda: bites.append("wrong")))
    told.add("b", Tamper(alter=not_a_number(), on_bite=lambda: bites.append("none")))
    told.told("a", 5.0, 0.0)
    assert not bites
    told.told("a", 6.0, 0.0)
    told.told("b", 0.0, 0.0)
    assert bites == ["wrong", "none"]


def test_noise_has_its_deviation_and_depends_on_time_and_seed_only() -> None:
    told, other = tampered(noise(sigma=3.0, seed=7)), tampered(noise(sigma=3.0, seed=8))
    drawn = [told.told("soc", 100.0, number * chance.SLOT_S) or 0.0 for number in range(4000)]
    assert fmean(drawn) == pytest.approx(100.0, abs=4 * 3.0 / 4000**0.5)
    assert pstdev(drawn) == pytest.approx(3.0, rel=0.05)
    for number in (3, 1, 3, 2):  # asked again, out of order, within the slot
        assert told.told("soc", 100.0, (number + 0.9) * chance.SLOT_S) == drawn[number]
    assert other.told("soc", 100.0, 0.0) != drawn[0]


def splitmix64(state: int) -> Iterator[int]:
    """Yield the sequence as its authors give it, state by state."""
    while True:
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        yield z ^ z >> 31


def test_chance_is_the_sequence_of_splitmix64_read_at_any_place() -> None:
    """The first three of the seed 1234567 are the published ones."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert list(islice(splitmix64(1234567), 3)) == published
    state = 1234567 + 10**9
    scrambled = next(splitmix64(state - 0x9E3779B97F4A7C15))
    drawn = [number / 2**64 for number in islice(splitmix64(scrambled), 50)]
    assert [chance.uniform(state, number) for number in range(1, 51)] == pytest.approx(drawn, abs=2**-52)


def test_chance_is_even_within_its_bounds_and_parts_draw_apart() -> None:
    drawn = [chance.uniform(11, number) for number in range(10_000)]
    assert 0.0 < min(drawn) < 0.001 and 0.999 < max(drawn) < 1.0
    tenths = [sum(1 for value in drawn if int(10 * value) == tenth) for tenth in range(10)]
    assert all(abs(count - 1000) < 150 for count in tenths)  # 5 deviations of 30
    assert len({chance.named(1, "load"), chance.named(1, "pv"), chance.named(2, "load"), chance.named(2, "pv")}) == 4


def test_time_that_is_a_sum_of_steps_falls_into_its_slot() -> None:
    t_s, slots = 0.0, []
    for _ in range(3000):
        slots.append(chance.slot(t_s))
        t_s += 0.05
    assert slots == [number // 2 for number in range(3000)]
