"""Lives of a whole site for tests: board, step and gate over a small true plant of one to three units, in integers.

Cells have an efficiency of their own, inverters follow late and fall back to 0 W when nobody writes. hypothesis thinks
of what happens; a law is laid on every cycle. On an honest site what the devices tell is true, within the error that
the site file admits, but it may be missing or late; on a lying one it may be anything.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import msgspec
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from controller.app.board import Board
from controller.engine import step
from controller.gate import Memory, Verdict, check, fingerprint
from controller.model import (
    FAULTS,
    AnyReading,
    Battery,
    Commission,
    Commitment,
    Decision,
    Default,
    Energy,
    Inverter,
    Meter,
    Ramp,
    Reading,
    Site,
    Snapshot,
    State,
    Unit,
    Utility,
)
from tests.words import a_battery, a_meter, a_site, a_target, an_inverter

W_MS = 3_600_000  # of one Wh
STALE_MS = 3500
LIVES = settings(  # 40 lives, 12 under mutation
    max_examples=settings.default.max_examples * 2 // 5,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    phases=tuple(phase for phase in settings.default.phases if phase is not Phase.explain),
    suppress_health_check=list(HealthCheck),
)

# What a device may leave out. Permissions and settings (charge_allowed, contactor_closed, charge_max_w ..) are not
# among them: of a device that no longer tells one, the engine knows no more than of one that never did.
FIELDS: dict[type[Reading], tuple[str, ...]] = {
    Meter: ("voltage_mv", "frequency_mhz", "phase_w", "phase_mv", "phase_ma"),
    Inverter: ("power_w", "reactive_var", "isolation_kohm"),
    Battery: (
        "soc_bp",
        "soh_bp",
        "voltage_mv",
        "current_ma",
        "charge_max_ma",
        "discharge_max_ma",
        "charge_max_mv",
        "discharge_min_mv",
        "isolation_kohm",
        "temperature_mc",
        "temperature_min_mc",
        "temperature_max_mc",
        "cell_min_mv",
        "cell_max_mv",
        "modules",
    ),
}

# -- the site ----------------------------------------------------------------------------------------------------------


@st.composite
def sites(draw: st.DrawFn) -> Site:
    """Draw a site that `linepack check` would take."""
    count = draw(st.integers(1, 3))
    site = a_site(count)
    watchdog_s = draw(st.sampled_from([3, 10, 60]))
    floor_pct = draw(st.integers(0, 30))
    reserve_pct = draw(st.integers(floor_pct, 50))
    energy = Energy(
        floor_pct=floor_pct,
        reserve_pct=reserve_pct,
        ceiling_pct=draw(st.integers(reserve_pct + 5, 100)),
        soc_error_pct=draw(st.integers(0, 5)),
        taper_s=watchdog_s + draw(st.sampled_from([1, 60])),
        recovery_pct=draw(st.sampled_from([0, 10])),
    )
    units = []
    for unit in site.unit:
        changes = {
            "charge_max_w": draw(st.sampled_from([3000, 10_000])),
            "discharge_max_w": draw(st.sampled_from([4000, 10_000])),
            "capacity_wh": draw(st.sampled_from([300, 2500, 25_000])),
            "efficiency_pct": draw(st.integers(80, 100)),
            "watchdog_s": watchdog_s,
            "settle_ms": draw(st.sampled_from([0, 1000])),
            "min_power_w": draw(st.sampled_from([0, 0, 500, 2000])),
            "apparent_max_va": draw(st.sampled_from([None, 10_000])),
        }
        units.append(msgspec.structs.replace(unit, **changes))
    rates = st.sampled_from([None, 10, 700])
    ramp = Ramp(rate_w_per_s=draw(rates), discharge_up_w_per_s=draw(rates), charge_down_w_per_s=draw(rates))
    return msgspec.structs.replace(
        site,
        unit=tuple(units),
        energy=energy,
        ramp=ramp,
        program=draw(st.sampled_from(["hold", "self_consumption"])),
        commitment=Commitment(rest_units=draw(st.booleans()), dwell_s=draw(st.sampled_from([0, 20]))),
        utility=Utility(default=draw(st.sampled_from([Default(program="hold"), Default(power_w=-2000)]))),
    )


class Clock:
    """Monotonic and wall clock, both set by the test."""

    def __init__(self) -> None:
        self.at_ms, self.ahead_ms = 1_000_000, 1_780_000_000_000

    def now_ms(self) -> int:
        return self.at_ms

    def utc_ms(self) -> int:
        return self.at_ms + self.ahead_ms


class Cells:
    """The truth of one unit: what is stored, in watt-milliseconds, and what its inverter gives, in watts."""

    def __init__(self, unit: Unit, soc_pct: int, eta_pct: int, delay_ms: int) -> None:
        self.unit, self.delay_ms = unit, min(delay_ms, unit.settle_ms or 0)
        self.eta_pct = max(eta_pct, unit.efficiency_pct)
        self.stored_w_ms = self.began_w_ms = unit.capacity_wh * W_MS * soc_pct // 100
        self.power_w, self.bias_bp, self.at_ms = 0, 0, 0
        self.coming: list[tuple[int, int]] = []
        self.reverts_ms: int | None = None

    def write(self, power_w: int, now_ms: int) -> None:
        """Take a command: it acts after the delay, and is given up when the watchdog has run out."""
        self.coming.append((now_ms + self.delay_ms, power_w))
        self.reverts_ms = now_ms + (self.unit.watchdog_s or 0) * 1000

    def run(self, until_ms: int) -> None:
        """Live until then."""
        while True:
            if self.reverts_ms is not None and self.reverts_ms <= self.at_ms:
                self.power_w, self.reverts_ms = 0, None
                self.coming.clear()
            elif self.coming and self.coming[0][0] <= self.at_ms:
                self.power_w = self.coming.pop(0)[1]
            elif self.at_ms >= until_ms:
                return
            else:
                ends_ms = [until_ms, *(at_ms for at_ms, _ in self.coming[:1])]
                end_ms = min(ends_ms if self.reverts_ms is None else [*ends_ms, self.reverts_ms])
                moved_w_ms = self.power_w * (end_ms - self.at_ms)
                drawn = moved_w_ms > 0
                self.stored_w_ms -= -(-moved_w_ms * 100 // self.eta_pct) if drawn else moved_w_ms * self.eta_pct // 100
                self.at_ms = end_ms

    def soc_bp(self) -> int:
        """Return what the BMS tells: the truth and its error."""
        told_bp = self.stored_w_ms * 10_000 // (self.unit.capacity_wh * W_MS) + self.bias_bp
        return max(0, min(10_000, told_bp))


class Cycle(msgspec.Struct, frozen=True):
    """One cycle as it was decided. demanded: a stronger class than energy asked for what energy forbids."""

    site: Site
    before: State
    snapshot: Snapshot
    after: State
    decision: Decision
    verdicts: tuple[Verdict, ...]


Law = Callable[["Life", Cycle], None]


class Life(RuleBasedStateMachine):
    """A site, its plant and its controller, whose devices tell the truth or nothing."""

    law: ClassVar[Law]

    @initialize(
        site=sites(),
        socs_pct=st.tuples(*[st.integers(0, 100)] * 3),
        etas_pct=st.tuples(*[st.integers(80, 100)] * 3),
        delay_ms=st.sampled_from([0, 1000]),
    )
    def begin(self, site: Site, socs_pct: tuple[int, ...], etas_pct: tuple[int, ...], delay_ms: int) -> None:
        self.site, self.clock = site, Clock()
        self.record = Commission(site=site.name, fingerprint=fingerprint(site), by="test", at="2026-01-01T00:00:00Z")
        drawn = zip(site.unit, socs_pct, etas_pct, strict=False)
        self.cells = [Cells(unit, soc_pct, eta_pct, delay_ms) for unit, soc_pct, eta_pct in drawn]
        for cells in self.cells:
            cells.at_ms = self.clock.at_ms
        self.load_w, self.demanded = 0, False
        self.cut, self.hidden, self.lies = set[str](), dict[str, set[str]](), dict[str, dict[str, Any]]()
        self.start()
        self.pass_time(1000, 4)

    def start(self) -> None:
        """Start the controller: it knows nothing."""
        self.board, self.state, self.memory = Board(self.site, self.clock), State(), Memory()

    def readings(self) -> list[AnyReading]:
        """Return what the devices would tell."""
        now_ms, told = self.clock.at_ms, list[AnyReading]()
        for n, cells in enumerate(self.cells, 1):
            told.append(an_inverter(cells.power_w, n, now_ms, reactive_var=0))
            told.append(a_battery(cells.soc_bp(), n, now_ms, contactor_closed=True))
        told.append(a_meter(sum(cells.power_w for cells in self.cells) - self.load_w, now_ms))
        return told

    def cycle(self) -> None:
        """Let the board hear, decide, look once more, write."""
        for reading in self.readings():
            if reading.device not in self.cut:
                changes: dict[str, Any] = dict.fromkeys(self.hidden.get(reading.device, ()))
                changes |= self.lies.get(reading.device, {})
                self.board.heard(msgspec.structs.replace(reading, **changes))
        snapshot = self.board.freeze("")
        after, decision = step(self.site, self.state, snapshot)
        verdicts, self.memory = check(self.site, self.record, snapshot, self.memory, decision.commands)
        lived = Cycle(self.site, self.state, snapshot, after, decision, verdicts)
        self.state = after
        self.demanded = self.demanded or any(not s.low_w <= s.power_w <= s.high_w for s in decision.shares)
        type(self).law(self, lived)
        by_inverter = {cells.unit.inverter: cells for cells in self.cells}
        for verdict in verdicts:
            if not verdict.refused:
                by_inverter[verdict.command.device].write(verdict.command.power_w, self.clock.at_ms)

    def let_run(self, elapsed_ms: int) -> None:
        """Let the plant alone run on."""
        self.clock.at_ms += elapsed_ms
        for cells in self.cells:
            cells.run(self.clock.at_ms)

    @rule(elapsed_ms=st.sampled_from([100, 1000, 1000, 1000, 2500]), cycles=st.integers(1, 12))
    def pass_time(self, elapsed_ms: int, cycles: int) -> None:
        for _ in range(cycles):
            self.cycle()
            self.let_run(elapsed_ms)

    @rule(part_pct=st.integers(-100, 100))
    def load_changes(self, part_pct: int) -> None:
        poi = self.site.poi
        self.load_w = (poi.load_max_w if part_pct > 0 else poi.generation_max_w) * part_pct // 100
        self.cycle()

    @rule(
        kind=st.sampled_from(["target", "target", "target", "limit", "cease", "reserve"]),
        domain=st.sampled_from(["battery", "poi"]),
        power_w=st.integers(-31_000, 31_000) | st.sampled_from([-(10**9), -400, 0, 400, 10**9]),
        lease_ms=st.sampled_from([1, 5000, 60_000]),
        room_w=st.integers(0, 9000),
    )
    def order_comes(self, kind: str, domain: str, power_w: int, lease_ms: int, room_w: int) -> None:
        order = a_target(power_w, domain=domain, at_ms=self.clock.at_ms, lease_ms=lease_ms)
        high_w = power_w if kind == "target" else power_w + room_w
        changes = {"name": kind, "kind": kind, "high_w": high_w, "soc_bp": room_w if kind == "reserve" else 0}
        self.board.order(msgspec.structs.replace(order, **changes))
        self.cycle()

    @rule(kind=st.sampled_from(["target", "limit", "cease", "reserve"]))
    def order_is_taken_back(self, kind: str) -> None:
        self.board.withdraw(kind)
        self.cycle()

    @rule(place=st.integers(0, 6))
    def cable_is_cut_or_mended(self, place: int) -> None:
        names = [device.name for device in self.site.device]
        self.cut ^= {names[place % len(names)]}
        self.cycle()

    @rule(kind=st.sampled_from([Inverter, Battery]), place=st.integers(0, 99), n=st.integers(1, 3))
    def datum_is_left_out_or_told_again(self, kind: type[Reading], place: int, n: int) -> None:
        name = f"{kind.__name__.lower()}{n}"
        self.hidden[name] = self.hidden.get(name, set()) ^ {FIELDS[kind][place % len(FIELDS[kind])]}
        self.cycle()

    @rule(n=st.integers(0, 2), part_pct=st.integers(-100, 100))
    def battery_errs_within_what_the_site_file_admits(self, n: int, part_pct: int) -> None:
        room_bp = max(0, 100 * self.site.energy.soc_error_pct - 1)  # what is told is rounded down by up to 1 bp
        self.cells[n % len(self.cells)].bias_bp = room_bp * part_pct // 100
        self.cycle()

    @rule(fault=st.sampled_from(sorted(FAULTS)), place=st.integers(0, 6), stands=st.booleans())
    def link_tells_of_a_fault(self, fault: str, place: int, stands: bool) -> None:
        names = [device.name for device in self.site.device]
        if FAULTS[fault].latches:  # type: ignore[index]
            return
        self.board.noticed(fault, names[place % len(names)], "test" if stands else None)  # type: ignore[arg-type]
        self.cycle()

    @rule(ahead_ms=st.sampled_from([-(10**9), -3000, 86_400_000, 10**11]))
    def wall_clock_jumps(self, ahead_ms: int) -> None:
        self.clock.ahead_ms += ahead_ms
        self.cycle()

    @rule(outage_ms=st.sampled_from([1500, 5000, 61_000]), restarts=st.booleans())
    def controller_hangs_or_dies(self, outage_ms: int, restarts: bool) -> None:
        self.let_run(outage_ms)
        for cells in self.cells:
            if outage_ms > (cells.unit.watchdog_s or 0) * 1000:
                assert cells.power_w == 0
        if restarts:
            self.start()
        self.cycle()


class LyingLife(Life):
    """A site whose devices may tell anything."""

    @rule(device=st.sampled_from(["meter", "inverter1", "battery1"]), telling=st.booleans(), drawn=st.data())
    def device_lies(self, device: str, telling: bool, drawn: st.DataObject) -> None:
        self.lies.pop(device, None)
        if telling:
            power_w = st.integers(-(10**6), 10**6)
            said = {
                "meter": {"power_w": power_w},
                "inverter1": {
                    "power_w": st.none() | power_w,
                    "state": st.sampled_from(["off", "standby", "starting", "run", "fault"]),
                    "remote": st.booleans(),
                    "charge_max_w": st.none() | st.integers(-100, 20_000),
                    "discharge_max_w": st.none() | st.integers(-100, 20_000),
                    "alarms": st.sampled_from([(), ("over temperature",)]),
                },
                "battery1": {
                    "soc_bp": st.none() | st.integers(-500, 70_000),
                    "soh_bp": st.none() | st.integers(-1, 20_000),
                    "voltage_mv": st.none() | st.integers(-1, 10**6),
                    "charge_max_ma": st.none() | st.integers(-(10**6), 10**6),
                    "discharge_max_ma": st.none() | st.integers(-(10**6), 10**6),
                    "charge_allowed": st.none() | st.booleans(),
                    "discharge_allowed": st.none() | st.booleans(),
                    "contactor_closed": st.none() | st.booleans(),
                    "force_charge": st.booleans(),
                    "full_charge_wanted": st.booleans(),
                    "alarms": st.sampled_from([(), ("cell over voltage",)]),
                    "cell_min_mv": st.none() | st.integers(0, 6000),
                    "cell_max_mv": st.none() | st.integers(0, 6000),
                },
            }[device]
            field = drawn.draw(st.sampled_from(sorted(said)))
            self.lies[device] = {field: drawn.draw(said[field])}
        self.cycle()


def live(law: Law, kind: type[Life] = Life, part: int = 1) -> None:
    """Let hypothesis look for a life in which a cycle breaks the law. part: lives to be tried, 2 = half of them."""
    machine = type(kind.__name__, (kind,), {"law": staticmethod(law)})
    run_state_machine_as_test(machine, settings=settings(LIVES, max_examples=LIVES.max_examples // part))
