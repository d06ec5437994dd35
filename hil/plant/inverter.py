"""A battery inverter: command path, clips, operating states, reversion timers, energy.

The path of a set point: latch, dead time, ramp, first-order response, clip. The clips, in their order: state and
contactor, BMS (where the inverter hears it), heat, DC voltage, nameplate, which hold the path itself, so that the way
back from them begins at once; then the PQ circle, AC current and momentary cessation, which cut what flows.

A step is cut where a timer acts and solved in closed form between, hence right for any length; only while a function
of the grid code or the ramp of enter service shapes the power, it is walked in slices of SLICE_S.
"""

from collections import deque
from math import ceil, inf

from hil.plant.circle import Circle
from hil.plant.converter import Converter
from hil.plant.functions import lagged
from hil.plant.grid_support import GridSupport
from hil.plant.grid_watch import GridWatch
from hil.plant.inverter_spec import AT_REST, InverterSpec, Limit, Operation, Reactive, SetPoint, State, Terminals
from hil.plant.power_path import NEAR_W, PowerPath
from hil.plant.told import Told

__all__ = ["Inverter", "InverterSpec", "Limit", "Operation", "Reactive", "SetPoint", "State", "Terminals"]

PENDING_MAX = 64  # orders on their way; the newest takes the place of the one before when there are more
SLICE_S = 0.05
SOON_S = 1.0  # a timer that acts within this makes the inverter busy
EARLY_S = 1e-6  # a time that is a sum of steps may end this much before the time it stands for


class Inverter:
    """The state. ac_w is positive toward the grid, dc_w positive out of the battery; it begins in run, at 0 W.

    command_w is the set point in force; what flows is ac_w and reactive_var. The counters take the power at the end
    of each step for the whole of it, as battery and meter do.

    Knobs: ignores (set points are taken and not followed), local (held at the device, at 0 W), lost (dead; what it was
    told is forgotten), derate_pct (of the rating, and nobody is told), sign (-1 turns set points round).
    tripped: why it last stopped by itself, a name of grid_watch.TRIPS, "permit" or "fault"; "" after a start.
    permit_service (SunSpec 703.ES): without it the inverter stops and does not enter service.
    """

    def __init__(self, spec: InverterSpec | None = None) -> None:
        self.spec = spec = spec or InverterSpec()
        self.told = Told()
        self.writes = 0  # registers written by clients; the device counts them
        self.set_point_now, self.limit_now, self.reactive_now = SetPoint(), Limit(), Reactive()
        self.reverted = self.limit_reverted = self.reactive_reverted = False  # a timer acted; who shows it clears it
        self.isolation_kohm = spec.isolation_kohm
        self.ramp_w_per_s = spec.ramp_w_per_s
        self.permit_service = True
        self.ignores = self.local = self.lost = False
        self.derate_pct, self.sign = 100.0, 1
        self.state: State = "run"
        self.tripped = ""
        self.ac_w = self.reactive_var = self.dc_w = 0.0
        self.injected_wh = self.absorbed_wh = self.dc_out_wh = self.dc_in_wh = 0.0
        self._time_s = 0.0
        self._timers: dict[str, float] = {}  # what acts when
        self._pending: deque[tuple[float, float, float, Reactive]] = deque()  # when it acts, set point, limit in W
        self._ordered_w, self._limit_w = 0.0, inf  # past the dead time
        self._followed_w = self._goal_w = self._low_w = self._high_w = 0.0
        self._path = PowerPath(spec.response_s)
        self._power_w = 0.0  # shaped, clipped
        self._flow = 1.0  # the share that flows: 0 in momentary cessation, back to 1 after
        self._entered_s: float | None = None  # since when the ramp of enter service holds power back
        self._waits = self._was_lost = False  # waits: for nothing but the grid, to enter service
        self._ramps = True  # it has been out of service: enter it along the ramp
        self._terminals = AT_REST
        self._felt = (1.0, spec.nominal_hz)  # voltage and frequency of the last slice
        self._converter = Converter(spec)
        self._support = GridSupport(spec.functions, spec.nominal_hz, spec.rated_w / spec.rated_va)
        self._circle = Circle(spec, self._support)
        self._watch = GridWatch(spec.functions, self._timers)
        self._dead_s = 0.0 if spec.instant else spec.dead_s
        self._draw()
        self._stirred = False
        self._knobs_seen = self._knobs()

    @property
    def command_w(self) -> float:
        """Return the set point in force, 0 W where none is."""
        idle = self.local or self.state in ("off", "standby") or not self.set_point_now.enabled
        return 0.0 if idle else self.set_point_now.power_w

    @property
    def command_var(self) -> float:
        """Return the reactive set point in force, 0 var where none is."""
        idle = self.local or self.state in ("off", "standby") or not self.reactive_now.enabled
        return 0.0 if idle else self.reactive_now.reactive_var

    @property
    def connected(self) -> bool:
        """Return whether it is connected to a grid that is there: running, or in standby."""
        return self.state in ("run", "standby") and self._terminals.grid_v_pu > 0

    @property
    def cabinet_c(self) -> float:
        """Return the temperature inside."""
        at_c = self._converter.cabinet_c
        return self._terminals.ambient_c if at_c is None else at_c

    @property
    def reverts_s(self) -> float:
        """Return the time left on the set point's timer, 0 without one."""
        return max(0.0, self._timers.get("set_point", 0.0) - self._time_s)

    @property
    def limit_reverts_s(self) -> float:
        """Return the time left on the limit's timer, 0 without one."""
        return max(0.0, self._timers.get("limit", 0.0) - self._time_s)

    @property
    def reactive_reverts_s(self) -> float:
        """Return the time left on the reactive set point's timer, 0 without one."""
        return max(0.0, self._timers.get("reactive", 0.0) - self._time_s)

    @property
    def busy(self) -> bool:
        """Whether small steps are needed: something moves, or will within SOON_S."""
        return self._stirred or self._knobs() != self._knobs_seen

    def set_point(self, set_point: SetPoint) -> None:
        """Take the WSet group: any write starts its timer anew while it is enabled, 0 s stops it (SunSpec 704)."""
        if not self.lost:
            self.set_point_now = set_point
            self._arm("set_point", set_point)

    def limit(self, limit: Limit) -> None:
        """Take the WMaxLimPct group, with its timer as for the set point."""
        if not self.lost:
            self.limit_now = limit
            self._arm("limit", limit)

    def reactive(self, reactive: Reactive) -> None:
        """Take the VarSet group, with its timer as for the set point."""
        if not self.lost:
            self.reactive_now = reactive
            self._arm("reactive", reactive)

    def operate(self, operation: Operation) -> None:
        """Stop, start (which also ends standby and a fault that waits for it), or go to standby (SunSpec 715)."""
        if self.lost:
            return
        if operation != "start":
            self._halt("off" if operation == "stop" else "standby")
        elif self.state == "standby":
            self._start(self.spec.wake_s)
            self._ramps = False
        elif self.state == "off" or (self.state == "fault" and not self._waits):
            self._start(self.spec.startup_s)

    def trip(self, restart_s: float | None = None) -> None:
        """Fall into a fault of its own and start again after restart_s; None = only when told to.

        What is off or in standby has nothing to trip.
        """
        if self.state in ("off", "standby"):
            return
        self._fail("fault")
        if restart_s is not None:
            self._timers["restart"] = self._time_s + restart_s

    def revert_now(self) -> bool:
        """Let the reversion timers that run act before their time; return whether any did."""
        early = [name for name in ("set_point", "limit", "reactive") if name in self._timers]
        for name in early:
            del self._timers[name]
            self._act(name)
        return bool(early)

    def dc_of_ac_w(self, ac_w: float, reactive_var: float = 0.0) -> float:
        """Return the power out of the battery for a power toward the grid."""
        return self._converter.dc_of_ac_w(ac_w, reactive_var)

    def ac_of_dc_w(self, dc_w: float, reactive_var: float = 0.0) -> float:
        """Return the power toward the grid for a power out of the battery; at 0 W the grid covers the losses."""
        return self._converter.ac_of_dc_w(dc_w, reactive_var)

    def step(self, dt_s: float, terminals: Terminals) -> None:
        """Run for dt_s with these terminals."""
        self._terminals = terminals
        if self.lost != self._was_lost:
            self._lose()
        self._look()
        end_s, timers = self._time_s + dt_s, self._timers
        while timers:
            due_s = min(timers.values())
            if due_s > end_s + EARLY_S:
                break
            self._move(due_s - self._time_s)
            self._time_s = max(self._time_s, due_s)
            for name in [name for name, at_s in timers.items() if at_s <= due_s]:
                if timers.pop(name, None) is not None:
                    self._act(name)
            self._look()
        self._move(end_s - self._time_s)
        self._time_s = end_s
        self._draw()
        self._count(dt_s)
        self._stirred = self._moves() or (bool(timers) and min(timers.values()) <= end_s + SOON_S)
        self._knobs_seen = self._knobs()

    def _arm(self, name: str, group: SetPoint | Limit | Reactive) -> None:
        """Start or stop a group's timer and send all groups on their way."""
        if group.enabled and group.timer_s > 0:
            self._timers[name] = self._time_s + group.timer_s
        else:
            self._timers.pop(name, None)
        self._send()

    def _send(self) -> None:
        """Put what the groups ask now on its way through the dead time."""
        power_w = self.set_point_now.power_w if self.set_point_now.enabled else 0.0
        limit_w = self.spec.rated_w * self.limit_now.pct / 100 if self.limit_now.enabled else inf
        if len(self._pending) == PENDING_MAX:
            self._pending.pop()
        self._pending.append((self._time_s + self._dead_s, power_w, limit_w, self.reactive_now))
        self._timers["latch"] = self._pending[0][0]
        self._stirred = True

    def _act(self, name: str) -> None:
        """Do what a timer is for."""
        if name == "latch":
            _, self._ordered_w, self._limit_w, self._circle.order = self._pending.popleft()
            if self._pending:
                self._timers["latch"] = self._pending[0][0]
        elif name == "set_point":
            self.set_point_now = self.set_point_now.expired()
            self.reverted = True
            self._send()
        elif name == "limit":
            self.limit_now = self.limit_now.expired()
            self.limit_reverted = True
            self._send()
        elif name == "reactive":
            self.reactive_now = self.reactive_now.expired()
            self.reactive_reverted = True
            self._send()
        elif name == "restart":
            self._start(self.spec.startup_s)
        elif name == "started":
            self._waits = True
        elif name == "enter":
            self._enter()
        elif name == "cease":
            self._watch.ceased = True
            self._flow = 0.0
        else:
            self._fail(name)
            self._waits = True

    def _start(self, delay_s: float) -> None:
        """Begin to start."""
        self._halt("starting")
        self.tripped = ""
        self._timers["started"] = self._time_s + delay_s

    def _enter(self) -> None:
        """Enter service."""
        self.state, self.tripped, self._waits = "run", "", False
        if self._ramps and self.spec.functions.enter_service.ramp_s > 0:
            self._entered_s = self._time_s

    def _fail(self, why: str) -> None:
        """Stop by itself."""
        self._halt("fault")
        self.tripped = why

    def _halt(self, state: State) -> None:
        """Leave run or whatever it was: nothing flows, and what moved is forgotten."""
        self.state, self._waits, self._entered_s = state, False, None
        self._ramps = True
        for name in ("restart", "started", "enter"):
            self._timers.pop(name, None)
        self._watch.stop()
        self._circle.reset()
        self._path.stop()
        self._power_w, self._flow = 0.0, 1.0
        self._stirred = True

    def _lose(self) -> None:
        """Die with all that was told, or come back without."""
        self._was_lost = self.lost
        if self.lost:
            self._timers.clear()
            self._pending.clear()
            self.set_point_now, self.limit_now, self.reactive_now = SetPoint(), Limit(), Reactive()
            self._ordered_w, self._limit_w, self._circle.order = 0.0, inf, Reactive()
            self._halt("off")
        else:
            self._start(self.spec.startup_s)

    def _knobs(self) -> tuple[bool, bool, bool, float, int, bool]:
        return self.ignores, self.local, self.lost, self.derate_pct, self.sign, self.permit_service

    def _look(self) -> None:
        """See what holds now: the grid's bounds, the clips, where power is to go."""
        terminals = self._terminals
        off_hz = terminals.grid_hz - self.spec.nominal_hz
        if self.state == "run" and not self.permit_service:
            self._fail("permit")
            self._waits = True
        self._watch.permits = self.permit_service and not self.lost
        self._watch.waits = self._waits
        self._watch.look(self._time_s, terminals.grid_v_pu, off_hz, energizes=self.state == "run")
        if not self.ignores:
            self._followed_w = self._ordered_w
        self._clip()

    def _clip(self) -> None:
        """Set the bounds of power, and the goal inside them."""
        factor = self.derate_pct / 100
        if self._entered_s is not None:
            risen_s = self._time_s - self._entered_s
            factor = min(factor, risen_s / self.spec.functions.enter_service.ramp_s)
        self._low_w, self._high_w = self._converter.clips_w(self._terminals, self.reactive_var, factor)
        wanted_w = 0.0 if self.local else self.sign * self._followed_w
        if -self.spec.min_w < wanted_w < self.spec.min_w:
            wanted_w = 0.0
        self._goal_w = min(self._high_w, max(self._low_w, min(wanted_w, self._limit_w)))

    def _move(self, dt_s: float) -> None:
        """Move power for dt_s; no timer acts inside."""
        if dt_s <= 0 or self.state != "run":
            return
        if not self._circle.enabled and self._entered_s is None and self._flow == 1.0:
            self._follow(dt_s)
            radius_va = self._converter.radius_va(self._terminals.grid_v_pu)
            self._power_w = min(radius_va, max(-radius_va, self._path.at_w))
            return
        felt = (self._terminals.grid_v_pu, self._terminals.grid_hz)
        slices = ceil(dt_s / SLICE_S - EARLY_S) if felt != self._felt or self._moves() else 1
        self._felt = felt
        for _ in range(slices):
            self._shape(dt_s / slices)

    def _follow(self, dt_s: float) -> None:
        """Move along the path for dt_s."""
        if self.spec.instant:
            self._path.stop(self._goal_w)
        else:
            self._path.glide(dt_s, self._goal_w, self._low_w, self._high_w, self.ramp_w_per_s)

    def _shape(self, dt_s: float) -> None:
        """Move through one slice with the grid's functions and the ramp of enter service."""
        self._time_s += dt_s
        spec, terminals, support = self.spec, self._terminals, self._support
        if self._entered_s is not None:
            self._clip()
            if self._time_s - self._entered_s >= spec.functions.enter_service.ramp_s - EARLY_S:
                self._entered_s = None
        self._follow(dt_s)
        power_w = self._path.at_w
        if support.enabled:
            off_hz = terminals.grid_hz - spec.nominal_hz
            path_pu, now_pu = power_w / spec.rated_w, self._power_w / spec.rated_w
            power_w = support.power_pu(dt_s, path_pu, now_pu, terminals.grid_v_pu, off_hz) * spec.rated_w
            power_w = min(self._high_w, max(self._low_w, power_w))
        radius_va = self._converter.radius_va(terminals.grid_v_pu)
        self._power_w = self._circle.fit(dt_s, power_w, radius_va, terminals.grid_v_pu)
        if not self._watch.ceased and self._flow < 1.0:
            self._flow = lagged(self._flow, 1.0, dt_s, 0.0 if spec.instant else spec.response_s)
            self._flow = 1.0 if (1.0 - self._flow) * spec.rated_w < NEAR_W else self._flow

    def _moves(self) -> bool:
        """Return whether power is on its way somewhere."""
        if self.state != "run":
            return False
        on_way = self._path.at_w != self._goal_w or self._path.ramp_w != self._goal_w
        return on_way or self._support.moving or self._circle.moving or self._entered_s is not None or self._flow != 1.0

    def _draw(self) -> None:
        """Set what flows on both sides; without a battery the grid feeds the inverter."""
        closed, converter = self._terminals.closed, self._converter
        self.ac_w = self.reactive_var = self.dc_w = 0.0
        if self.state == "run" and closed:
            self.ac_w, self.reactive_var = self._power_w * self._flow, self._circle.reactive_var * self._flow
            self.dc_w = converter.dc_of_ac_w(self.ac_w, self.reactive_var)
        elif self.state != "off":
            need_w = converter.loss_w if self.state == "starting" else converter.standby_w
            if closed:
                self.dc_w = need_w
            elif self._terminals.grid_v_pu > 0 and not self._watch.ceased:
                self.ac_w = converter.idle_w if self.state == "run" else -need_w

    def _count(self, dt_s: float) -> None:
        """Count the energy of a step and warm the cabinet."""
        hours = dt_s / 3600
        if self.ac_w > 0:
            self.injected_wh += self.ac_w * hours
        else:
            self.absorbed_wh -= self.ac_w * hours
        if self.dc_w > 0:
            self.dc_out_wh += self.dc_w * hours
        else:
            self.dc_in_wh -= self.dc_w * hours
        self._converter.warm(dt_s, self.dc_w - self.ac_w, self._terminals.ambient_c)
