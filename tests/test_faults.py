"""The tables of faults, and the verbs of sensors, plant and utility: each is seen to act, to end and to count."""

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from controller.app.sitefile import load
from hil.clock import run_virtual
from hil.dispatch import Write
from hil.faults import VERBS, can, device, disk, plant, process, time, told, utility, wire
from hil.faults.bench import Bench, Standing, overlaid
from hil.faults.catalogue import ROWS
from hil.faults.schedule import wrong_params
from hil.faults.words import ALL_MODES, PLACES, Armed, Fault, Heal
from hil.plant.inputs import Inputs
from hil.plant.inverter import SetPoint
from hil.plant.meter import Meter
from hil.plant.site import Plant
from hil.run.fit import plant_spec
from hil.run.lockstep import Lockstep, running
from hil.run.model import Model

SITE = load(Path(__file__).parents[1] / "profiles" / "sites" / "demo.toml")
LAYERS = (can, device, disk, plant, process, time, told, utility, wire)
HERE = Path(__file__).read_text("utf-8")


# The tables


def test_catalogue_has_a_hundred_rows_each_once() -> None:
    assert list(ROWS) == [f"F{number:02d}" for number in range(1, 101)]


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.id)
def test_row_can_be_done_with_its_parameters_or_says_why_not(row: Any) -> None:
    assert len(row.title) > 5 and len(row.must) > 20
    if not row.do:
        assert row.why and not row.params
        return
    assert not row.why
    assert list(wrong_params(VERBS[row.do], row.params)) == []


def test_rows_and_verbs_are_told_apart_by_their_words() -> None:
    assert len({row.title for row in ROWS.values()}) == 100
    assert len({verb.says for verb in VERBS.values()}) == len(VERBS)


def test_rows_that_cannot_be_done_yet_are_these() -> None:
    assert [row.id for row in ROWS.values() if not row.do] == [
        *("F30", "F31", "F32", "F33", "F34", "F35", "F36"),  # the serial line
        "F72",  # orders with a time of their own
        "F81",  # TLS
        "F90",  # a database
        "F94",  # a process that runs for days
    ]


def test_every_verb_is_in_the_table_once_under_its_name() -> None:
    names = [verb.name for layer in LAYERS for verb in layer.VERBS]
    assert sorted(names) == sorted(VERBS)
    assert all(VERBS[name].name == name for name in names)


@pytest.mark.parametrize("verb", VERBS.values(), ids=lambda verb: verb.name)
def test_verb_is_whole(verb: Any) -> None:
    assert re.fullmatch(r"[a-z][a-z_]*", verb.name)
    assert verb.on and verb.modes and verb.says
    assert verb.on <= {"inverter", "meter", "battery", "inputs", *PLACES.values()}
    assert list(wrong_params(verb, {name: param.default for name, param in verb.params.items()})) == []


@pytest.mark.parametrize("layer", [told, plant, utility], ids=lambda layer: layer.__name__)
def test_every_verb_of_the_layer_is_tested_here(layer: Any) -> None:
    assert [verb.name for verb in layer.VERBS if f'"{verb.name}"' not in HERE] == []


# Overlays


class Knob:
    """A thing with an attribute."""

    value = 10


def test_changes_of_one_attribute_may_end_in_any_order() -> None:
    knob = Knob()
    _, end_double = overlaid(knob, "value", lambda value: 2 * value)
    overlay, end_more = overlaid(knob, "value", lambda value: value + 1)
    assert knob.value == 21
    end_double()
    assert knob.value == 11
    knob.value = 30  # somebody else
    assert overlay.look()
    assert knob.value == 31
    assert not overlay.look()
    end_more()
    assert knob.value == 30


def test_attribute_that_was_left_alone_meanwhile_is_taken_anew() -> None:
    knob = Knob()
    _, end = overlaid(knob, "value", lambda value: -value)
    end()
    knob.value = 4
    _, end = overlaid(knob, "value", lambda value: -value)
    assert knob.value == -4
    end()
    assert knob.value == 4


# The plant


class Site:
    """The demo's plant in the test's hands; time passes in ticks of 0.1 s, as on a bench."""

    def __init__(self, power_w: float = 5000.0, load_w: float = 4000.0) -> None:
        self.plant = Plant(plant_spec(SITE), seed=1, start_s=1000.0)
        self.plant.parts["inputs"] = Inputs()
        self.plant.set("load_w", load_w)
        self.inverter, self.battery = self.plant.inverter("inverter"), self.plant.battery("battery")
        self.meter: Meter = self.plant.meter("meter")
        self.grid, self.local = self.plant.grid, self.plant.local
        self.utility: Any = None
        self.heal: Heal = lambda: None
        self.ask(power_w)
        self.wait(5)

    def ask(self, power_w: float, timer_s: float = 3000.0) -> None:
        """Write a set point."""
        self.inverter.set_point(SetPoint(enabled=True, power_w=power_w, timer_s=timer_s))

    def wait(self, wait_s: float) -> None:
        """Let time pass while the BMS is heard."""
        for _ in range(round(10 * wait_s)):
            self.battery.keepalive()
            self.plant.advance(round(self.plant.now_s + 0.1, 6))
            if isinstance(self.heal, Standing):
                self.heal.look()

    def begin(self, do: str, on: str, **params: Any) -> Armed:
        """Let a fault begin, as the schedule does."""
        armed, self.heal = begun(self, do, on, **params)
        return armed

    def end(self) -> None:
        """End it."""
        heal, self.heal = self.heal, lambda: None
        heal()


def begun(bench: Bench, do: str, on: str, **params: Any) -> tuple[Armed, Heal]:
    assert list(wrong_params(VERBS[do], params)) == []
    armed = Armed(Fault(on=on, do=do, params=params), VERBS[do], "7")
    return armed, VERBS[do].begin(bench, armed)


@pytest.fixture
def site() -> Site:
    return Site()


def test_tripped_inverter_comes_back_by_itself(site: Site) -> None:
    armed = site.begin("trip", "inverter", restart_s=30.0)
    site.wait(1)
    assert (site.inverter.state, site.inverter.ac_w, armed.effects) == ("fault", pytest.approx(0, abs=50), 1)
    site.wait(30 + site.inverter.spec.startup_s + 1)
    assert site.inverter.state == "run"


def test_tripped_inverter_comes_back_at_the_end_of_the_fault(site: Site) -> None:
    site.begin("trip", "inverter", restart_s=3000.0)
    site.wait(1)
    site.end()
    site.wait(site.inverter.spec.startup_s + 1)
    assert site.inverter.state == "run"


def test_trip_of_an_inverter_that_is_off_has_no_effect(site: Site) -> None:
    site.inverter.operate("stop")
    site.wait(1)
    assert site.begin("trip", "inverter").effects == 0


def test_derated_inverter_gives_its_share_of_the_rating(site: Site) -> None:
    armed = site.begin("derate", "inverter", to_pct=30.0)
    site.wait(3)
    assert site.inverter.ac_w == pytest.approx(3000, abs=1)
    assert armed.effects == 30
    site.ask(2000)
    site.wait(3)
    assert (site.inverter.ac_w, armed.effects) == (pytest.approx(2000, abs=1), 30)  # it shows no more
    site.ask(5000)
    site.end()
    site.wait(3)
    assert site.inverter.ac_w == pytest.approx(5000, abs=1)


def test_two_deratings_give_the_smaller_and_end_in_any_order(site: Site) -> None:
    _, end_first = begun(site, "derate", "inverter", to_pct=30.0)
    _, end_second = begun(site, "derate", "inverter", to_pct=20.0)
    site.wait(3)
    assert site.inverter.ac_w == pytest.approx(2000, abs=1)
    end_first()
    site.wait(3)
    assert site.inverter.ac_w == pytest.approx(2000, abs=1)
    end_second()
    site.wait(3)
    assert site.inverter.ac_w == pytest.approx(5000, abs=1)


def test_inverter_that_ignores_set_points_stays_where_it_is(site: Site) -> None:
    armed = site.begin("ignore", "inverter")
    site.wait(1)
    assert armed.effects == 0  # nobody wanted anything else
    site.ask(-3000)
    site.wait(2)
    assert site.inverter.ac_w == pytest.approx(5000, abs=1)
    assert armed.effects == 20
    site.end()
    site.wait(3)
    assert site.inverter.ac_w == pytest.approx(-3000, abs=1)


def test_inverter_in_local_control_is_at_rest(site: Site) -> None:
    armed = site.begin("take_local", "inverter")
    site.wait(3)
    assert (site.inverter.ac_w, site.inverter.local) == (pytest.approx(0, abs=1), True)
    assert armed.effects == 30
    site.end()
    site.wait(3)
    assert (site.inverter.ac_w, site.inverter.local) == (pytest.approx(5000, abs=1), False)


def test_inverted_inverter_charges_when_it_is_to_discharge(site: Site) -> None:
    armed = site.begin("invert", "inverter")
    site.wait(3)
    assert site.inverter.ac_w == pytest.approx(-5000, abs=1)
    assert armed.effects == 30
    site.end()
    site.wait(3)
    assert site.inverter.ac_w == pytest.approx(5000, abs=1)


def test_reversion_acts_before_its_time(site: Site) -> None:
    armed = site.begin("revert_now", "inverter")
    site.wait(3)
    assert (site.inverter.ac_w, armed.effects) == (pytest.approx(0, abs=1), 1)
    site.end()
    assert site.begin("revert_now", "inverter").effects == 0  # no timer runs


def test_told_state_of_charge_jumps_and_jumps_back(site: Site) -> None:
    true_soc = site.battery.soc
    armed = site.begin("soc_jump", "battery", by_pct=-10.0)
    site.wait(1)
    assert site.battery.soc_told == pytest.approx(site.battery.soc - 0.1, abs=1e-3)
    assert site.battery.soc == pytest.approx(true_soc, abs=1e-3)
    assert (armed.effects, armed.note) == (1, "-10.0 points")
    site.end()
    site.wait(1)
    assert site.battery.soc_told == pytest.approx(site.battery.soc, abs=1e-3)


def test_jump_that_does_not_fit_is_as_large_as_it_can_be(site: Site) -> None:
    armed = site.begin("soc_jump", "battery", by_pct=90.0)
    assert site.battery.bms.estimate.soc == 1.0
    assert armed.note == "+40.0 points"
    site.end()
    assert site.battery.bms.estimate.soc == pytest.approx(site.battery.soc, abs=1e-3)


def test_bias_of_the_state_of_charge_grows_unseen(site: Site) -> None:
    armed = site.begin("soc_bias", "battery", by_pct=15.0, over_s=100.0)
    told = []
    for _ in range(100):
        site.wait(1)
        told.append(site.battery.soc_told - site.battery.soc)
    assert told[49] == pytest.approx(0.075, abs=2e-3)
    assert told[99] == pytest.approx(0.15, abs=2e-3)
    assert max(after - before for before, after in pairwise(told)) < 0.003
    assert armed.effects == pytest.approx(1000 - 1000 * 0.1 / 15, abs=5)  # from a tenth of a point on
    site.end()
    site.wait(1)
    assert site.battery.soc_told == pytest.approx(site.battery.soc, abs=1e-3)


def test_state_of_charge_stands_still_while_energy_moves(site: Site) -> None:
    told_soc = site.battery.soc_told
    armed = site.begin("hold_soc", "battery")
    site.wait(15)
    assert armed.effects == 0  # 1.4 Wh a second of 25 kWh: a tenth of a point takes 17 s
    site.wait(120)
    assert site.battery.soc_told == told_soc
    assert site.battery.soc < told_soc - 0.006
    assert armed.effects > 100
    site.end()
    site.wait(1)
    assert site.battery.soc_told == pytest.approx(site.battery.soc, abs=2e-3)


def test_limits_are_zero_and_come_back(site: Site) -> None:
    armed = site.begin("limits_zero", "battery")
    site.wait(1)
    assert (site.battery.charge_max_a, site.battery.discharge_max_a, armed.effects) == (0, 0, 10)
    site.end()
    site.wait(20)
    assert site.battery.discharge_max_a == site.battery.current_max_a


def test_contactor_opens_under_load_and_closes_again(site: Site) -> None:
    armed = site.begin("open_contactor", "battery")
    site.wait(1)
    assert not site.battery.closed
    assert site.battery.pack_a == 0
    assert 9 <= armed.effects <= 10
    site.end()
    site.wait(80)
    assert site.battery.closed


def test_heat_ramps_and_stops_where_it_is_told(site: Site) -> None:
    site.ask(0)
    armed = site.begin("heat", "battery", c_per_s=0.5, until_c=35.0)
    site.wait(10)
    assert site.battery.cell_c == pytest.approx(25 + 5, abs=0.3)
    assert 85 <= armed.effects <= 92  # from the first half degree on, which takes 1 s
    site.wait(60)
    assert site.battery.cell_c == pytest.approx(35, abs=0.2)
    site.end()
    assert site.battery.pack.warming_c_per_s == 0


def test_capacity_is_less_and_comes_back(site: Site) -> None:
    armed = site.begin("capacity", "battery", to_pct=70.0)
    assert site.battery.capacity_wh == pytest.approx(0.7 * 25_000, rel=1e-3)
    assert armed.effects == 1
    site.end()
    assert site.battery.capacity_wh == pytest.approx(25_000, rel=1e-3)


@pytest.mark.parametrize(
    ("do", "params", "shown"),
    [
        ("ct_reversed", {}, -1.0),
        ("ct_reversed", {"phase": "2"}, 1 / 3),
        # Three equal phases, two currents exchanged: cos 120 degrees = -1/2 each, the third is right.
        ("ct_swapped", {"order": "two"}, 0.0),
        ("ct_swapped", {"order": "turned"}, -0.5),
        ("ct_ratio", {"factor": 0.5}, 0.5),
        ("channel_lost", {"phase": "3"}, 2 / 3),
    ],
)
def test_meter_shows_a_part_of_the_power(do: str, params: dict[str, Any], shown: float) -> None:
    site = Site(power_w=0.0, load_w=6000.0)
    armed = site.begin(do, "meter", **params)
    site.wait(2)
    assert site.meter.power_w == pytest.approx(shown * -6000, abs=60)
    assert armed.effects == 10  # one a sample
    site.end()
    site.wait(1)
    assert site.meter.power_w == pytest.approx(-6000, abs=60)
    assert armed.effects == 10


def test_frozen_meter_shows_what_was(site: Site) -> None:
    armed = site.begin("meter_frozen", "meter")
    site.plant.set("load_w", 9000)
    site.wait(5)
    assert site.meter.power_w == pytest.approx(1000, abs=60)
    assert armed.effects == 25
    site.end()
    site.wait(1)
    assert site.meter.power_w == pytest.approx(-4000, abs=60)


def test_late_meter_shows_a_step_late(site: Site) -> None:
    armed = site.begin("meter_late", "meter", by_s=3.0)
    site.wait(5)
    site.plant.set("load_w", 9000)
    site.wait(2.5)
    assert site.meter.power_w == pytest.approx(1000, abs=60)
    site.wait(1.5)
    assert site.meter.power_w == pytest.approx(-4000, abs=60)
    assert armed.effects > 80
    site.end()
    site.plant.set("load_w", 2000)
    site.wait(1.5)
    assert site.meter.power_w == pytest.approx(3000, abs=60)


def test_lost_phase_is_dead(site: Site) -> None:
    armed = site.begin("phase_loss", "grid", phase="2")
    site.wait(1)
    assert [volts > 200 for volts in site.grid.phase_v] == [True, False, True]
    assert armed.effects >= 9
    site.end()
    site.wait(1)
    assert min(site.grid.phase_v) == pytest.approx(230, abs=1)


def test_grid_leaves_its_range_and_comes_back(site: Site) -> None:
    armed = site.begin("grid_event", "grid", v_pu=0.9, hz=50.3)
    site.wait(1)
    assert (site.plant.grid_v, site.plant.grid_hz) == (pytest.approx(207), 50.3)
    site.plant.set("grid_hz", 49.9)  # what is played meanwhile holds after
    site.wait(1)
    assert site.plant.grid_hz == 50.3
    site.end()
    site.wait(1)
    assert (site.plant.grid_v, site.plant.grid_hz) == (pytest.approx(230), 49.9)
    assert armed.effects == 20


def test_island_is_dead(site: Site) -> None:
    armed = site.begin("island", "grid")
    site.wait(1)
    assert (site.plant.grid_v, site.plant.grid_hz, site.plant.poi_w) == (0, 0, pytest.approx(0, abs=1))
    assert armed.effects >= 9
    site.end()
    site.wait(1)
    assert site.plant.grid_v == pytest.approx(230)


def test_load_steps_and_what_is_played_meanwhile_goes_on(site: Site) -> None:
    armed = site.begin("step_load", "local", by_w=3000.0)
    site.wait(2)
    assert site.local.load_w == pytest.approx(7000, abs=30)
    site.plant.set("load_w", 1000)
    site.wait(2)
    assert site.local.load_w == pytest.approx(4000, abs=30)
    assert armed.effects == 2
    site.end()
    site.wait(2)
    assert site.local.load_w == pytest.approx(1000, abs=30)


def test_load_never_falls_below_nothing(site: Site) -> None:
    site.begin("step_load", "local", by_w=-11_000.0)
    site.wait(2)
    assert site.local.load_w == pytest.approx(0, abs=1)


def test_generation_rises_along_a_ramp(site: Site) -> None:
    armed = site.begin("step_pv", "local", by_w=2000.0, over_s=10.0)
    site.wait(5)
    assert site.local.pv_w == pytest.approx(1000, abs=60)
    site.wait(10)
    assert site.local.pv_w == pytest.approx(2000, abs=30)
    assert armed.effects == pytest.approx(100, abs=1)


# The sensors


@pytest.mark.parametrize(
    ("do", "params", "after"),
    [
        ("stuck", {}, [0.5, 0.5, 0.5]),
        ("wrong", {"value": 0.9}, [0.9, 0.9, 0.9]),
        ("offset", {"by_value": -0.1}, [0.4, 0.3, 0.2]),
        ("factor", {"by_factor": -1.0}, [-0.5, -0.4, -0.3]),
        ("jumps", {"by_value": 0.2, "every_s": 1.0}, [0.7, 0.4, 0.5]),
        ("drift", {"per_h": 360.0}, [0.5, 0.5, 0.5]),  # 0.1 a second up, while the truth goes 0.1 a second down
        ("not_a_number", {}, [None, None, None]),
    ],
)
def test_sensor_tells_something_else_until_the_end(do: str, params: dict[str, Any], after: list[float | None]) -> None:
    site = Site()
    armed = site.begin(do, "battery", point="soc", **params)
    begun_s = site.plant.now_s
    heard = [site.battery.told.told("soc", 0.5 - step / 10, begun_s + step) for step in range(3)]
    assert heard == [None if value is None else pytest.approx(value) for value in after]
    assert armed.effects == (2 if do in ("stuck", "drift", "jumps") else 3)  # one of them is true there
    assert site.battery.told.told("pack_v", 52.0, begun_s) == 52.0
    site.end()
    assert site.battery.told.told("soc", 0.5, begun_s) == 0.5


def test_noise_of_a_sensor_is_the_faults_own(site: Site) -> None:
    armed = site.begin("noise", "meter", sigma=50.0)
    heard = [site.meter.told.told("power_w", 1000.0, 1000 + slot / 10) for slot in range(400)]
    values = [value - 1000 for value in heard if value is not None]
    assert sum(values) / 400 == pytest.approx(0, abs=10)
    assert (sum(value * value for value in values) / 400) ** 0.5 == pytest.approx(50, rel=0.15)
    assert armed.effects == 400
    site.end()
    site.begin("noise", "meter", sigma=50.0)
    assert [site.meter.told.told("power_w", 1000.0, 1000 + slot / 10) for slot in range(400)] == heard  # the same seed


@pytest.mark.parametrize(("on", "point"), [("inverter", "ac_w"), ("meter", "power_w"), ("battery", "soc")])
def test_point_that_is_left_out_is_the_one_that_matters(site: Site, on: str, point: str) -> None:
    site.begin("wrong", on, value=7.0)
    assert site.plant.parts[on].told.told(point, 1.0, 1000.0) == 7.0


def test_point_that_a_device_does_not_tell_is_refused(site: Site) -> None:
    with pytest.raises(ValueError, match="this meter tells no soc; it tells power_w"):
        site.begin("wrong", "meter", point="soc")


def test_every_point_of_the_devices_can_be_told_wrongly(site: Site) -> None:
    for on, points in told.POINTS.items():
        for point in points:
            armed = site.begin("wrong", on, point=point, value=7.0)
            assert site.plant.parts[on].told.told(point, 1.0, 1000.0) == 7.0
            assert armed.effects == 1
            site.end()


# The utility, without frames


class Talk:
    """A site in model mode, and what its utility writes."""

    def __init__(self) -> None:
        self.bench = Model(SITE, Plant(plant_spec(SITE), seed=1, start_s=1000.0))
        self.caller = self.bench.utility
        self.sent: list[Write] = []
        self.heal: Heal = lambda: None
        send = self.caller.mangle
        self.caller.mangle = lambda write: send(write)
        self.wait(3)

    def wait(self, wait_s: float) -> list[Write]:
        """Let time pass and return what came out at the utility's end meanwhile."""
        sent: list[Write] = []
        mangle = self.caller.mangle

        def heard(write: Write) -> list[Write]:
            writes = mangle(write)
            sent.extend(writes)
            return writes

        self.caller.mangle = heard
        self.bench.run(self.bench.clock.now_s + wait_s, self._look)
        self.caller.mangle = mangle
        return sent

    def _look(self, _now_s: float) -> None:
        if isinstance(self.heal, Standing):
            self.heal.look()

    def begin(self, do: str, **params: Any) -> Armed:
        """Let a fault of the utility begin."""
        armed, self.heal = begun(self.bench, do, "utility", **params)
        return armed

    def end(self) -> None:
        """End it."""
        heal, self.heal = self.heal, lambda: None
        heal()


@pytest.fixture
def talk() -> Talk:
    talk = Talk()
    talk.caller.wish.set_w = 3000.0
    talk.wait(3)
    return talk


def power_w(write: Write) -> int:
    """Return the WSet of a block: registers 2 and 3 of it, as a signed number."""
    value = write.registers[2] << 16 | write.registers[3]
    return value - (value >> 31 << 32)


def test_silent_utility_says_nothing_until_the_end(talk: Talk) -> None:
    armed = talk.begin("silent")
    assert talk.wait(10) == []
    assert talk.caller.order_w is None  # its lease of 5 s is over
    assert armed.effects == pytest.approx(100, abs=1)
    talk.end()
    assert [power_w(write) for write in talk.wait(1)] == [3000, 3000]


def test_two_silences_end_with_the_later_one(talk: Talk) -> None:
    _, end_first = begun(talk.bench, "silent", "utility")
    talk.begin("silent")
    talk.wait(2)
    end_first()
    assert talk.wait(3) == []
    talk.end()
    assert talk.wait(2)


def test_silence_of_a_utility_that_wants_nothing_has_no_effect(talk: Talk) -> None:
    talk.caller.wish.set_w = None
    armed = talk.begin("silent")
    talk.wait(3)
    assert armed.effects == 0


def test_every_write_comes_twice(talk: Talk) -> None:
    armed = talk.begin("write_twice")
    sent = talk.wait(3)
    assert len(sent) == 6 and sent[::2] == sent[1::2]
    assert armed.effects == 3
    assert talk.caller.order_w == 3000
    talk.end()
    assert len(talk.wait(3)) == 3


@pytest.mark.parametrize(
    ("late_s", "expected"),
    [(0.0, [3000, 5000, 3000, 5000, 5000, 5000, 5000]), (2.5, [3000, 5000, 5000, 5000, 5000, 3000, 5000])],
)
def test_order_that_was_replaced_comes_once_more(talk: Talk, late_s: float, expected: list[int]) -> None:
    armed = talk.begin("old_write", late_s=late_s)
    sent = talk.wait(1)
    talk.caller.wish.set_w = 5000.0
    sent += talk.wait(5)
    assert [power_w(write) for write in sent] == expected
    assert armed.effects == 1


def test_limit_that_excludes_the_set_point_comes_beside_it(talk: Talk) -> None:
    armed = talk.begin("limit_too", limit_pct=0.0)
    talk.wait(3)
    assert talk.bench.decision is not None
    assert talk.bench.plant.inverter("inverter").ac_w == pytest.approx(0, abs=60)
    assert armed.effects >= 6
    talk.end()
    talk.wait(5)
    assert talk.caller.wish.limit_pct == 100.0
    assert talk.bench.plant.inverter("inverter").ac_w == pytest.approx(3000, abs=60)


@pytest.mark.parametrize(
    ("what", "written_w"),
    [("largest", 2**31 - 1), ("not_implemented", -(2**31)), ("kilowatts", 3), ("thousandfold", 3_000_000)],
)
def test_nonsense_is_written_and_known_to_be(talk: Talk, what: str, written_w: int) -> None:
    armed = talk.begin("nonsense", what=what)
    sent = talk.wait(2)
    assert {power_w(write) for write in sent} == {written_w}
    assert armed.effects == len(sent) == 3  # at 0, 1 and 2 s
    if what == "kilowatts":
        assert talk.caller.order_w == 3  # it is taken, so that it is what was asked
    talk.caller.wish.set_w = 4000.0  # what is wanted meanwhile holds after
    talk.wait(2)
    talk.end()
    talk.wait(3)
    assert (talk.caller.wish.set_w, talk.caller.order_w) == (4000.0, 4000)


def test_utility_that_wants_nothing_writes_no_nonsense(talk: Talk) -> None:
    talk.caller.wish.set_w = None
    armed = talk.begin("nonsense")
    assert talk.wait(3) == []
    assert armed.effects == 0


def test_utility_asks_all_and_then_what_it_asked_before(talk: Talk) -> None:
    armed = talk.begin("ask_all", power_w=9000.0)
    assert {power_w(write) for write in talk.wait(2)} == {9000}
    assert armed.effects == 3
    talk.end()
    talk.wait(2)
    assert talk.caller.order_w == 3000


def test_faults_of_one_wish_may_end_in_any_order(talk: Talk) -> None:
    _, end_first = begun(talk.bench, "ask_all", "utility", power_w=9000.0)
    talk.begin("nonsense", what="kilowatts")
    assert {power_w(write) for write in talk.wait(2)} == {9}
    end_first()
    assert {power_w(write) for write in talk.wait(2)} == {3}
    talk.end()
    assert {power_w(write) for write in talk.wait(2)} == {3000}


def test_heartbeats_alone_keep_the_order(talk: Talk) -> None:
    armed = talk.begin("beats_only")
    sent = talk.wait(10)
    assert {len(write.registers) for write in sent} == {2}
    assert talk.caller.order_w == 3000
    assert armed.effects == len(sent) == 11
    talk.end()
    assert {power_w(write) for write in talk.wait(2)} == {3000}


def test_site_is_stopped_and_started_again_and_again(talk: Talk) -> None:
    armed = talk.begin("flap", every_s=2.0)
    operations = [write.registers for write in talk.wait(7) if len(write.registers) == 1]
    assert operations == [[0], [1], [0], [1]]
    assert armed.effects == 4
    talk.wait(1)
    talk.end()
    talk.wait(2)
    assert not talk.caller.wish.cease


def test_verbs_without_frames_are_for_every_mode() -> None:
    framed = {"second_client", "stray_writes", "expires_offline", "flood_writes"}
    assert {verb.name for verb in utility.VERBS if verb.modes == ALL_MODES} == {
        verb.name for verb in utility.VERBS
    } - framed


# The utility, on its line


See = Callable[[Lockstep, Armed, set[int]], None]


def on_line(tmp_path: Path, do: str, length_s: float, see: See, **params: Any) -> Armed:
    """Run the demo's site with the fault standing for length_s, then heal it: all has to be as before within 3 s.

    see is called before the end, with all powers in W that the controller was asked for meanwhile.
    """
    found: list[Armed] = []
    asked: set[int] = set()

    async def main() -> None:
        heals: list[Heal] = []

        def tick(bench: Lockstep, now_s: float) -> None:
            if heals and bench.decision is not None and bench.decision.asked_w is not None:
                asked.add(bench.decision.asked_w)

        async with running(Lockstep(SITE, tmp_path, Plant(plant_spec(SITE), start_s=1000.0)), tick) as bench:
            bench.utility.wish.set_w = 2000.0
            bench.utility.changed()
            await bench.wait(4)
            armed, heal = begun(bench, do, "utility", **params)
            found.append(armed)
            heals.append(heal)
            await bench.wait(length_s)
            see(bench, armed, asked)
            heals.clear()
            heal()
            await bench.wait(3)
            assert bench.utility.order_w == 2000
            assert bench.plant.inverter("inverter").ac_w == pytest.approx(2000, abs=100)
            effects = armed.effects
            await bench.wait(2)
            assert armed.effects == effects

    run_virtual(main())
    return found[0]


def test_second_client_writes_over_the_first(tmp_path: Path) -> None:
    def see(bench: Lockstep, armed: Armed, asked: set[int]) -> None:
        assert asked == {2000, -1000}

    assert on_line(tmp_path, "second_client", 5.2, see, power_w=-1000.0).effects == 6


@pytest.mark.parametrize("where", ["outside", "read_only", "half"])
def test_stray_writes_are_refused_and_change_nothing(tmp_path: Path, where: str) -> None:
    def see(bench: Lockstep, armed: Armed, asked: set[int]) -> None:
        assert (armed.note, asked) == ("refused", {2000})
        assert bench.plant.inverter("inverter").ac_w == pytest.approx(2000, abs=100)

    assert on_line(tmp_path, "stray_writes", 4.5, see, where=where).effects >= 4


def test_order_runs_out_while_the_utility_is_offline(tmp_path: Path) -> None:
    def see(bench: Lockstep, armed: Armed, asked: set[int]) -> None:
        assert bench.utility.order_w is None
        assert {3500} <= asked <= {2000, 3500}
        assert armed.note == "3500 W for 8 s"

    assert on_line(tmp_path, "expires_offline", 9, see, power_w=3500.0, timer_s=8.0).effects == 1


def test_flood_of_writes_comes_at_its_pace(tmp_path: Path) -> None:
    def see(bench: Lockstep, armed: Armed, asked: set[int]) -> None:
        assert (bench.utility.order_w, asked) == (2000, {2000})

    assert on_line(tmp_path, "flood_writes", 5, see).effects == pytest.approx(500, rel=0.05)


def test_utility_without_a_line_cannot_write_an_order(talk: Talk) -> None:
    with pytest.raises(RuntimeError, match="the utility is not connected"):
        talk.begin("expires_offline")
