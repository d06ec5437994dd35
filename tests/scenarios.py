"""A scenario with every table for the tests of the format, and what it may name."""

from pathlib import Path
from typing import Any

import msgspec

from hil.faults.words import ALL_MODES, LOCKSTEP, Param, Row, Verb
from hil.run.fit import plant_spec
from hil.scenario.draft import Known
from hil.scenario.known import known

HOUSE = Path(__file__).parents[1]
TEXT = """\
id = "meter-late"
title = "The meter is late: the export limit holds"
traces = ["I17", "F60"]
tags = ["poi", "smoke"]
seed = 7
site = "demo"
length_s = 90
heal_s = 55
start = 2026-07-01T17:59:00-06:00

[override]
poi.export_max_w = 5500
"device.meter.poll_ms" = 500

[plant.battery]
soc = 0.7

[[stimulus]]
set = "load_w"
points = [[0, 5000], [24, 300]]

[[stimulus]]
set = "utility.set_w"
points = [[2, 8000], [80, "nothing"]]

[[fault]]
id = "F60"
on = "meter"
at_s = 20
for_s = 30
with = {latency_s = 0.8}

[[step]]
at_s = 24
until = "poi_w <= site.poi.export_max_w"
within_s = 2
maintain_s = 10

[[step]]
always = "abs(inverter.ac_w - decided.target_w) < 300"
for_s = 5

[[row]]
t_s = 58
set = {pv_w = 1000}

[[row]]
t_s = 60
expect = {target_w = [4500, 4900], why = "poi_limit", faults = ["meter_stale meter"]}

[judge]
skip = ["ramp"]
reason = {ramp = "the site has no ramp"}
allow = {poi_s = 3.0}
expect_faults = ["meter_stale meter"]
metrics = {poi_over_s = "<= 2"}
tested = ["poi_export"]
converged = "poi_w < 6000"
within_s = 20
"""


def verb(name: str, on: str, modes: frozenset[Any] = ALL_MODES, **params: Param) -> Verb:
    return Verb(
        name=name,
        layer="told",
        says="for the test",
        on=frozenset(on.split()),  # type: ignore[arg-type]
        begin=lambda bench, armed: lambda: None,
        modes=modes,
        params=params,
    )


def bar_of_a_metric(bar: object) -> None:
    if isinstance(bar, str) and not bar.startswith(("<= ", ">= ")):
        raise ValueError(f"{bar!r} is no bar")


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """The times of a judge."""

    poi_s: float = 2.0
    silence_s: float = 2.0


KNOWN = Known(
    verbs={
        row.name: row
        for row in (
            verb("late", "meter", latency_s=Param(default=1.0, low=0.0, high=10.0, says="how late", unit="s")),
            verb(
                "unplug", "meter inverter battery", connects=Param(default="hang", says="", choices=("hang", "refuse"))
            ),
            verb("kill", "controller", LOCKSTEP, hard=Param(default=True, says="")),
            verb("stop", "inverter utility"),
        )
    },
    rows={
        "F60": Row(id="F60", title="meter late", do="late", must="", params={"latency_s": 5.0}),
        "F81": Row(id="F81", title="certificate", do="", must="", why="no door speaks TLS"),
        "F91": Row(id="F91", title="killed", do="kill", must=""),
    },
    invariants=frozenset(("poi_export", "poi_import", "ramp")),
    metrics=frozenset(("poi_over_s", "olrt_s")),
    terms=bar_of_a_metric,
    allowed=Times,
    parts=known().parts,
    fit=plant_spec,
)


def edited(*changes: tuple[str, str]) -> str:
    """Return the file with each old text replaced once. An old text that is not there is a wrong test."""
    text = TEXT
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text
