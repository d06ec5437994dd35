"""Play a golden story: a site in whole numbers and whole seconds, closed over engine and gate; and tell it as text.

No plant: an inverter is at the command that was written a second ago and falls to 0 W when nothing was written for its
watchdog's time; the stored energy moves with the power; the meter shows the units' power less the load. All else is
switched on and off by the story's rows. A line of the text is written where something changed; each names every field.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from controller.engine import step
from controller.gate import Memory, check, fingerprint
from controller.model import (
    AnyReading,
    Battery,
    Commission,
    Decision,
    Inputs,
    Inverter,
    Meter,
    Missing,
    Notice,
    Order,
    Site,
    Snapshot,
    State,
)

BEGIN_MS = 100_000
BEGIN_UTC_MS = 1_780_000_000_000
CELLS_PCT = 95  # one way, between grid and cells; the site file declares the lowest, 90
STALE_MS = 4000  # a silent device is named missing once its last reading is so old
SHIFT_MS = "sampled_ago_ms"

What = Literal["silent", "told", "notice", "order", "load", "stuck", "opened", "program", "away", "beat", "wall", "raw"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One condition of a story, which holds from start_s up to and without end_s."""

    what: What
    start_s: int
    end_s: int
    device: str = ""
    values: dict[str, Any] = {}


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """One story: what it tells, the site, its rows, and what is so at its start."""

    tells: str
    site: Site
    rows: tuple[Row, ...]
    length_s: int = 40
    soc_pct: float = 60
    load_w: int = 3000
    phases: bool = False  # the meter tells them


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """One second of a story."""

    at_s: int
    snapshot: Snapshot
    decision: Decision
    measured_w: int  # what the units truly give
    refused: tuple[str, ...]  # by the gate
    written: tuple[str, ...]  # the inverters that were written to


class _World:
    """What is behind the readings: each unit's power, its stored energy, and what was written to it last."""

    def __init__(self, story: Story) -> None:
        self.story, self.site = story, story.site
        self.stored_mwh = {unit.name: round(unit.capacity_wh * 10 * story.soc_pct) for unit in self.site.unit}
        self.powers_w = dict.fromkeys(self.stored_mwh, 0)
        self.commands: dict[str, tuple[int, int]] = {}  # by inverter: power and second
        self.beat_ms: int | None = None
        self.refused: tuple[str, ...] = ()

    def active(self, at_s: int, *what: What) -> list[Row]:
        return [row for row in self.story.rows if row.what in what and row.start_s <= at_s < row.end_s]

    def move(self, at_s: int) -> None:
        """Bring powers and energy to this second."""
        stuck = {row.device: row.values["power_w"] for row in self.active(at_s, "stuck")}
        for unit in self.site.unit:
            power_w, written_s = self.commands.get(unit.inverter, (0, at_s))
            if at_s - written_s >= (unit.watchdog_s or 0):
                power_w = 0
            elif unit.inverter in stuck:
                power_w = stuck[unit.inverter]
            cells_mw = power_w * 100_000 // CELLS_PCT if power_w > 0 else power_w * 10 * CELLS_PCT
            self.stored_mwh[unit.name] -= cells_mw // 3600
            self.powers_w[unit.name] = power_w

    def readings(self, at_s: int) -> tuple[list[AnyReading], list[Missing]]:
        """Return what the devices tell, and who is silent."""
        now_ms = BEGIN_MS + at_s * 1000
        told = [self._changed(at_s, reading) for reading in self._sound(at_s, now_ms)]
        silent = {row.device: row.start_s for row in self.active(at_s, "silent")}
        ages_ms = {name: (at_s - start_s) * 1000 + STALE_MS if start_s else None for name, start_s in silent.items()}
        missing = [Missing(device=name, age_ms=age_ms) for name, age_ms in ages_ms.items()]
        return [reading for reading in told if reading.device not in silent], missing

    def _sound(self, at_s: int, now_ms: int) -> Iterable[AnyReading]:
        load_w = next((row.values["power_w"] for row in self.active(at_s, "load")), self.story.load_w)
        poi_w = sum(self.powers_w.values()) - load_w
        third_w = poi_w // 3
        phase_w = (poi_w - 2 * third_w, third_w, third_w) if self.story.phases else None
        yield Meter(device="meter", sampled_ms=now_ms, heard_ms=now_ms, power_w=poi_w, phase_w=phase_w)
        batteries = set[str]()
        for unit in self.site.unit:
            power_w = self.powers_w[unit.name]
            yield Inverter(device=unit.inverter, sampled_ms=now_ms, heard_ms=now_ms, power_w=power_w, connected=True)
            soc_bp = self.stored_mwh[unit.name] * 10 // unit.capacity_wh
            for name in sorted(set(unit.batteries) - batteries):
                yield _battery(name, now_ms, min(10_000, soc_bp))
            batteries |= set(unit.batteries)
        for device in sorted({contact.device for contact in self.site.input}):
            opened = {row.values["channel"] for row in self.active(at_s, "opened")}
            closed = tuple(channel not in opened for channel in range(4))
            yield Inputs(device=device, sampled_ms=now_ms, heard_ms=now_ms, closed=closed)

    def _changed(self, at_s: int, reading: AnyReading) -> AnyReading:
        for row in self.active(at_s, "told"):
            if row.device == reading.device:
                values = dict(row.values)
                if ago_ms := values.pop(SHIFT_MS, 0):
                    values["sampled_ms"] = reading.sampled_ms - ago_ms
                reading = msgspec.structs.replace(reading, **values)
        return reading

    def snapshot(self, at_s: int) -> Snapshot:
        """Freeze this second, as app/board.py does."""
        now_ms = BEGIN_MS + at_s * 1000
        readings, missing = self.readings(at_s)
        powers_w = [reading.power_w for reading in readings if isinstance(reading, Inverter)]
        known = len(powers_w) == len(self.site.unit) and any(isinstance(reading, Meter) for reading in readings)
        orders = tuple(_order(row) for row in self.active(at_s, "order"))
        notices = [Notice(device=row.device, **row.values) for row in self.active(at_s, "notice")]
        notices += [Notice(fault="command_refused", device=device, detail="refused") for device in self.refused]
        if self.active(at_s, "beat"):
            self.beat_ms = now_ms
        away = bool(self.active(at_s, "away")) and not any(order.kind == "target" for order in orders)
        return Snapshot(
            now_ms=now_ms,
            utc_ms=BEGIN_UTC_MS + now_ms + sum(row.values["jump_ms"] for row in self.active(at_s, "wall")),
            readings=tuple(readings),
            missing=tuple(missing),
            orders=orders,
            notices=tuple(notices),
            poi_battery_w=None if not known or None in powers_w else sum(power_w or 0 for power_w in powers_w),
            program=next((row.values["program"] for row in self.active(at_s, "program")), ""),
            utility_silent=away,
            consumption_heard_ms=self.beat_ms,
        )


def play(story: Story) -> list[Tick]:
    """Return every second of a story."""
    world, state, memory, ticks = _World(story), State(), Memory(), []
    record = Commission(site=story.site.name, fingerprint=fingerprint(story.site), by="a test", at="2026-01-01")
    for at_s in range(story.length_s):
        world.move(at_s)
        snapshot = world.snapshot(at_s)
        state, decision = step(story.site, state, snapshot)
        commission = None if any(notice.fault == "not_commissioned" for notice in snapshot.notices) else record
        verdicts, memory = check(story.site, commission, snapshot, memory, decision.commands)
        passed = [verdict.command for verdict in verdicts if not verdict.refused]
        for command in passed:
            world.commands[command.device] = (command.power_w if command.running else 0, at_s)
        world.refused = tuple(verdict.command.device for verdict in verdicts if verdict.refused)
        if commission is None:
            world.refused = ()  # told once, as not_commissioned
        refused = tuple(f"{one.command.device}: {one.refused}" for one in verdicts if one.refused)
        ticks.append(
            Tick(
                at_s=at_s,
                snapshot=snapshot,
                decision=decision,
                measured_w=sum(world.powers_w.values()),
                refused=refused,
                written=tuple(command.device for command in passed),
            )
        )
    return ticks


Fields = dict[str, str]


def fields(tick: Tick) -> Fields:
    """Return what is told of one second, in the order of the text. No value has a blank in it."""
    decision = tick.decision
    told = {
        "mode": decision.mode,
        "target_w": str(decision.target_w),
        "why": decision.why,
        "low_w": f"{decision.low.value_w}:{decision.low.rule}",
        "high_w": f"{decision.high.value_w}:{decision.high.rule}",
    }
    for part in decision.shares:
        told[part.unit] = f"{part.power_w}:{part.phase}"
    faults = [f"{one.fault}@{one.device}" + ":c" * (one.clear_since_ms is not None) for one in decision.faults]
    told["faults"] = ",".join(sorted(faults)) or "-"
    told["written"] = ",".join(tick.written) or "-"
    told["refused"] = ",".join(one.replace(" ", "_") for one in tick.refused) or "-"
    return told


def tell(story: Story, ticks: Sequence[Tick]) -> str:
    """Return a story's journal."""
    lines, before = [f"# {story.tells}", f"# {story.length_s} s"], Fields()
    for tick in ticks:
        now = fields(tick)
        if now != before:
            lines.append(f"{tick.at_s} s: " + " ".join(f"{name}={value}" for name, value in now.items()))
        before = now
    return "\n".join(lines) + "\n"


def changes(name: str, was: str, now: str) -> list[str]:
    """Return what differs between two texts of a story, second by second and field by field."""
    old, new = _seconds(was), _seconds(now)
    found = []
    for at_s in sorted(old.keys() | new.keys()):
        before, after = _at(old, at_s), _at(new, at_s)
        for field in [*before, *(field for field in after if field not in before)]:
            if before.get(field) != after.get(field):
                found.append(f"{name}, {at_s} s, {field}: was {before.get(field)}, is {after.get(field)}")
    if not found and was != now:
        found.append(f"{name}: the lines that begin with # differ")
    return found


def _seconds(text: str) -> dict[int, Fields]:
    lines = [line.split(" s: ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {int(at_s): dict(word.split("=", 1) for word in words.split(" ")) for at_s, words in lines}


def _at(seconds: dict[int, Fields], at_s: int) -> Fields:
    """Return what stood at a second: a text names only those at which something changed."""
    return next((seconds[before_s] for before_s in sorted(seconds, reverse=True) if before_s <= at_s), {})


def _battery(device: str, now_ms: int, soc_bp: int) -> Battery:
    return Battery(
        device=device,
        sampled_ms=now_ms,
        heard_ms=now_ms,
        soc_bp=soc_bp,
        voltage_mv=52_000,
        current_ma=0,
        charge_max_ma=250_000,
        discharge_max_ma=250_000,
        charge_allowed=True,
        discharge_allowed=True,
        contactor_closed=True,
        isolation_kohm=500,
        temperature_mc=25_000,
        cell_min_mv=3_300,
        cell_max_mv=3_310,
    )


def _order(row: Row) -> Order:
    values = {"kind": "target", "domain": "battery", "low_w": 0, "high_w": 0, **row.values}
    return Order(
        name=f"{values['kind']} {row.start_s}",
        source="the utility",
        starts_ms=BEGIN_MS + row.start_s * 1000,
        expires_ms=BEGIN_MS + row.end_s * 1000,
        **values,
    )
