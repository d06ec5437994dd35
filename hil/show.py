"""One run of the demo: plays the story, asks as the utility, looks at the truth, reads what the controller says.

Twenty times a second the truth is judged, five times a second it is framed for the view.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable

import msgspec
from rich.console import Console
from rich.live import Live

from controller.link.clock import Clock
from controller.model import Decision
from hil.children import used
from hil.faults.words import Fault
from hil.judge import Judge, Truth
from hil.ledger import Ledger, Outcome, delivered_w, rule, unplugged
from hil.report import Point
from hil.run.utility import Order
from hil.stage import Stage
from hil.story import Story, tell
from hil.summary import HISTORY_MAX, Figures, Frame
from hil.view import line, render

ENDLESS_S = 60.0  # the length of one telling where no end is set
TICK_S = 0.05
DRAW_TICKS = 4
LINE_TICKS = 20
ASK_S = 1.0  # the utility repeats a set point this often, so that it is heard
POINTS_MAX = 72_000  # an hour; an endless demo shows its last one
OUTCOMES_MAX = 500
PICTURE_LEFT_S = 2.0  # the moment kept for the README lies this long before the end of its phase


class Show:
    """One run from the first set point to the last."""

    def __init__(self, on: Stage, story: Story, clock: Clock, *, endless: bool) -> None:
        self._on, self._story, self._clock, self._endless = on, story, clock, endless
        self.judge = Judge(on.site)
        self.points: deque[Point] = deque(maxlen=POINTS_MAX)
        self.picture: Frame | None = None
        self.interrupted = False
        self.decisions = self.samples = 0
        self.asked_wh = self.delivered_wh = 0.0
        self._done: deque[Outcome] = deque(maxlen=OUTCOMES_MAX)
        self._ledger = Ledger(story, on.site)
        self._history: deque[tuple[int | None, int]] = deque(maxlen=HISTORY_MAX)
        self._decision: Decision | None = None
        self._begun_ms = clock.now_ms()
        self._order = Order(on.site.utility.lease_s)
        self._last_s = 0.0
        self._done_s = -math.inf  # what the story does up to here is done

    def now_s(self) -> float:
        """Return the time since the run began."""
        return (self._clock.now_ms() - self._begun_ms) / 1000

    @property
    def played_s(self) -> float:
        """Return how long it was played."""
        return self._last_s

    async def play(self, stop: asyncio.Event, console: Console, *, live: bool) -> None:
        """Play the story to its end or until stop is set. Raises ChildError."""
        asking = asyncio.create_task(self._ask())
        try:
            if live and console.is_terminal:
                with Live(console=console, screen=True, auto_refresh=False) as screen:
                    await self._ticks(stop, lambda frame: screen.update(render(frame), refresh=True), DRAW_TICKS)
            else:
                await self._ticks(stop, lambda frame: print(line(frame), file=console.file, flush=True), LINE_TICKS)
        finally:
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking

    def outcomes(self) -> tuple[Outcome, ...]:
        """Return all phases as they stand."""
        return (*self._done, *self._ledger.outcomes(self._last_s))

    def figures(self, cpu_s: float | None) -> Figures:
        """Return what was measured; cpu_s is what the controller's process used over the run."""
        peak = used(self._on.controller.process.pid)
        verdicts = {verdict.invariant: verdict for verdict in self.judge.verdicts()}
        judged = self.judge.figures()
        return Figures(
            start_to_first_control_s=self._on.start_to_first_control_s,
            controller_rss_peak_mb=None if peak is None else peak.rss_peak_mb,
            controller_cpu_pct=None if cpu_s is None else 100 * cpu_s / max(self._last_s, TICK_S),
            decisions=self.decisions,
            samples=self.samples,
            set_points_written=self._on.dispatch.written,
            set_points_failed=self._on.dispatch.failed,
            poi_excursion_s=max(verdicts["poi_export"].worst, verdicts["poi_import"].worst),
            poi_excursion_wh=judged.export_over_wh + judged.import_over_wh,
            asked_wh=self.asked_wh,
            delivered_wh=self.delivered_wh,
        )

    async def _ticks(self, stop: asyncio.Event, draw: Callable[[Frame], None], every_ticks: int) -> None:
        while True:
            t_s = self.now_s()
            if t_s >= self._story.end_s and not self._next_telling(t_s):
                return
            if stop.is_set():
                self.interrupted = True
                return
            self._on.check()
            now, asked_w = self._tick(t_s)
            if self.samples % DRAW_TICKS == 0:
                frame = self._framed(now, asked_w)
                if self.picture is None or _tells_more(frame, self.picture):
                    self.picture = frame
                if self.samples % every_ticks == 0:
                    draw(frame)
            self.samples += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), TICK_S)

    def _next_telling(self, t_s: float) -> bool:
        """Begin the story anew where there is no end. Returns whether it goes on."""
        self._last_s = t_s
        if not self._endless:
            return False
        self._done.extend(self._ledger.outcomes(t_s))
        self._story = tell(ENDLESS_S, self._on.site, t_s)
        self._ledger = Ledger(self._story, self._on.site)
        return True

    def _tick(self, t_s: float) -> tuple[Truth, int | None]:
        """Play, look at the truth, read what the controller says. Return the truth and the order in force."""
        self._play(t_s)
        asked_w = self._order.power_w(t_s)
        now = msgspec.structs.replace(self._on.devices.plant.truth(), t_s=t_s, order_w=asked_w)
        self.judge.sample(now)
        self._ledger.sample(now, asked_w)
        for entry in self._on.follower.poll():
            self._decision = entry.decision
            self.decisions += 1
            self._ledger.decided(entry.decision, (entry.snapshot.now_ms - self._begun_ms) / 1000)
        dt_s, self._last_s = t_s - self._last_s, t_s
        self.asked_wh += (asked_w or 0) * dt_s / 3600
        self.delivered_wh += delivered_w(now) * dt_s / 3600
        self._remember(now, asked_w)
        return now, asked_w

    def _play(self, t_s: float) -> None:
        """Set and break what is due."""
        plant = self._on.devices.plant
        for one in self._story.due(self._done_s, t_s):
            if isinstance(one, Fault):
                plant.arm(one)
            else:
                plant.set(one.name, one.value)
        self._done_s = t_s

    async def _ask(self) -> None:
        """Write the set points as the story has them, again and again so that the utility is heard.

        Whoever joins in by hand goes first: the story's set points wait for as long as another client's stands.
        """
        written_w: int | None = None
        due_s = 0.0
        while True:
            t_s = self.now_s()
            power_w = self._story.asked_w(t_s)
            if t_s >= due_s or power_w not in (None, written_w):
                due_s = t_s + ASK_S
                guest_w = await self._on.dispatch.guest_w()
                if guest_w is not None:
                    written_w = power_w
                    self._order.acknowledged(guest_w, self.now_s())
                    self._ledger.joined(t_s)
                elif power_w is None:
                    written_w = None
                elif await self._on.dispatch.ask(power_w):
                    written_w = power_w
                    self._order.acknowledged(power_w, self.now_s())
            await asyncio.sleep(TICK_S)

    def _remember(self, now: Truth, asked_w: int | None) -> None:
        why = "" if self._decision is None else rule(self._decision.why)
        power_w = delivered_w(now)
        self.points.append(Point(now.t_s, asked_w, power_w, now.poi_w, _soc_pct(now), why, self._faults()))
        if self.samples % DRAW_TICKS == 0:
            self._history.append((asked_w, round(power_w)))

    def _faults(self) -> tuple[str, ...]:
        return () if self._decision is None else tuple(f"{f.fault} {f.device}" for f in self._decision.faults)

    def _framed(self, now: Truth, asked_w: int | None) -> Frame:
        site, decision, phase = self._on.site, self._decision, self._story.phase(now.t_s)
        unit = site.unit[0]
        frame = Frame(
            t_s=now.t_s,
            site=site.name,
            phase_no=self._story.phases.index(phase) + 1,
            phase_count=len(self._story.phases),
            phase_title=phase.title,
            phase_left_s=phase.end_s - now.t_s,
            inverter_w=delivered_w(now),
            load_w=now.load_w,
            pv_w=now.pv_w,
            poi_w=now.poi_w,
            soc_pct=_soc_pct(now),
            bms_plugged=not unplugged(now),
            floor_pct=site.energy.floor_pct,
            reserve_pct=site.energy.reserve_pct,
            ceiling_pct=site.energy.ceiling_pct,
            export_max_w=site.poi.export_max_w,
            import_max_w=site.poi.import_max_w,
            nameplate_w=max(unit.charge_max_w, unit.discharge_max_w),
            asked_w=asked_w,
            history=tuple(self._history),
            history_s=len(self._history) * DRAW_TICKS * TICK_S,
        )
        if decision is None:
            return frame
        return msgspec.structs.replace(
            frame,
            target_w=decision.target_w,
            mode=decision.mode,
            why=decision.why,
            because=because(decision),
            faults=self._faults(),
        )


def _soc_pct(truth: Truth) -> float:
    """Return the energy in all batteries as a share of what they can hold."""
    return 100 * sum(unit.energy_wh for unit in truth.units) / sum(unit.capacity_wh for unit in truth.units)


def _tells_more(frame: Frame, than: Frame) -> bool:
    """Return whether a frame is the better picture of the run: the export limit binds, and not only just."""
    if rule(frame.why) != "poi_limit" or frame.poi_w < 0.9 * frame.export_max_w:
        return False
    return rule(than.why) != "poi_limit" or frame.phase_left_s > PICTURE_LEFT_S


def because(decision: Decision) -> str:
    """Return the words of what set the target: of the wish, of the end that binds, or of the ramp."""
    if decision.why == "wish":
        return decision.wish_because
    if decision.why == "ramp":
        return f"on the way to {decision.wish_w:+d} W at the site's ramp rate"
    bound = next(
        (b for b in (decision.high, decision.low) if b.rule == decision.why and b.value_w == decision.target_w), None
    )
    return decision.why if bound is None else bound.because
