"""The words of a scenario file: what is played to a site, what goes wrong, what is waited for, how it is judged.

One TOML file is one scenario. A whole one, with every table:

    id = "poi-export-load-drop"                    # the file's name without .toml
    title = "The load drops while the meter answers late: the export limit holds"
    traces = ["I17", "F06", "hil 4.2"]             # what it proves
    tags = ["poi", "demo"]
    seed = 7                                       # all chance comes from it
    site = "demo"                                  # profiles/sites/demo.toml; "../site.toml" is relative to this file
    length_s = 80
    heal_s = 50                                    # from here on no fault stands, and the site has to come back
    start = 2026-07-01T17:59:00-06:00              # what the wall clock shows at t = 0
    modes = ["lockstep", "real"]                   # where it can run; a delay of frames needs frames

    [override]                                     # the site file, changed; names in place of positions in its lists
    poi.export_max_w = 5500
    device.meter.poll_ms = 500

    [plant.battery]                                # the emulated part behind a device, changed
    soc = 0.7

    [[stimulus]]                                   # an input of the plant over time
    set = "load_w"
    points = [[0, 5000], [24, 300]]

    [[stimulus]]                                   # what the utility asks: nothing, and from 2 s on 8 kW
    set = "utility.set_w"
    points = [[0, "nothing"], [2, 8000]]

    [[fault]]                                      # a row of the catalogue, from 20 s on
    id = "F06"
    on = "meter"
    at_s = 20
    for_s = 25
    with = {latency_s = 0.4}

    [[step]]                                       # reached within 5 s and then kept for 10 s
    at_s = 24
    until = "poi_w <= site.poi.export_max_w"
    within_s = 5
    maintain_s = 10
    says = "back under the export limit"

    [[step]]                                       # after the step before it: at every moment for 5 s
    always = "abs(inverter.ac_w - decided.target_w) < 300"
    for_s = 5

    [[row]]                                        # what is decided where a row ends: at the next one, or at the end
    t_s = 55
    set = {pv_w = 1000}
    expect = {target_w = [4500, 4900], why = "poi_limit", faults = ["bad_reply meter"]}        # and no other fault

    [[row]]
    t_s = 65
    set = {pv_w = 0}

    [judge]
    skip = ["ramp"]                                # all other invariants are judged
    reason = {ramp = "the site has no ramp"}
    allow = {poi_s = 3.0}                          # the meter is late
    expect_faults = ["bad_reply meter"]            # it stood at least once
    metrics = {poi_over_s = "<= 3", poi_over_wh = [0, 10]}
    tested = ["poi_export"]                        # its case has to come up, or the scenario proves nothing
    converged = "abs(inverter.ac_w - decided.target_w) < 300"    # after heal_s:
    within_s = 20                                                # from then on at the latest, until the end

Expressions are those of hil/scenario/expression.py; their names are those of hil/scenario/names.py. Signals (points,
recordings and what can be made of them) are those of hil/scenario/signals.py, faults those of hil/faults, invariants,
times and metrics those of hil/judge. What a row's numbers and restarts have to be: hil/scenario/bars.py.
"""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta, field

from hil.faults.words import Fault, Mode
from hil.scenario.bars import Bar
from hil.scenario.signals import Signal

LENGTH_MOST_S = 400 * 86_400.0  # a year and its margins
NOTHING = "nothing"  # what stands for no value: the utility asks nothing, a key of the site file is left out

Seconds = Annotated[float, Meta(ge=0, le=LENGTH_MOST_S)]
Span = Annotated[float, Meta(gt=0, le=LENGTH_MOST_S)]
Text = Annotated[str, Meta(min_length=1, max_length=1000)]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table of a scenario."""


class Stimulus(_Table, frozen=True, kw_only=True):
    """One input over time; the signal's own keys stand beside `set`."""

    set: Annotated[
        str,
        Meta(
            description="load_w, pv_w, grid_hz, grid_v_pu, ambient_c, load on one phase as load_a_w; of a device: the "
            "true charge of a battery as battery.soc, what its BMS asks for as battery.force_charge and "
            "battery.full_charge_wanted (1 = it does), inverter.isolation_kohm, a contact as inputs.0 (1 = closed); or "
            "what the utility does: utility.set_w, .limit_pct, .heartbeat, .cease, .reactive_var, .envelope_import_w, "
            ".envelope_export_w, .consumption_w, .consumption_beats, .reserve_pct, .reserve_within_s"
        ),
    ]
    signal: Annotated[Signal, Meta(description="its value over time", extra={"beside": True})]


class Step(_Table, frozen=True, kw_only=True):
    """Something to wait for, with until, or something that has to be so all the time, with always or never."""

    at_s: Annotated[Seconds | None, Meta(description="not before; left out = when the step before it is done")] = None
    until: Annotated[Text | None, Meta(description="an expression that has to become true")] = None
    within_s: Annotated[Span | None, Meta(description="with until: in this time from its begin")] = None
    maintain_s: Annotated[
        Seconds, Meta(description="with until: and then stays true so long; a break begins it anew")
    ] = 0.0
    always: Annotated[Text | None, Meta(description="an expression that has to be true at every moment")] = None
    never: Annotated[Text | None, Meta(description="an expression that must not be true at any moment")] = None
    for_s: Annotated[Span | None, Meta(description="with always and never: for so long")] = None
    says: Annotated[str, Meta(max_length=200, description="what it means, for the report")] = ""


class Expect(_Table, frozen=True, kw_only=True):
    """What a decision has to be. What is left out is free, but for faults: one that stands and is not named fails."""

    target_w: Annotated[Bar | None, Meta(description="the units together")] = None
    wish_w: Annotated[Bar | None, Meta(description="what the program wished")] = None
    low_w: Annotated[Bar | None, Meta(description="the lower end of the envelope")] = None
    high_w: Annotated[Bar | None, Meta(description="the upper end")] = None
    asked_w: Annotated[Bar | None, Meta(description="what the utility asked of the batteries")] = None
    net_load_w: Annotated[Bar | None, Meta(description="load less generation as the controller sees it")] = None
    stored_wh: Annotated[Bar | None, Meta(description="energy in the units as the controller sees it")] = None
    sellable_wh: Annotated[Bar | None, Meta(description="of it above floor and reserve")] = None
    reactive_var: Annotated[Bar | None, Meta(description="reactive power of the units together")] = None
    discharge_w: Annotated[Bar | None, Meta(description="what it says could be discharged at once")] = None
    charge_w: Annotated[Bar | None, Meta(description="and charged")] = None
    discharge_wh: Annotated[Bar | None, Meta(description="energy that it says could be given")] = None
    charge_wh: Annotated[Bar | None, Meta(description="and taken")] = None
    discharge_s: Annotated[Bar | None, Meta(description="how long it says that discharge_w could be held")] = None
    charge_s: Annotated[Bar | None, Meta(description="and charge_w")] = None
    mode: Annotated[str | None, Meta(description="the program whose wish was taken")] = None
    why: Annotated[str | None, Meta(description="what set the target: wish, ramp, or a rule")] = None
    low_rule: Annotated[str | None, Meta(description="the rule that binds at the lower end")] = None
    high_rule: Annotated[str | None, Meta(description="the rule that binds at the upper end")] = None
    faults: Annotated[
        tuple[str, ...], Meta(max_length=100, description='all faults that stand, each as "battery_stale battery"')
    ] = ()


class Row(_Table, frozen=True, kw_only=True):
    """One row of a table that tells a story: inputs where it begins, the last decision where it ends."""

    t_s: Annotated[Seconds, Meta(description="begins here; it ends where the next row begins, the last at the end")]
    set: Annotated[dict[str, float | str], Meta(description="inputs, as in [[stimulus]], from here on")] = field(
        default_factory=dict
    )
    expect: Annotated[Expect | None, Meta(description="the last decision before the row ends")] = None


class Judge(_Table, frozen=True, kw_only=True):
    """How the truth is judged. All invariants are, but for those that are skipped with a reason."""

    skip: Annotated[tuple[str, ...], Meta(max_length=100, description="invariants that are not judged")] = ()
    reason: Annotated[dict[str, str], Meta(description="why, by the invariant's name")] = field(default_factory=dict)
    allow: Annotated[
        dict[str, float], Meta(description="the time the site has to put a thing right, by the time's name")
    ] = field(default_factory=dict)
    expect_faults: Annotated[
        tuple[str, ...],
        Meta(max_length=100, description='faults that have to have stood, each as "battery_stale battery"'),
    ] = ()
    only_faults: Annotated[bool, Meta(description="and no other fault may have stood")] = False
    idle_faults: Annotated[bool, Meta(description="a fault may be without effect, as one drawn by chance")] = False
    metrics: Annotated[
        dict[str, str | tuple[float, float]],
        Meta(description='what has to be reached: "<= 2", ">= 0.95 and >= reference - 0.02", or [low, high]'),
    ] = field(default_factory=dict)
    tested: Annotated[
        tuple[str, ...], Meta(max_length=100, description="invariants whose case has to have come up")
    ] = ()
    converged: Annotated[Text | None, Meta(description="with heal_s: true again within within_s, and then on")] = None
    within_s: Annotated[Span | None, Meta(description="with converged: in this time from heal_s")] = None
    restarts: Annotated[Bar, Meta(description="how often the controller was started again")] = 0.0


class Scenario(_Table, frozen=True, kw_only=True):
    """One scenario."""

    id: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,79}$", description="the file's name without its ending")]
    title: Annotated[str, Meta(min_length=1, max_length=200, description="what happens: what holds")]
    traces: Annotated[tuple[Text, ...], Meta(max_length=50, description="requirements that it proves")] = ()
    tags: Annotated[tuple[Text, ...], Meta(max_length=50, description="to choose scenarios by")] = ()
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1, description="all chance comes from it")] = 1
    site: Annotated[
        str, Meta(min_length=1, description="a file in profiles/sites without its ending, or a path from this file")
    ]
    length_s: Annotated[Span, Meta(description="ends here")]
    heal_s: Annotated[
        Span | None, Meta(description="from here on no fault stands, and judge.converged is waited for")
    ] = None
    start: Annotated[
        Annotated[datetime, Meta(tz=True)] | None, Meta(description="what the wall clock shows at t = 0")
    ] = None
    modes: Annotated[
        tuple[Mode, ...], Meta(min_length=1, max_length=3, description="lockstep, model and real; where it can run")
    ] = ("lockstep", "model")
    override: Annotated[
        dict[str, object],
        Meta(description='changes of the site file, as device.meter.poll_ms = 500; "nothing" leaves a key out'),
    ] = field(default_factory=dict)
    plant: Annotated[
        dict[str, dict[str, object]], Meta(description="changes of the emulated parts, by the device's name")
    ] = field(default_factory=dict)
    stimulus: Annotated[tuple[Stimulus, ...], Meta(max_length=100, description="what is played")] = ()
    fault: Annotated[tuple[Fault, ...], Meta(max_length=1000, description="what goes wrong")] = ()
    step: Annotated[tuple[Step, ...], Meta(max_length=1000, description="what is waited for")] = ()
    row: Annotated[tuple[Row, ...], Meta(max_length=10_000, description="a table of inputs and decisions")] = ()
    judge: Annotated[Judge, Meta(description="how it is judged")] = field(default_factory=Judge)
