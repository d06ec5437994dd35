"""Stories for the judge in which network, contacts or cells narrow what a site may do: one holds, one breaks.

Each invariant has a site of its own kind. The reaction of 2.5 s, the meter's 2 s and a poll of 1 s are the judge's.
"""

from typing import Any

from msgspec.structs import replace

from controller.model import Consumption, Envelope, Input, Site
from hil.plant.truth import Asked, Contacts
from tests.truths import Stretch, stretch
from tests.words import a_site

Side = tuple[list[Stretch], list[Stretch]]
OUT: dict[str, Any] = {"ac_w": 6000.0}
IN: dict[str, Any] = {"ac_w": -6000.0}
CELLS: dict[str, Any] = {"cell_low_v": 2.5, "cell_high_v": 3.65}
CLOSED, OPEN = ((Contacts(device="inputs", closed=(closed,)),) for closed in (True, False))
CUT = frozenset(("inputs",))


def _poi(**changes: Any) -> Site:
    site = a_site()
    return replace(site, poi=replace(site.poi, **changes))


def _unit(**changes: Any) -> Site:
    site = a_site()
    return replace(site, unit=(replace(site.unit[0], **changes),))


def _contact(means: Any, limit_w: int | None = None) -> Site:
    return a_site(input=(Input(name="contact", device="inputs", channel=0, means=means, limit_w=limit_w),))


def asked(seconds: float, *units: dict[str, Any], **changes: Any) -> Stretch:
    """Return a stretch under an order of 6 kW."""
    return stretch(seconds, *units, order_w=6000.0, **changes)


def envelope(**limits: float) -> Asked:
    """Return an envelope in force."""
    return Asked(**{f"envelope_{name}": limit for name, limit in limits.items()})


SITES: dict[str, Site] = {
    "phase_export": _poi(phase_export_max_w=2000),
    "phase_import": _poi(phase_import_max_w=4000),
    "breaker": _poi(breaker_max_a=20),
    "envelope_export": _poi(envelope=Envelope(import_default_w=5000, export_default_w=3000)),
    "envelope_import": _contact("import_limit", 2000),
    "consumption": _poi(consumption=Consumption(failsafe_w=1000, heartbeat_s=120)),
    "emergency_stop": _contact("emergency_stop"),
    "no_charge": _contact("no_charge"),
    "no_discharge": _contact("no_discharge"),
    "storm_reserve": _contact("storm"),
    "isolation": _unit(isolation_min_kohm=100),
    "min_power": _unit(min_power_w=500),
}

SIDES: dict[str, list[Side]] = {
    "phase_export": [
        ([asked(2.1, OUT, phase_w=(2500.0, 0.0, 0.0))], [asked(2.2, OUT, phase_w=(2500.0, 0.0, 0.0))]),
        ([asked(9, OUT, phase_w=(0.0, 2000.0, 0.0))], [asked(9, OUT, phase_w=(0.0, 2001.0, 0.0))]),
        (
            [asked(9, OUT, phase_w=(2400.0, 0.0, 0.0), phase_false_w=(-400.0, 0.0, 0.0))],
            [asked(9, OUT, phase_w=(2400.0, 0.0, 0.0), phase_false_w=(400.0, 0.0, 0.0))],
        ),
    ],
    "phase_import": [
        ([asked(9, IN, phase_w=(0.0, 0.0, -4000.0))], [asked(9, IN, phase_w=(0.0, 0.0, -4001.0))]),
        # the batteries are at their rating already: nobody can take off more
        (
            [asked(9, {"ac_w": 10_000.0}, phase_w=(-9000.0, 0.0, 0.0))],
            [asked(9, {"ac_w": 9000.0}, phase_w=(-9000.0, 0.0, 0.0))],
        ),
    ],
    "breaker": [
        (
            [asked(9, OUT, phase_w=(4600.0, 0.0, 0.0), phase_a=(20.2, 0.0, 0.0))],
            [asked(9, OUT, phase_w=(4600.0, 0.0, 0.0), phase_a=(20.3, 0.0, 0.0))],
        ),
    ],
    "envelope_export": [
        ([asked(9, OUT, poi_w=3000.0)], [asked(9, OUT, poi_w=3001.0)]),
        ([asked(2.6, OUT, poi_w=4000.0)], [asked(2.7, OUT, poi_w=4000.0)]),
        (
            [asked(9, OUT, poi_w=5000.0, asked=envelope(export_w=5000.0))],
            [asked(9, OUT, poi_w=2000.0, asked=envelope(export_w=1999.0))],
        ),
    ],
    "envelope_import": [
        ([asked(9, IN, poi_w=-2001.0, contacts=CLOSED)], [asked(9, IN, poi_w=-2001.0, contacts=OPEN)]),
        ([asked(9, IN, poi_w=-2000.0, contacts=OPEN)], [asked(2.7, IN, poi_w=-3000.0, contacts=OPEN)]),
        ([asked(8.1, IN, contacts=CLOSED, cut=CUT)], [asked(8.3, IN, contacts=CLOSED, cut=CUT)]),  # lost = it acts
    ],
    "consumption": [
        ([asked(60, {"ac_w": -1500.0})], [asked(60, {"ac_w": -1501.0})]),  # nobody was heard: the failsafe holds
        ([asked(2.6, IN)], [asked(2.7, IN)]),
        (
            [asked(60, {"ac_w": -4500.0}, asked=Asked(consumption_w=4000.0, consumption_age_s=120.0))],
            [asked(60, {"ac_w": -4500.0}, asked=Asked(consumption_w=4000.0, consumption_age_s=121.0))],
        ),
        ([asked(60, IN, asked=Asked(consumption_age_s=1.0))], [asked(60, IN)]),
        ([asked(60, {"ac_w": -4500.0}, pv_w=4000.0)], [asked(60, {"ac_w": -4501.0}, pv_w=4000.0)]),  # 3 kW of surplus
    ],
    "emergency_stop": [
        ([asked(3.6, OUT, contacts=OPEN)], [asked(3.7, OUT, contacts=OPEN)]),
        ([asked(60, {"ac_w": -200.0}, contacts=OPEN)], [asked(60, {"ac_w": -201.0}, contacts=OPEN)]),
        ([asked(60, OUT, contacts=CLOSED)], [asked(60, OUT, contacts=CLOSED, cut=CUT)]),
    ],
    "no_charge": [([asked(60, OUT, contacts=OPEN)], [asked(60, IN, contacts=OPEN)])],
    "no_discharge": [
        ([asked(60, IN, contacts=OPEN)], [asked(60, OUT, contacts=OPEN)]),
        ([asked(60, {"ac_w": 100.0}, contacts=OPEN)], [asked(60, {"ac_w": 101.0}, contacts=OPEN)]),
    ],
    # 6 kW for 19.1 s are the 25 Wh that energy may be off and what the rating gives in 2.5 s
    "storm_reserve": [
        (
            [asked(19.1, OUT | {"soc": 0.49}, asked=Asked(reserve_pct=50.0), contacts=CLOSED)],
            [asked(19.4, OUT | {"soc": 0.49}, asked=Asked(reserve_pct=50.0), contacts=CLOSED)],
        ),
        ([asked(60, OUT | {"soc": 0.9}, contacts=CLOSED)], [asked(60, OUT | {"soc": 0.9}, contacts=OPEN)]),
        ([asked(60, IN | {"soc": 0.5}, contacts=OPEN)], [asked(60, OUT | {"soc": 0.5}, contacts=OPEN)]),
    ],
    "isolation": [
        ([asked(60, OUT | {"isolation_kohm": 100.0})], [asked(60, OUT | {"isolation_kohm": 99.9})]),
        ([asked(30.1, OUT | {"isolation_kohm": 1.0})], [asked(30.2, OUT | {"isolation_kohm": 1.0})]),
    ],
    "min_power": [
        ([asked(1, {"command_w": 490.0})], [asked(0.1, {"command_w": 489.0})]),
        ([asked(1, {"command_w": 0.0})], [asked(0.1, {"command_w": -2.0})]),
    ],
    "command_circle": [
        (
            [asked(1, {"command_w": 6000.0, "command_var": 8010.0, "rated_va": 10_000.0})],
            [asked(0.1, {"command_w": 6000.0, "command_var": -8020.0, "rated_va": 10_000.0})],
        ),
    ],
    "cell_voltage": [
        ([asked(1, IN | CELLS | {"cell_max_v": 3.654})], [asked(0.1, IN | CELLS | {"cell_max_v": 3.656})]),
        ([asked(1, OUT | CELLS | {"cell_min_v": 2.496})], [asked(0.1, OUT | CELLS | {"cell_min_v": 2.494})]),
        ([asked(1, OUT | CELLS | {"cell_max_v": 3.9})], [asked(1, IN | CELLS | {"cell_max_v": 3.9})]),
    ],
}  # fmt: skip
