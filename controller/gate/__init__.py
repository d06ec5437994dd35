"""The last look before a write: check(site, commission, snapshot, memory, commands) -> (verdicts, memory).

Laws:
- Independent: it imports the words, msgspec and hashlib, and shares no line with rules and engine.
- Silent at a start: without a commissioning record that fits the site nothing passes, not even 0 W.
- It recomputes classes 0 to 3 from the raw snapshot, the stronger before the weaker. It refuses, it never repairs: what
  is refused is not written, and the device's own watchdog runs out.
- It remembers only what it let pass itself, for the rate of writes and for moves that the meter does not show yet.
- Total: it never raises, whatever the snapshot holds; what has a fraction in it counts as not heard. 0 W passes unless
  the record, the form of the command or the device itself is in doubt.

It should hardly ever grow; a new limit belongs in rules/ and comes here only if a bug above it could hurt somebody.
"""

from hashlib import sha256

import msgspec

from controller.model import (
    FAULTS,
    SITE,
    AnyReading,
    Battery,
    Command,
    Commission,
    Curve,
    Input,
    Inputs,
    Inverter,
    Meter,
    Site,
    Snapshot,
    Unit,
)

WRITES_MAX = 20  # commands that raise a unit's power, in a second: a healthy site decides 5 to 10 times
RATE_MS = 1000
MOVE_W = 50  # a smaller change of all units together is no move, nor is a hundredth of their nameplates
FORCED_PCT = 5  # of the nameplate: what a battery that asks for it is charged with by force
CELL_MV = (500, 5000)  # outside lies no lithium cell, but a broken wire or a wrong scale
CELL_MC = (-60_000, 120_000)
SOC_BP = (0, 10_000)
SOH_BP = (1000, 10_000)  # a state of health outside is none: the capacity of the site file stands
OPEN_W = float("inf")  # the side of a limit that has none
ANY = (0, OPEN_W)
WHOLE = (int, type(None))
_KNOWN: list["_Known"] = []  # what follows from the last site that was judged
TRIPPING = frozenset(name for name, fault in FAULTS.items() if fault.response == "trip")
# A limit in thirds of a watt: where; the thirds of each unit there; up (1) and down (-1) what is there and may be.
Line = tuple[str, list[int], list[tuple[int, int, float]]]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One command with the reason why it must not be written, "" = it may."""

    command: Command
    refused: str = ""


class Passed(msgspec.Struct, frozen=True, kw_only=True):
    """What passed to one device: the last power, and when, in the last second, the commands that raised it."""

    device: str = ""
    power_w: int = 0
    raised_ms: tuple[int, ...] = ()


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate let pass. moved_ms: when the commands together last changed by more than noise, None = never."""

    passed: tuple[Passed, ...] = ()
    moved_ms: int | None = None


def fingerprint(site: Site) -> str:
    """Return what stands for the devices, the units with their ratings, and the meter: 16 hexadecimal digits."""
    devices = [(device.name, device.profile, device.url) for device in site.device]
    units = [(u.name, u.inverter, u.batteries, u.charge_max_w, u.discharge_max_w, u.capacity_wh) for u in site.unit]
    watchdogs_s = [unit.watchdog_s for unit in site.unit]
    return sha256(msgspec.json.encode((devices, units, watchdogs_s, site.poi.meter))).hexdigest()[:16]


def check(
    site: Site, commission: Commission | None, snapshot: Snapshot, memory: Memory, commands: tuple[Command, ...]
) -> tuple[tuple[Verdict, ...], Memory]:
    """Return a verdict for each command and the memory for the next check. Who is refused stays where it is."""
    known = next((known for known in _KNOWN if known.site is site), None) or _Known(site)
    if commission is None or commission.fingerprint != known.record:
        missing = "no record that a person saw this site's devices obey"
        wrong = missing if commission is None else "devices, units or ratings are not those of the record"
        return tuple(Verdict(command=command, refused=f"not commissioned: {wrong}") for command in commands), memory
    look = _Look(known, snapshot, memory)
    let, refused = dict[str, Command](), dict[str, str]()
    for command in commands:
        if command.device in let:
            refused[command.device] = f"{command.device} is commanded more than once in one cycle"
        let[command.device] = command
    for judged in (look.by_itself, look.by_bank, look.at_poi):
        refused = judged(let) | refused
        let = {device: command for device, command in let.items() if device not in refused}
    return tuple(Verdict(command=one, refused=refused.get(one.device, "")) for one in commands), look.remembered(let)


class _Known:
    """What follows from the site alone, which nothing can change: worked out once."""

    def __init__(self, site: Site) -> None:
        self.site, self.record, poi = site, fingerprint(site), site.poi
        self.stale_ms = {device.name: device.stale_after_ms for device in site.device}
        self.names = [unit.inverter for unit in site.unit]
        self.units = {unit.inverter: unit for unit in site.unit if self.names.count(unit.inverter) == 1}
        self.settle_ms = max(unit.settle_ms or 0 for unit in site.unit)
        self.swing_w = sum(unit.charge_max_w + unit.discharge_max_w for unit in site.unit)
        self.noise_w = max(MOVE_W, sum(max(unit.charge_max_w, unit.discharge_max_w) for unit in site.unit) // 100)
        phases = "" if {poi.breaker_max_a, poi.phase_import_max_w, poi.phase_export_max_w} == {None} else "abc"
        self.parts = [[3 * unit.phases.count(phase) // len(unit.phases) for unit in site.unit] for phase in phases]
        _KNOWN[:] = [self]


class _Look:
    """One check. What it looks things up in is made once."""

    def __init__(self, known: _Known, snapshot: Snapshot, memory: Memory) -> None:
        self.known, self.site, self.snapshot, self.memory = known, known.site, snapshot, memory
        self.fresh: dict[str, AnyReading] = {}
        for reading in snapshot.readings:
            allowed_ms = known.stale_ms.get(reading.device)
            if allowed_ms is not None and 0 <= snapshot.now_ms - reading.sampled_ms <= allowed_ms and _whole(reading):
                self.fresh[reading.device] = reading
        self.heard: dict[tuple[str, ...], list[Battery]] = {}
        self.connected: dict[tuple[str, ...], list[Battery]] = {}  # one of several may have opened its contactor
        self.now_w: list[int] = []
        for unit in self.site.unit:
            bank, told = unit.batteries, self.fresh.get(unit.inverter)
            self.heard[bank] = heard = [one for name in bank if isinstance(one := self.fresh.get(name), Battery)]
            self.connected[bank] = [battery for battery in heard if battery.contactor_closed is not False]
            self.now_w.append((told.power_w or 0) if isinstance(told, Inverter) else 0)
        meter, at_w = self.fresh.get(self.site.poi.meter), snapshot.poi_battery_w
        self.meter = meter if isinstance(meter, Meter) else None
        self.at_w = at_w if type(at_w) is int else None  # the units' power when the meter was sampled
        self.tripped = {notice.device: notice.fault for notice in snapshot.notices if notice.fault in TRIPPING}
        self.replaced = {notice.device for notice in snapshot.notices if notice.fault == "wrong_device"}
        self.acting = [contact for contact in self.site.input if _acts(contact, self.fresh.get(contact.device))]
        self.means = {contact.means: contact.name for contact in self.acting}
        self.passed = {one.device: one for one in memory.passed}

    def by_itself(self, let: dict[str, Command]) -> dict[str, str]:
        """Return who is refused for the form of the command, or for what its own devices tell (classes 0 and 1)."""
        return {name: why for name, command in let.items() if (why := self.unlisted(command) or self.alone(command))}

    def unlisted(self, command: Command) -> str:
        """Return what is wrong with the form of a command or with whom it goes to, or that it is raised too often."""
        device = command.device
        if not type(command.power_w) is type(command.valid_ms) is int or type(command.reactive_var) not in WHOLE:
            return f"a command to {device} must be in whole watts, var and milliseconds"
        unit = self.known.units.get(device)
        if unit is None:
            return f"{device} is not the inverter of exactly one unit"
        if unit.watchdog_s is None or not 1 <= command.valid_ms <= unit.watchdog_s * 1000:
            return f"a command to {device} must hold 1 ms to {unit.watchdog_s} s, not {command.valid_ms} ms"
        if device in self.replaced:
            return f"another device answers in place of {device}"
        if len(self.raised_ms(command)) > WRITES_MAX:
            return f"{device} was given more power {WRITES_MAX} times within {RATE_MS} ms"
        return ""

    def raised_ms(self, command: Command) -> tuple[int, ...]:
        """Return when commands, with this one, took the unit further from 0 W or past it within the last second."""
        known, now_ms = self.passed.get(command.device, Passed()), self.snapshot.now_ms
        raises = not min(0, known.power_w) <= command.power_w <= max(0, known.power_w)
        return tuple([at_ms for at_ms in known.raised_ms if now_ms - at_ms < RATE_MS]) + (now_ms,) * raises

    def alone(self, command: Command) -> str:
        """Return what the unit's own devices have against power."""
        if not command.power_w and not command.reactive_var:
            return ""
        unit = self.known.units[command.device]
        bank, inverter = unit.batteries, self.fresh.get(unit.inverter)
        for name in (SITE, unit.name, unit.inverter, *bank):
            if name in self.tripped:
                return f"{self.tripped[name]} stands at {name}"
        if "emergency_stop" in self.means:
            return f"the emergency stop {self.means['emergency_stop']} acts"
        heard, connected = self.heard[bank], self.connected[bank]
        if not isinstance(inverter, Inverter) or len(heard) < len(bank):
            return f"{unit.inverter} or one of {', '.join(bank)} is not freshly heard"
        if inverter.state == "fault" or not inverter.remote or inverter.power_w is None:
            return f"{inverter.device} is at fault, in local control or does not tell its power"
        if not connected:
            return f"no contactor of {', '.join(bank)} is closed"
        if unit.isolation_min_kohm is not None:
            every_kohm = [inverter.isolation_kohm, *(battery.isolation_kohm for battery in heard)]
            told_kohm = [isolation_kohm for isolation_kohm in every_kohm if isolation_kohm is not None]
            if not told_kohm or min(told_kohm) < unit.isolation_min_kohm:
                return f"the isolation of {unit.name} is not told or below {unit.isolation_min_kohm} kohm"
        for battery in connected:
            if battery.alarms or not _told(battery.soc_bp, SOC_BP):
                return f"{battery.device} raises an alarm or tells no state of charge from 0 to 100 %"
        asked_w, asked_var = abs(command.power_w), command.reactive_var or 0
        if asked_w and (why := self.one_way(unit, inverter, command.power_w == asked_w, asked_w)):
            return f"{command.power_w:+d} W {why}"
        told_va = [max(0, va) for va in (unit.apparent_max_va, inverter.apparent_max_va) if va is not None]
        # Of an inverter that tells no apparent power no reactive power is asked.
        if asked_w**2 + asked_var**2 > min(told_va, default=asked_w) ** 2:
            return f"{command.power_w:+d} W, {asked_var:+d} var: beyond the apparent power of {unit.inverter}"
        return ""

    def one_way(self, unit: Unit, inverter: Inverter, gives: bool, asked_w: int) -> str:
        """Return what rating, inputs or cells have against so much in one direction."""
        means, nameplate_w, set_w = "no_charge", unit.charge_max_w, inverter.charge_max_w
        if gives:
            means, nameplate_w, set_w = "no_discharge", unit.discharge_max_w, inverter.discharge_max_w
        if asked_w > nameplate_w or (set_w is not None and asked_w > set_w):
            return f"is beyond the rating of {unit.inverter}"
        if asked_w < unit.min_power_w:
            return f"is less than the {unit.min_power_w} W that {unit.name} can run with"
        if means in self.means:
            return f"while the input {self.means[means]} acts: {means}"
        for battery in self.connected[unit.batteries]:
            allowed = battery.discharge_allowed if gives else battery.charge_allowed
            if allowed is False or (gives and battery.force_charge):
                return f"is not permitted by {battery.device}"
            for datum, curve, values, scale in _curves(unit, battery, gives):
                pct = min([_curve_pct(curve, value, scale) for value in values], default=0)
                if asked_w * 100 > nameplate_w * pct:
                    return f"is beyond the {pct} % that the {datum} of {battery.device} leaves"
        return ""

    def then_w(self, let: dict[str, Command]) -> list[int]:
        """Return what each unit will do: one that is not commanded stays where it is."""
        now_w = zip(self.known.names, self.now_w, strict=True)
        return [let[name].power_w if name in let else power_w for name, power_w in now_w]

    def by_bank(self, let: dict[str, Command]) -> dict[str, str]:
        """Return who asks too much of its batteries, with the units that share them, in either direction by itself."""
        then_w, found = self.then_w(let), dict[str, str]()
        rows = [(unit, power_w, power_w == abs(power_w)) for unit, power_w in zip(self.site.unit, then_w, strict=True)]
        asked: dict[tuple[bool, tuple[str, ...]], list[tuple[int, int]]] = {}
        for unit, power_w, gives in rows:
            # The cells give more than the grid gets, and take no more than it gives.
            cells_uw = power_w * 100_000_000 // unit.efficiency_pct if gives else -power_w * 1_000_000
            acting_ms = self.site.cycle_ms + (unit.watchdog_s or 0) * 1000
            asked.setdefault((gives, unit.batteries), []).append((cells_uw, acting_ms))
        short: dict[bool, dict[str, str]] = {True: {}, False: {}}  # where a limit at the POI may outrank it
        for unit, power_w, gives in rows:
            if power_w and unit.inverter in let:
                why, yields = self.cells(unit, power_w, gives, asked[gives, unit.batteries])
                if why:
                    (short[gives] if yields else found)[unit.inverter] = f"{power_w:+d} W {why}"
        for gives, whys in short.items():
            if whys and not self.relieved(then_w, gives):
                found |= whys
        return found

    def relieved(self, then_w: list[int], gives: bool) -> bool:
        """Return whether a limit at the POI demands this much of the batteries in this direction."""
        poi, swing_w = self.site.poi, self.known.swing_w
        least_w, most_w = -2 * poi.generation_max_w - swing_w, 2 * poi.load_max_w + swing_w
        if self.meter is None or self.at_w is None or not least_w <= self.at_w - self.meter.power_w <= most_w:
            return False  # an unknown load, or a number that no load of this site can be, demands nothing
        for _, parts, sides in self.lines(self.at_w):
            total_w = _sum(parts, then_w)
            far, shown_w, limit_w = sides[gives]  # what discharging leads away from is the limit of import
            if far * total_w < 0 and far * (shown_w + total_w) >= far * limit_w - 3 * poi.margin_w:
                return True
        return False

    def at_poi(self, let: dict[str, Command]) -> dict[str, str]:
        """Return who would add to an excess at the POI or a phase, shown already while a move of ours is in flight."""
        # Whether meter and inverters were all sampled after our last move had shown.
        moved_ms, settle_ms = self.memory.moved_ms, self.known.settle_ms
        sampled_ms = [told.sampled_ms for told in self.fresh.values() if isinstance(told, (Inverter, Meter))]
        settled = moved_ms is not None and all(at_ms >= moved_ms + settle_ms for at_ms in sampled_ms)
        then_w, at_w, found = self.then_w(let), self.at_w if settled else None, dict[str, str]()
        stood_w = [0] * len(then_w) if self.meter is None else self.now_w
        for where, parts, sides in self.lines(at_w):
            total_w, stands_w = _sum(parts, then_w), _sum(parts, stood_w)
            more_w = total_w * (self.meter is None or at_w is not None)
            for way, shown_w, limit_w in sides:  # not >: a number that is none is refused
                if way * total_w > max(0, way * stands_w) and not way * (shown_w + more_w) <= way * limit_w:
                    for place, unit in enumerate(self.site.unit):
                        adds = parts[place] and way * then_w[place] > max(0, way * stood_w[place])
                        if adds and unit.inverter in let and not self.forced(unit, then_w[place]):
                            found[unit.inverter] = f"{then_w[place]:+d} W would add to an excess: {where}"
                            then_w[place] = self.now_w[place]
        return found

    def lines(self, at_w: int | None) -> list[Line]:
        """Return each limit of the POI and of its phases. at_w: the units' power that what is shown is freed of."""
        poi, meter = self.site.poi, self.meter
        rows: list[tuple[str, float, float]] = [("POI", -poi.import_max_w, poi.export_max_w)]
        in_w, out_w = poi.envelope.import_default_w, poi.envelope.export_default_w
        if (in_w, out_w) != (None, None):  # else the site has no envelopes
            orders = [one for one in self.snapshot.orders if one.kind == "envelope" and _whole(one)]
            told = [one for one in orders if one.starts_ms <= self.snapshot.now_ms < one.expires_ms]
            low_w = max((one.low_w for one in told), default=-poi.import_max_w if in_w is None else -in_w)
            high_w = min((one.high_w for one in told), default=poi.export_max_w if out_w is None else out_w)
            if low_w <= high_w:  # where two leave nothing between them only the engine knows which came last
                rows.append(("operating envelope", low_w, high_w))
        acting = [(contact.means, f"input {contact.name}", contact.limit_w or 0) for contact in self.acting]
        rows += [(name, -limit_w, OPEN_W) for means, name, limit_w in acting if means == "import_limit"]
        rows += [(name, -OPEN_W, limit_w) for means, name, limit_w in acting if means == "export_limit"]
        where, up_w, down_w = "without a meter: largest load, generation", 3 * poi.generation_max_w, -3 * poi.load_max_w
        if meter is not None:
            where, up_w = f"{poi.meter} shows {meter.power_w} W", 3 * (meter.power_w - (at_w or 0))
            down_w = up_w
        sides = [(name, (1, up_w, 3 * high_w), (-1, down_w, 3 * low_w)) for name, low_w, high_w in rows]
        found: list[Line] = [(f"{name}, {where}", [3 for _ in self.site.unit], both) for name, *both in sides]
        if meter is None or meter.phase_w is None:
            return found
        low_mv, high_mv = poi.nominal_v * 900, poi.nominal_v * 1100
        phase_mv = meter.phase_mv or [low_mv for _ in "abc"]
        for phase, parts, shown_w, told_mv in zip("abc", self.known.parts, meter.phase_w, phase_mv, strict=False):
            there_w = 3 * shown_w - _sum(parts, self.now_w) * (at_w is not None)
            volts_mv = min(told_mv, high_mv) if told_mv > 0 else low_mv
            fuse_w = OPEN_W if poi.breaker_max_a is None else poi.breaker_max_a * volts_mv // 1000
            in_w3 = -3 * min(fuse_w, OPEN_W if poi.phase_import_max_w is None else poi.phase_import_max_w)
            out_w3 = 3 * min(fuse_w, OPEN_W if poi.phase_export_max_w is None else poi.phase_export_max_w)
            found.append((f"phase {phase} shows {shown_w} W", parts, [(1, there_w, out_w3), (-1, there_w, in_w3)]))
        return found

    def forced(self, unit: Unit, power_w: int) -> bool:
        """Return whether it is no more than a battery that asks for it is charged with by force."""
        most_w = max(unit.charge_max_w * FORCED_PCT // 100, unit.min_power_w)
        return power_w >= -most_w and any(battery.force_charge for battery in self.connected[unit.batteries])

    def cells(self, unit: Unit, power_w: int, gives: bool, asked: list[tuple[int, int]]) -> tuple[str, bool]:
        """Return that current or energy is too large, and whether it is energy. asked: each unit's uW, and how long."""
        of, connected = self.site.energy, self.connected[unit.batteries]
        limits_ma = [one.discharge_max_ma if gives else one.charge_max_ma for one in connected]
        told_ma = [told for limit_ma in limits_ma for told in _told(limit_ma, ANY)]
        told_mv = [told for one in connected for told in _told(one.voltage_mv, ANY)]
        most_uw = sum(sorted(told_ma)[:1]) * sum(sorted(told_mv)[:1]) * len(connected)
        if len(told_ma) < len(connected) or sum(uw for uw, _ in asked) > most_uw:
            return f"of {unit.name}: more than {len(connected)} x the least current and voltage of its batteries", False
        floor_bp, ceiling_bp = (of.floor_pct + of.soc_error_pct) * 100, (of.ceiling_pct - of.soc_error_pct) * 100
        # Then the engine may charge to the full, with the estimate as told: with its error it would never be full.
        if of.full_every_days or any(one.full_charge_wanted for one in connected):
            ceiling_bp = SOC_BP[1]
        soc_bp = sum(soc_bp for one in connected for soc_bp in _told(one.soc_bp, SOC_BP)) // len(connected)
        health_bp = min((bp for one in connected for bp in _told(one.soh_bp, SOH_BP)), default=SOH_BP[1])
        room = (soc_bp - floor_bp if gives else ceiling_bp - soc_bp) * health_bp * unit.capacity_wh
        fits = sum(uw * ms for uw, ms in asked) <= room * 36_000  # 1 bp of 1 bp of 1 Wh is 36,000 uW ms
        could = "it could go below its floor" if gives else "it could go above its ceiling"
        return "" if fits or self.forced(unit, power_w) else f"of {unit.name}: {could} before it ends", True

    def remembered(self, let: dict[str, Command]) -> Memory:
        """Return the memory with what passed now."""
        passed, now_ms, travel_w = dict(self.passed), self.snapshot.now_ms, 0
        for device, command in let.items():
            travel_w += abs(command.power_w - self.passed.get(device, Passed()).power_w)
            passed[device] = Passed(device=device, power_w=command.power_w, raised_ms=self.raised_ms(command))
        moved = self.memory.moved_ms is None or travel_w > self.known.noise_w
        return Memory(passed=tuple(passed.values()), moved_ms=now_ms if moved else self.memory.moved_ms)


def _whole(told: msgspec.Struct) -> bool:
    return float not in map(type, msgspec.structs.astuple(told))  # NaN would slip through every comparison


def _sum(parts: list[int], powers_w: list[int]) -> int:
    return sum(part * power_w for part, power_w in zip(parts, powers_w, strict=True))


def _acts(contact: Input, told: AnyReading | None) -> bool:
    """Return whether a digital input acts; one that is not heard does."""
    closed = told.closed[contact.channel : contact.channel + 1] if isinstance(told, Inputs) else ()
    return closed != (contact.active == "open",)


def _curves(unit: Unit, battery: Battery, gives: bool) -> list[tuple[str, Curve, list[int], int]]:
    """Return the direction's curves: what each goes by, its points, the values that are told, and their scale."""
    of, cell_mv = unit.derating, battery.cell_max_mv
    cell, temperature, soc = of.charge_by_cell_max_mv, of.charge_by_temperature_c, of.charge_by_soc_pct
    if gives:
        cell, temperature, soc = of.discharge_by_cell_min_mv, of.discharge_by_temperature_c, of.discharge_by_soc_pct
        cell_mv = battery.cell_min_mv
    ends_mc = _told(battery.temperature_min_mc, CELL_MC) + _told(battery.temperature_max_mc, CELL_MC)
    all_mc = [] if len(ends_mc) == 1 else ends_mc + _told(battery.temperature_mc, CELL_MC)
    rows = [
        ("cell voltage", cell, _told(cell_mv, CELL_MV), 1),
        ("temperature", temperature, all_mc, 1000),
        ("state of charge", soc, _told(battery.soc_bp, SOC_BP), 100),
    ]
    return [row for row in rows if row[1]]


def _told(value: int | None, within: tuple[float, float]) -> list[int]:
    return [] if value is None or not within[0] <= value <= within[1] else [value]


def _curve_pct(curve: Curve, value: int, scale: int) -> int:
    """Return the curve's height: its first point's, and of each stretch as much as lies before the value."""
    pct = curve[0][1]
    for place, (high, high_pct) in enumerate(curve[1:]):
        low, low_pct = curve[place]
        width = (high - low) * scale
        pct += (high_pct - low_pct) * max(0, min(width, value - low * scale)) // width
    return pct
