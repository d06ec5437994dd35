"""The invariants: one row each, with the law or requirement it stands for.

To add one: a row in its class's place, a function bounds -> Laid beside its kin (energy, electrical, network, conduct),
and a test that breaks it and one that just holds it.
"""

from collections.abc import Callable, Iterable

import msgspec

from hil.judge import conduct, electrical, energy, network
from hil.judge.bounds import Bounds
from hil.judge.measures import Kind, Laid


class Invariant(msgspec.Struct, frozen=True, kw_only=True):
    """One row. unit: of the excess. A peak is judged in it, a lasting wrong in s."""

    name: str
    says: str
    why: str  # clause, bar or requirement: I1..I20 of the reference on control, hil 4
    unit: str
    lay: Callable[[Bounds], Laid]
    kind: Kind = "peak"
    of_site: bool = False  # one place only; else one for each unit


_ROWS = (
    Invariant(
        name="energy_floor",
        says="no unit is discharged below its floor by true energy, but as far as the import limit demands it",
        why="I5, class 3",
        unit="Wh",
        lay=energy.floor,
    ),
    Invariant(
        name="energy_ceiling",
        says="no unit is charged above its ceiling by true energy, but as far as the export limit demands it",
        why="I5, class 3",
        unit="Wh",
        lay=energy.ceiling,
    ),
    Invariant(
        name="customer_reserve",
        says="nothing below the customer's reserve is spent on utility orders",
        why="I6, class 4; hil 4.6",
        unit="Wh",
        lay=energy.reserve,
    ),
    Invariant(
        name="storm_reserve",
        says="nothing below a reserve ahead of a storm is discharged, but as far as the import limit demands it",
        why="class 4; control 1.2",
        unit="Wh",
        lay=energy.storm_reserve,
    ),
    Invariant(
        name="poi_export",
        says="never more into the grid than the limit, as far as the batteries can help it",
        why="I17, class 2; UL 1741 CRD and UL 3141 (hil 4.2)",
        unit="W",
        lay=electrical.poi_export,
        kind="lasting",
        of_site=True,
    ),
    Invariant(
        name="poi_import",
        says="never more from the grid than the limit, as far as the batteries can help it",
        why="I17, class 2; UL 1741 CRD and UL 3141 (hil 4.2)",
        unit="W",
        lay=electrical.poi_import,
        kind="lasting",
        of_site=True,
    ),
    Invariant(
        name="phase_export",
        says="no phase feeds more than its limit, as far as the batteries can help it",
        why="class 2; control 1.3",
        unit="W",
        lay=network.phase_export,
        kind="lasting",
        of_site=True,
    ),
    Invariant(
        name="phase_import",
        says="no phase draws more than its limit, as far as the batteries can help it",
        why="class 2; control 1.3",
        unit="W",
        lay=network.phase_import,
        kind="lasting",
        of_site=True,
    ),
    Invariant(
        name="breaker",
        says="no phase carries more than the main breaker, as far as the batteries can help it",
        why="class 2; control 1.3",
        unit="A",
        lay=network.breaker,
        kind="lasting",
        of_site=True,
    ),
    Invariant(
        name="envelope_export",
        says="never more into the grid than an envelope or a contact leaves, as far as the batteries can help it",
        why="class 2; CSIP-AUS 1.1 opModExpLimW",
        unit="W",
        lay=network.envelope_export,
        kind="lasting",
        of_site=True,
    ),
    Invariant(
        name="envelope_import",
        says="never more from the grid than an envelope or a contact leaves, as far as the batteries can help it",
        why="class 2; CSIP-AUS 1.1 opModImpLimW",
        unit="W",
        lay=network.envelope_import,
        kind="lasting",
        of_site=True,
    ),
    Invariant(
        name="consumption",
        says="no more is charged from the grid than the limit on consumption leaves, unheard its failsafe",
        why="class 2; EEBUS LPC, section 14a EnWG",
        unit="W",
        lay=network.consumption,
        kind="lasting",
        of_site=True,
    ),
    Invariant(
        name="emergency_stop",
        says="every unit is at rest once the emergency stop acts",
        why="class 0",
        unit="W",
        lay=network.emergency_stop,
        kind="lasting from its cause",
    ),
    Invariant(
        name="no_charge",
        says="nothing is charged while a contact forbids it",
        why="class 0",
        unit="W",
        lay=network.no_charge,
        kind="lasting from its cause",
    ),
    Invariant(
        name="no_discharge",
        says="nothing is discharged while a contact forbids it",
        why="class 0",
        unit="W",
        lay=network.no_discharge,
        kind="lasting from its cause",
    ),
    Invariant(
        name="isolation",
        says="a unit whose DC side is not isolated from earth is at rest",
        why="class 0; IEC 62109-2 4.8.2",
        unit="W",
        lay=network.isolation,
        kind="lasting from its cause",
    ),
    Invariant(
        name="nameplate",
        says="power within the ratings",
        why="I2, class 1",
        unit="W",
        lay=electrical.nameplate,
    ),
    Invariant(
        name="pq_circle",
        says="active and reactive power together within the apparent power of the inverter",
        why="class 1; IEEE 1547-2018 5.2",
        unit="VA",
        lay=electrical.pq_circle,
    ),
    Invariant(
        name="command_range",
        says="no device is told more than its ratings",
        why="I2, class 1; F78",
        unit="W",
        lay=electrical.command_range,
    ),
    Invariant(
        name="command_circle",
        says="no device is told more active and reactive power together than its apparent power",
        why="class 1; IEEE 1547-2018 5.2",
        unit="VA",
        lay=electrical.command_circle,
    ),
    Invariant(
        name="min_power",
        says="no unit is told a power that is too small for it",
        why="class 1; dead zones never circulate power",
        unit="W",
        lay=network.min_power,
    ),
    Invariant(
        name="bms_charge_current",
        says="never above what the BMS lets in",
        why="class 1; F54",
        unit="A",
        lay=electrical.bms_charge_current,
        kind="lasting",
    ),
    Invariant(
        name="bms_discharge_current",
        says="never above what the BMS lets out",
        why="class 1; F54",
        unit="A",
        lay=electrical.bms_discharge_current,
        kind="lasting",
    ),
    Invariant(
        name="cell_voltage",
        says="no cell is driven past what it bears",
        why="class 1; canbms 5",
        unit="mV",
        lay=electrical.cell_voltage,
    ),
    Invariant(
        name="contactor_open",
        says="no current through an open contactor",
        why="class 0; F55",
        unit="A",
        lay=electrical.contactor_open,
    ),
    Invariant(
        name="bms_silent",
        says="at 0 W once the BMS is silent, until it is back",
        why="class 0; hil 4.7: safe set point within 3 periods after BMS loss",
        unit="W",
        lay=conduct.bms_silent,
        kind="lasting from its cause",
    ),
    Invariant(
        name="inverter_silent",
        says="an inverter that is cut off is at 0 W by its own watchdog",
        why="I9: reversion within the watchdog, with the dead time and the response",
        unit="W",
        lay=conduct.inverter_silent,
        kind="lasting from its cause",
    ),
    Invariant(
        name="meter_silent",
        says="without the meter the batteries stay where no admitted load or generation breaks a POI limit",
        why="class 2; hil 4.2: no-export-safe set point when the meter is lost",
        unit="W",
        lay=conduct.meter_silent,
        kind="lasting from its cause",
        of_site=True,
    ),
    Invariant(
        name="unit_stopped",
        says="a unit that is off, at fault or behind an open contactor is told 0 W",
        why="I11, class 0; F47, F55",
        unit="W",
        lay=conduct.unit_stopped,
        kind="lasting from its cause",
    ),
    Invariant(
        name="units_opposed",
        says="no unit charges another through the AC side",
        why="I10, I11",
        unit="W",
        lay=conduct.units_opposed,
        kind="lasting",
        of_site=True,
    ),
    Invariant(
        name="order_expired",
        says="a lapsed utility order is not followed",
        why="I8; F80",
        unit="W",
        lay=conduct.order_expired,
        kind="lasting",
        of_site=True,
    ),
    Invariant(
        name="ramp",
        says="set points move away from 0 W no faster than the site's ramp, but as the POI limits demand it",
        why="I13",
        unit="W",
        lay=conduct.ramp,
        of_site=True,
    ),
    Invariant(
        name="travel",
        says="set points travel no farther than twice what they answer to",
        why="I14: no limit cycle, bounded travel",
        unit="W",
        lay=conduct.travel,
        of_site=True,
    ),
    Invariant(
        name="local_control",
        says="nothing is written to an inverter in local control",
        why="IEEE 1547-2018 10.6; SunSpec 715.LocRemCtl; F49",
        unit="registers",
        lay=conduct.local_control,
    ),
    Invariant(
        name="write_budget",
        says="no more registers are written than the inverter's memory is made for",
        why="the wear of EEPROM by set points",
        unit="registers",
        lay=conduct.write_budget,
    ),
)

INVARIANTS: dict[str, Invariant] = {row.name: row for row in _ROWS}


def selected(names: Iterable[str] | None) -> tuple[Invariant, ...]:
    """Return the rows of these names in the table's order, None = all. Raises ValueError for a name that is none."""
    if names is None:
        return _ROWS
    wanted = set(names)
    if unknown := wanted - INVARIANTS.keys():
        raise ValueError(f"no invariant is named {', '.join(sorted(unknown))}; there are {', '.join(INVARIANTS)}")
    return tuple(row for row in _ROWS if row.name in wanted)
