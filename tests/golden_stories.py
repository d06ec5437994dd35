"""The stories of the golden journals: one for each fault, one for each rule and program, on the words level.

`python -m tests.golden_stories --update [NAME...]` plays them anew, rewrites tests/golden/journal and plots/
and prints what changed, second by second. A changed file needs its reason in the commit.

To add one: an entry here, named fault_NAME or rule_NAME, and an update.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from controller.model import (
    Commitment,
    Consumption,
    Default,
    Derating,
    Device,
    Energy,
    Envelope,
    FaultName,
    Input,
    Ramp,
    Site,
    Storm,
    Utility,
)
from tests.golden_plot import draw
from tests.golden_run import Row, Story, changes, play, tell
from tests.words import a_site

GOLDEN = Path(__file__).parent / "golden"
END_S = 1000  # as an end: it lasts as long as the story
DAY_MS = 86_400_000


def silent(device: str, start_s: int, end_s: int = END_S) -> Row:
    """A device is not heard."""
    return Row(what="silent", start_s=start_s, end_s=end_s, device=device)


def told(device: str, start_s: int, end_s: int, **values: object) -> Row:
    """A device tells something else than a sound one."""
    return Row(what="told", start_s=start_s, end_s=end_s, device=device, values=values)


def notice(fault: str, device: str, start_s: int, end_s: int, detail: str = "") -> Row:
    """A link, the utility's side or the journal reports a fault."""
    return Row(what="notice", start_s=start_s, end_s=end_s, device=device, values={"fault": fault, "detail": detail})


def asks(power_w: int, start_s: int = 0, end_s: int = END_S, domain: str = "battery") -> Row:
    """The utility asks a power."""
    return order(start_s, end_s, low_w=power_w, high_w=power_w, domain=domain)


def order(start_s: int, end_s: int, **values: object) -> Row:
    """The utility orders something."""
    return Row(what="order", start_s=start_s, end_s=end_s, values=values)


def load(power_w: int, start_s: int, end_s: int = END_S) -> Row:
    """The load behind the meter takes another power."""
    return Row(what="load", start_s=start_s, end_s=end_s, values={"power_w": power_w})


def stuck(device: str, power_w: int, start_s: int, end_s: int) -> Row:
    """An inverter does not follow."""
    return Row(what="stuck", start_s=start_s, end_s=end_s, device=device, values={"power_w": power_w})


def opened(start_s: int, end_s: int = END_S, channel: int = 0) -> Row:
    """A contact is open."""
    return Row(what="opened", start_s=start_s, end_s=end_s, values={"channel": channel})


def away(start_s: int, end_s: int = END_S) -> Row:
    """The utility is silent."""
    return Row(what="away", start_s=start_s, end_s=end_s)


def beats(start_s: int, end_s: int = END_S) -> Row:
    """Whoever limits consumption is heard."""
    return Row(what="beat", start_s=start_s, end_s=end_s)


def wall(jump_ms: int, start_s: int, end_s: int = END_S) -> Row:
    """The wall clock is off."""
    return Row(what="wall", start_s=start_s, end_s=end_s, values={"jump_ms": jump_ms})


def program(name: str, start_s: int, end_s: int) -> Row:
    """A calendar window is open."""
    return Row(what="program", start_s=start_s, end_s=end_s, values={"program": name})


def a_story(tells: str, *rows: Row, site: Site | None = None, **changes: Any) -> Story:
    """Return a story at one unit of 10 kW and 25 kWh, 60 % full, with 3 kW of load."""
    return Story(tells=tells, site=site or a_site(), rows=rows, **changes)


def with_unit(site: Site | None = None, **changes: object) -> Site:
    """Return a site whose units are all changed."""
    site = site or a_site()
    units = tuple(msgspec.structs.replace(unit, **changes) for unit in site.unit)
    return msgspec.structs.replace(site, unit=units)


def with_poi(**changes: object) -> Site:
    """Return a site with another point of interconnection."""
    site = a_site()
    return msgspec.structs.replace(site, poi=msgspec.structs.replace(site.poi, **changes))


def with_input(means: str, limit_w: int | None = None, **changes: Any) -> Site:
    """Return a site with one contact, which acts while it is open."""
    device = Device(name="inputs", profile="inputs/modbus_inputs", url="tcp://127.0.0.1:3", stale_after_ms=3000)
    contact = Input(name="contact", device="inputs", channel=0, means=means, limit_w=limit_w)  # type: ignore[arg-type]
    site = a_site(**changes)
    return msgspec.structs.replace(site, device=(*site.device, device), input=(contact,))


def two_batteries() -> Site:
    """Return a site with a second battery on the DC side of its inverter."""
    site = a_site()
    second = msgspec.structs.replace(site.device[-1], name="battery2")
    return with_unit(msgspec.structs.replace(site, device=(*site.device, second)), battery=("battery1", "battery2"))


def small(**changes: Any) -> Site:
    """Return a site whose unit holds no more than 500 Wh, so that its state of charge moves in seconds."""
    return with_unit(a_site(**changes), capacity_wh=500)


def keeping(**changes: object) -> Energy:
    """Return how the energy is cut up, with changes."""
    return msgspec.structs.replace(a_site().energy, **changes)


def noticed(fault: str, device: str, tells: str, *, length_s: int = 40, detail: str = "") -> Story:
    """Return the story of a fault that somebody else reports."""
    return a_story(tells, asks(5000), notice(fault, device, 10, 15, detail), length_s=length_s)


COLD = Derating(discharge_by_temperature_c=((-10, 0), (10, 100)), charge_by_temperature_c=((0, 0), (10, 100)))
LOW_CELL = Derating(discharge_by_cell_min_mv=((3000, 0), (3200, 100)), charge_by_cell_max_mv=((3400, 100), (3600, 0)))
NEARLY_FULL = Derating(charge_by_soc_pct=((80, 100), (90, 20)), discharge_by_soc_pct=((10, 0), (20, 100)))
DEFAULT_ENVELOPE = Envelope(import_default_w=2000, export_default_w=500)
WIDE = {"kind": "envelope", "domain": "poi", "low_w": -10_000, "high_w": 6000}
LIMITED = {"kind": "consumption", "domain": "poi", "low_w": -9000}
CONSUMPTION = Consumption(failsafe_w=4200, heartbeat_s=5)

_FAULTS: dict[str, Story] = {
    "meter_stale": a_story(
        "the meter falls silent under 5 kW of discharge: what the largest generation leaves is all that may go on",
        asks(5000),
        silent("meter", 10, 20),
    ),
    "meter_implausible": a_story(
        "the meter shows 60 kW of import, which this site cannot draw: nothing moves after it",
        asks(5000),
        told("meter", 10, 14, power_w=-60_000),
    ),
    "meter_not_following": a_story(
        "the meter stands still while the batteries move twice: it is not believed for a minute",
        asks(1000, 0, 5),
        asks(4000, 5, 12),
        asks(1000, 12, 19),
        asks(4000, 19),
        told("meter", 3, 22, power_w=-2000),
        length_s=90,
    ),
    "inverter_stale": a_story(
        "the inverter falls silent: nothing is written to it, its own timer takes it to 0 W",
        asks(5000),
        silent("inverter1", 10, 25),
    ),
    "battery_stale": a_story("the battery falls silent", asks(5000), silent("battery1", 10, 20)),
    "inverter_fault": a_story(
        "the inverter reports a fault", asks(5000), told("inverter1", 10, 15, state="fault", alarms=("over-heated",))
    ),
    "inverter_local": a_story("somebody takes the inverter over", asks(5000), told("inverter1", 10, 15, remote=False)),
    "inverter_silent_power": a_story(
        "the inverter no longer tells its power", asks(5000), told("inverter1", 10, 15, power_w=None)
    ),
    "inverter_not_following": a_story(
        "the inverter stays at 2 kW where 5 kW are commanded", asks(5000), stuck("inverter1", 2000, 10, 20)
    ),
    "inverter_unruly": a_story(
        "the inverter gives 10 kW where 5 kW are commanded and breaks the export limit: it is left to its own timer",
        asks(5000),
        stuck("inverter1", 10_000, 10, 19),
        length_s=90,
    ),
    "inverter_alarm": a_story(
        "an alarm that does not stop the inverter: less power is followed, more is not",
        asks(4000, 0, 12),
        asks(6000, 12, 18),
        asks(2000, 18, 22),
        asks(6000, 22),
        told("inverter1", 10, 28, alarms=("fan",)),
    ),
    "inverter_disconnected": a_story(
        "one of two inverters loses the grid: the other one does its part",
        asks(6000),
        told("inverter1", 10, 20, connected=False),
        stuck("inverter1", 0, 10, 20),
        site=a_site(2),
    ),
    "start_failed": a_story(
        "the inverter goes down and does not come up three times in a row",
        asks(5000),
        told("inverter1", 10, 35, state="starting"),
        site=with_unit(start_s=5),
    ),
    "isolation_low": a_story(
        "the resistance against earth falls below what is admitted",
        asks(5000),
        told("battery1", 10, 15, isolation_kohm=49),
        site=with_unit(isolation_min_kohm=50),
    ),
    "isolation_unknown": a_story(
        "nobody tells the resistance against earth that the site file asks for",
        asks(5000),
        told("battery1", 10, 15, isolation_kohm=None),
        site=with_unit(isolation_min_kohm=50),
    ),
    "emergency_stop": a_story(
        "somebody presses the emergency stop and releases it again",
        asks(5000),
        opened(10, 15),
        site=with_input("emergency_stop"),
    ),
    "emergency_stop_lost": a_story(
        "the contact of the emergency stop is not heard of",
        asks(5000),
        silent("inputs", 10, 15),
        site=with_input("emergency_stop"),
    ),
    "input_lost": a_story(
        "the contact that limits export is not heard of: it counts as active",
        asks(5000),
        silent("inputs", 10, 15),
        site=with_input("export_limit", 1000),
    ),
    "battery_alarm": a_story(
        "the battery raises an alarm", asks(5000), told("battery1", 10, 15, alarms=("over-voltage",))
    ),
    "battery_contactor_open": a_story(
        "the battery opens its contactor", asks(5000), told("battery1", 10, 15, contactor_closed=False)
    ),
    "battery_apart": a_story(
        "one of two batteries behind an inverter opens its contactor: the other one gives what it can",
        asks(8000),
        told("battery1", 10, 15, contactor_closed=False, alarms=("over-current",)),
        site=two_batteries(),
    ),
    "battery_implausible": a_story(
        "the battery tells 200 % of charge", asks(5000), told("battery1", 10, 15, soc_bp=20_000)
    ),
    "soc_unknown": a_story(
        "the battery no longer tells its state of charge", asks(5000), told("battery1", 10, 15, soc_bp=None)
    ),
    "soc_astray": a_story(
        "the battery tells 60 % for as long as it gives power",
        asks(5000, 0, 24),
        told("battery1", 0, 24, soc_bp=6000),
        site=with_unit(capacity_wh=1000),
        length_s=90,
    ),
    "battery_warning": a_story(
        "the battery warns at the start, and again while it runs: it does not start, and it goes on",
        asks(5000),
        told("battery1", 0, 8, warnings=("hot",)),
        told("battery1", 20, 28, warnings=("hot",)),
    ),
    "cells_apart": a_story(
        "the cells are 600 mV apart",
        asks(8000),
        told("battery1", 10, 22, cell_min_mv=3000, cell_max_mv=3600),
        length_s=90,
    ),
    "link_down": noticed("link_down", "inverter1", "the connection to the inverter is gone for a moment"),
    "wrong_device": noticed(
        "wrong_device", "inverter1", "another device answers in place of the inverter", detail="serial 2"
    ),
    "map_moved": noticed("map_moved", "meter", "the meter's registers are somewhere else", length_s=90),
    "bad_reply": noticed("bad_reply", "meter", "a reply did not fit its request", length_s=90),
    "bad_frame": noticed("bad_frame", "battery1", "a frame was too short", length_s=90),
    "frame_flood": noticed("frame_flood", "battery1", "a frame comes too often"),
    "contradiction": noticed("contradiction", "battery1", "two values of the battery exclude each other"),
    "command_refused": a_story(
        "the battery's reading is older than the gate admits: nothing is written, the inverter's own timer runs",
        asks(5000),
        told("battery1", 10, 25, sampled_ago_ms=4000),
    ),
    "not_commissioned": a_story(
        "without a record that fits all is decided and nothing written",
        asks(5000),
        notice("not_commissioned", "site", 0, 15),
    ),
    "write_failed": noticed("write_failed", "inverter1", "a command was not taken"),
    "utility_silent": a_story(
        "the utility falls silent: the default order holds",
        asks(5000, 0, 10),
        away(10, 20),
        asks(5000, 20),
        site=a_site(utility=Utility(default=Default(power_w=1500))),
    ),
    "utility_bad_write": noticed("utility_bad_write", "utility", "the utility writes what cannot be", length_s=90),
    "envelope_lapsed": a_story(
        "the operating envelope lapses: the default limits hold",
        asks(5000),
        order(0, 10, **WIDE),
        order(20, END_S, **WIDE),
        site=with_poi(envelope=DEFAULT_ENVELOPE),
    ),
    "consumption_failsafe": a_story(
        "whoever limits consumption is not heard for longer than agreed, until he is heard with a new limit",
        asks(-8000),
        beats(0, 10),
        beats(30),
        order(0, 30, **LIMITED),
        order(30, END_S, **LIMITED),
        site=with_poi(consumption=CONSUMPTION),
    ),
    "journal_full": noticed("journal_full", "journal", "the disk is full", detail="No space left on device"),
    "clock_jumped": a_story(
        "the wall clock jumps by a day",
        asks(5000),
        wall(DAY_MS, 10),
        notice("clock_jumped", "controller", 10, 11, "by +86400.0 s"),
        length_s=90,
    ),
}

_RULES: dict[str, Story] = {
    "released": a_story(
        "one of two inverters gives 10 kW for 4.5 kW and breaks the export limit: the other one makes up for it",
        asks(9000, 0, 12),
        asks(-5000, 12, 30),
        asks(9000, 30),
        stuck("inverter1", 10_000, 10, 22),
        site=a_site(2, poi=msgspec.structs.replace(a_site(2).poi, export_max_w=6_500)),
        length_s=100,
    ),
    "fault_stop": a_story("an alarm comes and goes", asks(5000), told("battery1", 10, 12, alarms=("over-current",))),
    "ramp_down": a_story(
        "a battery whose cells drift apart is let go gently while it charges",
        asks(-8000),
        told("battery1", 10, 12, cell_min_mv=3000, cell_max_mv=3501),
        length_s=85,
    ),
    "hold_power": a_story(
        "an alarm lets a charging unit go on but not further",
        asks(-3000, 0, 12),
        asks(-6000, 12),
        told("inverter1", 10, 18, alarms=("fan",)),
    ),
    "blocked": a_story(
        "a contact forbids discharging", asks(5000), opened(10, 20), site=with_input("no_discharge"), length_s=30
    ),
    "not_running": a_story("the inverter starts anew", asks(5000), told("inverter1", 10, 20, state="starting")),
    "nameplate": a_story("the inverter is set to 3 kW", asks(5000), told("inverter1", 10, 20, discharge_max_w=3000)),
    "bms_current": a_story("the battery allows 50 A", asks(5000), told("battery1", 10, 20, discharge_max_ma=50_000)),
    "cell_voltage": a_story(
        "the lowest cell sinks to 3.05 V and rebounds: what was left is held until it is fully released",
        asks(5000),
        told("battery1", 10, 14, cell_min_mv=3050, cell_max_mv=3060),
        told("battery1", 14, 20, cell_min_mv=3150, cell_max_mv=3160),
        site=with_unit(derating=LOW_CELL),
        length_s=30,
    ),
    "temperature": a_story(
        "the battery is at 2 degC",
        asks(-5000),
        told("battery1", 10, 20, temperature_mc=2000),
        site=with_unit(derating=COLD),
        length_s=30,
    ),
    "power_by_soc": a_story(
        "the battery is nearly full",
        asks(-5000, 0, 20),
        asks(5000, 20),
        site=with_unit(derating=NEARLY_FULL),
        soc_pct=88,
        length_s=30,
    ),
    "pq_circle": a_story(
        "8 kvar leave 6 kW of 10 kVA",
        asks(8000),
        told("inverter1", 0, 10, reactive_var=0),
        told("inverter1", 10, 20, reactive_var=8000),
        told("inverter1", 20, 30, reactive_var=0),
        site=with_unit(apparent_max_va=10_000, priority="reactive"),
        length_s=30,
    ),
    "force_charge": a_story(
        "the battery asks to be charged by force", asks(5000), told("battery1", 10, 20, force_charge=True), length_s=30
    ),
    "energy_barrier": a_story(
        "the floor is reached gently, and charging is not stopped by it",
        asks(5000, 0, 40),
        asks(-3000, 40),
        site=a_site(energy=keeping(reserve_pct=0)),
        soc_pct=12.5,
        length_s=60,
    ),
    "recovery": a_story(
        "a unit below its floor is charged back slowly, and as fast as is asked",
        asks(0, 0, 10),
        asks(-5000, 10, 25),
        asks(0, 25),
        site=small(),
        soc_pct=10,
    ),
    "full_charge": a_story(
        "the battery asks for a full charge and gets it a day later",
        asks(0),
        told("battery1", 5, 40, full_charge_wanted=True),
        wall(DAY_MS, 10),
        site=small(),
        soc_pct=97,
        length_s=60,
    ),
    "island_reserve": a_story(
        "in an island the reserve is given up down to what the island keeps",
        asks(5000),
        opened(10, 40),
        site=with_input("islanded", energy=keeping(island_pct=20)),
        soc_pct=22.3,
        length_s=50,
    ),
    "customer_reserve": a_story(
        "the customer's reserve is reached gently, and charging is not stopped by it",
        asks(5000, 0, 40),
        asks(-3000, 40),
        soc_pct=32.5,
        length_s=60,
    ),
    "storm_reserve": a_story(
        "ahead of a storm nothing is given, and the battery is charged along a line; when it is over it gives again",
        asks(5000),
        opened(10, 50),
        site=with_input("storm", storm=Storm(reserve_pct=80, recharge_s=60)),
        soc_pct=45,
        length_s=60,
    ),
    "phase_limit": a_story(
        "the load sinks: what a phase may feed is reached",
        asks(5000),
        load(0, 10, 20),
        site=with_poi(phase_export_max_w=1000),
        phases=True,
        length_s=30,
    ),
    "poi_limit": a_story("the load sinks: the export limit is reached", asks(8000), load(500, 10, 20), length_s=30),
    "envelope": a_story(
        "a narrower envelope holds at once and a wider one comes with its ramp",
        asks(5000),
        order(0, 10, **WIDE),
        order(10, 20, **(WIDE | {"high_w": 1000})),
        order(20, END_S, **WIDE),
        site=with_poi(envelope=Envelope(import_default_w=10_000, export_default_w=6000, ramp_w_per_s=500)),
    ),
    "input_limit": a_story(
        "a contact limits what is exported",
        asks(5000),
        opened(10, 20),
        site=with_input("export_limit", 1000),
        length_s=30,
    ),
    "consumption_limit": a_story(
        "what may be drawn to charge is limited, and no longer",
        asks(-8000),
        beats(0),
        order(0, 10, **LIMITED),
        order(10, 20, **(LIMITED | {"low_w": -2000})),
        order(20, 30, **LIMITED),
        site=with_poi(consumption=CONSUMPTION),
        length_s=30,
    ),
    "follow": a_story("a set point comes, changes and lapses", asks(2000, 5, 10), asks(-4000, 10, 20), length_s=25),
    "default": a_story(
        "the default order holds while the utility is silent",
        away(5, 15),
        site=a_site(utility=Utility(default=Default(power_w=1500))),
        length_s=20,
    ),
    "hold": a_story("the batteries rest between two set points", asks(2000, 0, 5), asks(2000, 10, 20), length_s=20),
    "self_consumption": a_story(
        "the load is covered while the calendar says so",
        program("self_consumption", 5, 25),
        load(6000, 10, 15),
        load(-4000, 15, END_S),
        length_s=30,
    ),
    "utility_limit": a_story(
        "the utility limits the batteries below what it asks",
        asks(5000),
        order(10, 20, kind="limit", low_w=-10_000, high_w=1000),
        length_s=30,
    ),
    "utility_cease": a_story("the utility orders to cease", asks(5000), order(10, 20, kind="cease"), length_s=30),
    "ramp": a_story(
        "the target goes to another one no faster than the ramp admits",
        asks(5000, 0, 15),
        asks(-2000, 15),
        site=a_site(ramp=Ramp(rate_w_per_s=1000)),
        length_s=30,
    ),
    "min_power": a_story(
        "less than the least power of the unit is asked: it rests",
        asks(5000, 0, 10),
        asks(999, 10, 20),
        asks(1000, 20),
        site=with_unit(min_power_w=1000),
        length_s=30,
    ),
    "commitment": a_story(
        "of three units as few run as the power needs",
        asks(24_000, 0, 10),
        asks(4000, 10, 30),
        asks(24_000, 30),
        load(10_000, 0),
        site=a_site(3, commitment=Commitment(rest_units=True, dwell_s=5)),
    ),
}

STORIES: dict[str, Story] = {
    **{f"fault_{name}": story for name, story in _FAULTS.items()},
    **{f"rule_{name}": story for name, story in _RULES.items()},
}


def text_at(name: str) -> Path:
    """Return where a story's journal is kept."""
    return GOLDEN / "journal" / f"{name}.txt"


def plot_at(name: str) -> Path:
    """Return where a fault's plot is kept."""
    return GOLDEN / "plots" / f"{name}.svg"


def _fault(name: str) -> FaultName:
    return name.removeprefix("fault_")  # type: ignore[return-value]


def update(names: Sequence[str]) -> list[str]:
    """Rewrite the journals and plots of these stories; return what changed."""
    found = []
    for name in names:
        story = STORIES[name]
        ticks = play(story)
        was = text_at(name).read_text("utf-8") if text_at(name).exists() else ""
        now = tell(story, ticks)
        found += changes(name, was, now) if was else [f"{name}: new"]
        text_at(name).write_text(now, "utf-8")
        if name.startswith("fault_"):
            plot_at(name).write_text(draw(_fault(name), story, ticks), "utf-8")
    return found


def main() -> None:
    """Rewrite golden files from the command line."""
    parser = argparse.ArgumentParser(description="Play the golden stories.")
    parser.add_argument("--update", action="store_true", required=True, help="rewrite the golden files")
    parser.add_argument("name", nargs="*", help="stories; left out = all")
    for line in update(parser.parse_args().name or list(STORIES)):
        print(line)


if __name__ == "__main__":
    main()
