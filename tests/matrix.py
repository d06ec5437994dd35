"""Bad input, laid out: which datum of which reading, how it goes wrong, and in what state of the site.

A case lives a minute and a half on a plant of the bench in its model mode: the site comes into its state, the datum
goes wrong in what the controller hears, and is sound again. What is judged is the plant's truth. Nobody is blamed for
what he could not know: where a false number is one that only that device has, the truth says so, and the excess is
allowed by the amount of the falsehood and by no more, as the judge has it of the bench's own faults.
"""

import copyreg
from copy import deepcopy
from functools import cache
from pathlib import Path
from random import Random
from struct import Struct
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from controller.app import sitefile
from controller.model import AnyReading, Battery, Inputs, Inverter, Meter, Reading, Site
from hil.judge import Judge
from hil.plant.site import Plant
from hil.plant.truth import Truth, UnitTruth
from hil.run.extras import Extras
from hil.run.fit import plant_spec
from hil.run.model import Model

copyreg.pickle(Struct, lambda of: (Struct, (of.format,)))  # so that a site can be copied with its server
HOUSE = Path(__file__).parents[1]
SETTLED_S, WRONG_S, SOUND_S = 30.0, 40.0, 20.0
TICK_S, MOVING_S = 0.2, 0.1
STALE = "stale"
DAMAGES = ("missing", "stuck", "up", "down", "sign")
STATES = (
    *("resting", "discharging", "charging", "near_floor", "near_ceiling"),
    *("at_export_limit", "at_import_limit", "starting"),
)
PHASES = 3

# By how much a number jumps: enough to matter, not enough to be thrown away as out of any range.
DATA: dict[type[Reading], dict[str, int]] = {
    Meter: {
        "power_w": 4000,
        "voltage_mv": 30_000,
        "phase_w": 3000,
        "phase_mv": 30_000,
        "phase_ma": 15_000,
    },
    Inverter: {
        "power_w": 3000,
        "reactive_var": 3000,
        "state": 0,
        "remote": 0,
        "connected": 0,
        "charge_max_w": 3000,
        "discharge_max_w": 3000,
        "apparent_max_va": 3000,
        "isolation_kohm": 1950,
        "alarms": 0,
    },
    Battery: {
        "soc_bp": 1500,
        "soh_bp": 2500,
        "voltage_mv": 8000,
        "current_ma": 100_000,
        "charge_max_ma": 100_000,
        "discharge_max_ma": 100_000,
        "charge_allowed": 0,
        "discharge_allowed": 0,
        "contactor_closed": 0,
        "force_charge": 0,
        "full_charge_wanted": 0,
        "temperature_mc": 20_000,
        "temperature_min_mc": 20_000,
        "temperature_max_mc": 20_000,
        "cell_min_mv": 150,
        "cell_max_mv": 150,
        "isolation_kohm": 1950,
        "alarms": 0,
        "warnings": 0,
    },
    Inputs: {"closed": 0},
}
WORDS: dict[str, dict[str, object]] = {  # what is no number, when it jumps or says the contrary
    "state": {"up": "run", "down": "fault", "sign": "off"},
    "alarms": {"up": ("high temperature",), "down": (), "sign": ("high temperature",)},
    "warnings": {"up": ("high temperature",), "down": (), "sign": ("high temperature",)},
}
# The devices that may be hit, of each kind. In the yard: the large unit's, whose isolation is watched; one that gives
# way to reactive power, with two batteries side by side; and one that is on phase a alone.
HIT: dict[str, dict[type[Reading], tuple[str, ...]]] = {
    "home": {Meter: ("meter",), Inverter: ("inverter",), Battery: ("battery",)},
    "yard": {
        Meter: ("meter",),
        Inverter: ("inverter_n", "inverter_s", "inverter_g"),
        Battery: ("battery_n", "battery_s1", "battery_g"),
        Inputs: ("inputs",),
    },
}
KINDS = {device: kind for devices in HIT.values() for kind, names in devices.items() for device in names}
SEED = 20_261_121


class Case(NamedTuple):
    """One field of the matrix. datum: the field of the reading, "" = all of them, for the device falls silent."""

    site: str
    device: str
    datum: str
    damage: str
    state: str


def cases() -> list[Case]:
    """Return the whole matrix; which of several devices of a kind is hit is drawn."""
    found, random = [], Random(SEED)
    for site, devices in HIT.items():
        for state in STATES:
            for kind, names in devices.items():
                ways = [("", STALE), *((datum, damage) for datum in DATA[kind] for damage in DAMAGES)]
                found += [Case(site, random.choice(names), datum, damage, state) for datum, damage in ways]
    return found


# -- what is told ------------------------------------------------------------------------------------------------------


def damaged(reading: AnyReading, case: Case, stuck: AnyReading | None) -> AnyReading | None:
    """Return what the controller hears in place of a reading, None = nothing. stuck: the first one of the case."""
    if not case.datum:
        return None
    value = getattr(reading, case.datum)
    if case.damage == "stuck":
        return replace(reading, **{case.datum: getattr(stuck or reading, case.datum)})
    if case.damage == "missing":
        field = next(one for one in msgspec.structs.fields(type(reading)) if one.name == case.datum)
        return None if field.required else replace(reading, **{case.datum: field.default})
    if case.datum in WORDS:
        return replace(reading, **{case.datum: WORDS[case.datum][case.damage]})
    by = DATA[type(reading)][case.datum]
    return replace(reading, **{case.datum: _moved(value, case.damage, by)})


def _moved(value: Any, damage: str, by: int) -> Any:
    """Return a number, a statement, or several of them, moved up, down, or turned. What is not told stays so."""
    if value is None:
        return {"up": True, "down": False}.get(damage) if by == 0 else None
    if isinstance(value, tuple):
        return tuple(_moved(one, damage, by) for one in value)
    if isinstance(value, bool):
        return {"up": True, "down": False, "sign": not value}[damage]
    return {"up": value + by, "down": value - by, "sign": -value}[damage]


# -- the site in its state ---------------------------------------------------------------------------------------------


@cache
def the_site(name: str, state: str) -> Site:
    """Return the site. Near the floor nothing is kept for the customer above it, or it would never be reached."""
    site = sitefile.load(HOUSE / "profiles" / "sites" / f"{name}.toml")
    if state == "near_floor":
        return replace(site, energy=replace(site.energy, reserve_pct=site.energy.floor_pct))
    return site


class Setting(NamedTuple):
    """What a state is made of: the load, what is ordered, and the state of charge."""

    load_w: float
    order_w: float
    soc: float


def _setting(site: Site, state: str) -> Setting:
    power_w = sum(unit.discharge_max_w for unit in site.unit)
    off = site.energy.soc_error_pct + 0.2
    return {
        "resting": Setting(1000, 0, 0.6),
        "discharging": Setting(3000, 0.5 * power_w, 0.6),
        "charging": Setting(1000, -0.4 * power_w, 0.6),
        "near_floor": Setting(3000, 0.4 * power_w, (site.energy.floor_pct + off) / 100),
        "near_ceiling": Setting(1000, -0.4 * power_w, (site.energy.ceiling_pct - off) / 100),
        "at_export_limit": Setting(500, power_w, 0.6),
        "at_import_limit": Setting(9000, -0.95 * power_w, 0.4),
        "starting": Setting(3000, 0.5 * power_w, 0.6),
    }[state]


class Life:
    """One site on its plant, from t = 0."""

    def __init__(self, site: Site, state: str) -> None:
        setting = _setting(site, state)
        socs = {name: {"soc": setting.soc} for unit in site.unit for name in unit.batteries}
        plant = Plant(plant_spec(site, socs), moving_s=MOVING_S)
        plant.set("load_w", setting.load_w)
        plant.advance(1.0)
        self.site, self.plant = site, plant
        self.model = Model(site, plant)
        self.judge: Judge | None = Judge(site)
        wish = self.model.utility.wish
        wish.set_w = setting.order_w
        if site.poi.consumption.failsafe_w is not None:
            wish.consumption_beats, wish.consumption_w = True, 14_000.0
            wish.envelope_import_w, wish.envelope_export_w, wish.reactive_var = 18_000.0, 12_000.0, 1500.0
        self.extras = Extras(site, wish)
        self.wrong: AnyReading | None = None  # what was heard last of the device that is hit, and what is so
        self.sound: AnyReading | None = None
        self.forgives = True  # what nobody could know

    def run(self, for_s: float) -> None:
        """Live for so long, and have the truth judged."""
        self.model.run(self.model.clock.now_s + for_s, self._tick, TICK_S)

    def hit(self, case: Case) -> None:
        """Let the datum go wrong from now on."""
        board, first = self.model.board, list[AnyReading]()
        heard = board.heard

        def hears(reading: AnyReading) -> None:
            if reading.device != case.device:
                heard(reading)
                return
            first.append(reading)
            told = damaged(reading, case, first[0])
            self.wrong, self.sound = told, reading
            if told is not None:
                heard(told)

        board.heard = hears  # type: ignore[method-assign]  # a lie on the way, as no driver tells it
        if unheard(case):
            self.plant.cut = {case.device}
        if not case.datum:
            self.model.silent.add(case.device)

    def heal(self) -> None:
        """Let it be sound again."""
        del self.model.board.heard
        self.plant.cut, self.wrong, self.sound = set(), None, None
        self.model.silent.clear()

    def verdicts(self) -> list[str]:
        """Return what did not hold."""
        assert self.judge is not None
        return [f"{one.invariant}: {one.says}: {one.where}" for one in self.judge.verdicts() if not one.held]

    def _tick(self, now_s: float) -> None:
        model, plant = self.model, self.plant
        self.extras.tick(model.board, now_s, model.clock.now_ms(), silent=False)
        plant.asked = replace(self.extras.asked(now_s), reactive_var=model.utility.reactive_var)
        plant.order_w = model.utility.order_w
        truth = plant.truth()
        if self.forgives and self.wrong is not None and self.sound is not None:
            truth = admitted(self.site, truth, self.wrong, self.sound)
        if self.judge is not None:
            self.judge.sample(truth)


def unheard(case: Case) -> bool:
    """Tell whether the damage leaves nothing of the device's readings."""
    needed = {field.name for field in msgspec.structs.fields(KINDS[case.device]) if field.required}
    return not case.datum or (case.damage == "missing" and case.datum in needed)


@cache
def settled(name: str, state: str) -> Life:
    """Return a site in its state, to be copied; one that starts has not lived yet."""
    life = Life(the_site(name, state), state)
    if state != "starting":
        life.run(SETTLED_S)
        assert not life.verdicts(), (name, state, life.verdicts())
    return life


def copied(name: str, state: str) -> Life:
    """Return a site in its state with a judge of its own: what a judge remembers cannot be copied."""
    begun = settled(name, state)
    begun.judge = None
    life = deepcopy(begun)
    life.judge = Judge(life.site)
    return life


def lived(case: Case) -> list[str]:
    """Return what was wrong with the truth in a case, nothing where all held."""
    life = copied(case.site, case.state)
    life.hit(case)
    life.run(WRONG_S)
    life.heal()
    life.run(SOUND_S)
    return life.verdicts()


# -- what nobody could know --------------------------------------------------------------------------------------------


def admitted(site: Site, truth: Truth, wrong: AnyReading, sound: AnyReading) -> Truth:
    """Return the truth with the falsehood beside it, where only the device that tells it can know better."""
    if isinstance(wrong, Meter) and isinstance(sound, Meter):
        return _by_meter(site, truth, wrong, sound)
    if isinstance(wrong, Inverter) and isinstance(sound, Inverter):
        if wrong.power_w is None or sound.power_w is None:
            return truth
        # The load is the batteries' power less the meter's: too much of the one is too little of the other.
        off_w = float(sound.power_w - wrong.power_w)
        return _false(truth, off_w, (off_w / PHASES,) * PHASES)
    if isinstance(wrong, Battery) and isinstance(sound, Battery):
        units = zip(site.unit, truth.units, strict=True)
        told = [_by_battery(one, wrong, sound) if wrong.device in unit.batteries else one for unit, one in units]
        return replace(truth, units=tuple(told))
    return truth


def _by_meter(site: Site, truth: Truth, wrong: Meter, sound: Meter) -> Truth:
    phases_w = [0.0] * PHASES
    if wrong.phase_w is not None and sound.phase_w is not None:
        phases_w = [float(one - other) for one, other in zip(wrong.phase_w, sound.phase_w, strict=True)]
    if wrong.phase_mv is not None and sound.phase_mv is not None and site.poi.breaker_max_a is not None:
        volts = [(one - other) / 1000 for one, other in zip(wrong.phase_mv, sound.phase_mv, strict=True)]
        phases_w = [w + site.poi.breaker_max_a * v for w, v in zip(phases_w, volts, strict=True)]
    return _false(truth, float(wrong.power_w - sound.power_w), (phases_w[0], phases_w[1], phases_w[2]))


def _false(truth: Truth, off_w: float, phases_w: tuple[float, ...]) -> Truth:
    a, b, c = (w + off for w, off in zip(truth.phase_false_w, phases_w, strict=True))
    return replace(truth, meter_false_w=truth.meter_false_w + off_w, phase_false_w=(a, b, c))


def _by_battery(unit: UnitTruth, wrong: Battery, sound: Battery) -> UnitTruth:
    """Return a unit whose battery told another state of charge, other wants, or that it lets through more."""
    changes: dict[str, float] = {"force_charge": wrong.force_charge}
    if wrong.soc_bp is not None and sound.soc_bp is not None and 0 <= wrong.soc_bp <= 10_000:
        changes["soc_told"] = unit.soc_told + (wrong.soc_bp - sound.soc_bp) / 10_000
    for way in ("charge_max", "discharge_max"):
        told_ma, true_ma = getattr(wrong, f"{way}_ma"), getattr(sound, f"{way}_ma")
        if None not in (told_ma, true_ma, wrong.voltage_mv, sound.voltage_mv):
            assert wrong.voltage_mv is not None and sound.voltage_mv is not None
            acts_ma = told_ma * wrong.voltage_mv / max(1, sound.voltage_mv)
            changes[f"{way}_a"] = getattr(unit, f"{way}_a") + max(0.0, acts_ma - true_ma) / 1000
    return replace(unit, **changes)
