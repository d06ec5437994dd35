"""The ledger: per phase, what was asked, what was delivered, why not, and whether the phase really happened.

Laws:
- A phase that did not bite is a failure of the run: a story without its event proves nothing.
- Asked is what the utility wrote and was acknowledged, delivered is the plant's true AC power; the rule that took the
  difference is the controller's own word (the decision's `why`).
"""

from collections import Counter
from collections.abc import Callable

import msgspec

from controller.model import Decision, Site
from hil.judge import IDLE_W, Truth
from hil.story import Phase, Story

NEAR_W = 300  # a set point counts as reached this close
SETTLED_PCT = 80  # of the set points must have been reached before the next one came
STOPPED_PCT = 10  # of what is asked: less than this is "stopped"
BACK_S = 9.0  # reconnecting, a frame, and the time the fault must be gone; a shorter story ends before
TAIL_S = 0.6  # the end of a phase, by which things must stand
SIGNAL_STEPS_MIN = 2
MOVING = "still moving"  # no rule is in the way; the power is on its way to what is asked


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One phase at the end. Energies are signed like power: positive went toward the grid."""

    name: str
    title: str
    must: str  # what had to happen
    start_s: float
    end_s: float
    asked_wh: float
    delivered_wh: float
    asked_mean_w: float
    delivered_mean_w: float
    missed_wh: float  # the sum of all differences, whatever their sign
    why_not: tuple[tuple[str, float], ...]  # (rule, Wh it took), the greatest first
    bit: bool | None  # None: it was not played to its end, or somebody joined in by hand
    seen: str  # what proves it, or what was missing
    joined: bool = False  # another client's set point stood for a part of it


class Tally:
    """One phase while it is played."""

    def __init__(self, phase: Phase, site: Site) -> None:
        self.phase = phase
        self.site = site
        self.rules: Counter[str] = Counter()
        self.faults: set[str] = set()
        self.mode = "no"
        self.steps = self.steps_reached = 0
        self.pulled = self.came_back = False
        self.plugged_s: float | None = None  # when the cable was in again
        self.told_s = 0.0  # when the last decision was made
        self.pulled_w = 0.0  # the least power while the cable was out
        self.tail_w: list[float] = []  # bounded by the samples of TAIL_S
        self.last_truth: Truth | None = None
        self.last_asked_w: int | None = None
        self.joined = False  # somebody's own set point stood for a part of it
        self._seconds = self._asked_wh = self._delivered_wh = self._missed_wh = 0.0
        self._took_wh: dict[str, float] = {}

    def sample(self, now: Truth, asked_w: int | None, dt_s: float, why: str) -> None:
        """Take one moment of the plant; why: the rule that set its power."""
        hours = dt_s / 3600
        power_w = delivered_w(now)
        missed_w = 0.0 if asked_w is None else abs(asked_w - power_w)
        self._seconds += dt_s
        self._asked_wh += (asked_w or 0) * hours
        self._delivered_wh += power_w * hours
        self._missed_wh += missed_w * hours
        if missed_w > 0:
            self._took_wh[why] = self._took_wh.get(why, 0.0) + missed_w * hours
        self._note_steps(asked_w)
        if unplugged(now):
            self.pulled_w = abs(power_w) if not self.pulled else min(self.pulled_w, abs(power_w))
            self.pulled = True
        elif self.pulled and self.plugged_s is None:
            self.plugged_s = now.t_s
        if now.t_s >= self.phase.end_s - TAIL_S:
            self.tail_w.append(power_w)
        self.last_truth, self.last_asked_w = now, asked_w

    def decided(self, decision: Decision, t_s: float) -> None:
        """Take a decision made during the phase."""
        self.rules[rule(decision.why)] += 1
        self.faults |= {standing.fault for standing in decision.faults}
        self.mode = decision.mode
        self.decided_later(decision, t_s)

    def decided_later(self, decision: Decision, t_s: float) -> None:
        """Take a decision made during the phase or after it: some faults clear only then."""
        self.told_s = t_s
        faults = {standing.fault for standing in decision.faults}
        if self.plugged_s is not None and "battery_stale" in self.faults and "battery_stale" not in faults:
            self.came_back = True

    def outcome(self, complete: bool) -> Outcome:
        """Return the phase as it stands; complete: it was played to its end."""
        bit, seen = _PROOFS[self.phase.name](self)
        if self.joined:
            complete, seen = complete and bit, f"{seen}; somebody joined in by hand, so it is not asked for"
        hours = max(self._seconds, 1e-9) / 3600
        took = sorted(self._took_wh.items(), key=lambda item: -item[1])
        return Outcome(
            name=self.phase.name,
            title=self.phase.title,
            must=self.phase.must,
            start_s=self.phase.start_s,
            end_s=self.phase.end_s,
            asked_wh=self._asked_wh,
            delivered_wh=self._delivered_wh,
            asked_mean_w=self._asked_wh / hours,
            delivered_mean_w=self._delivered_wh / hours,
            missed_wh=self._missed_wh,
            why_not=tuple((taker, wh) for taker, wh in took[:2] if wh >= 0.05),
            bit=bit if complete else None,
            seen=seen if complete or self.joined else "not played to its end",
            joined=self.joined,
        )

    def tail_mean_w(self) -> float | None:
        """Return the mean power at the end of the phase, None if it never came to that."""
        return sum(self.tail_w) / len(self.tail_w) if self.tail_w else None

    def _note_steps(self, asked_w: int | None) -> None:
        before = self.last_truth
        if before is None or self.last_asked_w is None or asked_w == self.last_asked_w:
            return
        self.steps += 1
        self.steps_reached += abs(delivered_w(before) - self.last_asked_w) <= NEAR_W


def delivered_w(truth: Truth) -> float:
    """Return what the units deliver together."""
    return sum(unit.ac_w for unit in truth.units)


def unplugged(truth: Truth) -> bool:
    """Tell whether a battery cannot be heard because of its cable."""
    return any(not truth.cut.isdisjoint(unit.batteries) for unit in truth.units)


def rule(why: str) -> str:
    """Return the rule's name without the unit it stands for."""
    return why.partition("(")[0]


class Ledger:
    """All phases of one telling of the story."""

    def __init__(self, story: Story, site: Site) -> None:
        self._tallies = tuple(Tally(phase, site) for phase in story.phases)
        self._last_s: float | None = None
        self._why = MOVING

    def sample(self, now: Truth, asked_w: int | None) -> None:
        """Take one moment of the plant into the phase that is on."""
        dt_s = 0.0 if self._last_s is None else now.t_s - self._last_s
        self._last_s = now.t_s
        for tally in self._tallies:
            if tally.phase.start_s <= now.t_s < tally.phase.end_s:
                tally.sample(now, asked_w, dt_s, self._why)

    def decided(self, decision: Decision, t_s: float) -> None:
        """Take a decision that was made at t_s."""
        self._why = MOVING if decision.why == "wish" else rule(decision.why)
        for tally in self._tallies:
            if tally.phase.start_s <= t_s < tally.phase.end_s:
                tally.decided(decision, t_s)
            elif tally.phase.end_s <= t_s:
                tally.decided_later(decision, t_s)

    def joined(self, t_s: float) -> None:
        """Note that the set point of another client stands."""
        for tally in self._tallies:
            if tally.phase.start_s <= t_s < tally.phase.end_s:
                tally.joined = True

    def outcomes(self, t_s: float) -> tuple[Outcome, ...]:
        """Return all phases as they stand at t_s."""
        return tuple(tally.outcome(t_s >= tally.phase.end_s) for tally in self._tallies)


def _follow(tally: Tally) -> tuple[bool, str]:
    reached = 100 * tally.steps_reached >= SETTLED_PCT * tally.steps
    return (
        tally.steps >= SIGNAL_STEPS_MIN and reached,
        f"{tally.steps_reached} of {tally.steps} set points were reached before the next one came",
    )


def _reserve(tally: Tally) -> tuple[bool, str]:
    end_w, asked_w = tally.tail_mean_w(), tally.last_asked_w
    if not tally.rules["customer_reserve"]:
        return False, "customer_reserve never was the binding rule"
    if end_w is None or asked_w is None:
        return False, "nothing was asked, or the end was not sampled"
    stopped = end_w <= asked_w * STOPPED_PCT / 100
    return stopped, f"customer_reserve bound; {end_w:.0f} W of the {asked_w} W asked were left at the end"


def _export(tally: Tally) -> tuple[bool, str]:
    end_w, asked_w, now = tally.tail_mean_w(), tally.last_asked_w, tally.last_truth
    if not tally.rules["poi_limit"]:
        return False, "poi_limit never was the binding rule"
    if end_w is None or asked_w is None or now is None:
        return False, "nothing was asked, or the end was not sampled"
    would_w = asked_w + now.pv_w - now.load_w
    limit_w = tally.site.poi.export_max_w
    return (
        would_w > limit_w and end_w < asked_w,
        f"poi_limit bound; the {asked_w} W asked would have fed in {would_w:.0f} W where {limit_w} W are allowed",
    )


def _bms(tally: Tally) -> tuple[bool, str]:
    if not tally.pulled:
        return False, "the cable was never out"
    if "battery_stale" not in tally.faults:
        return False, "the controller never took the battery for silent"
    since_s = 0.0 if tally.plugged_s is None else tally.told_s - tally.plugged_s
    back = "it came back" if tally.came_back else f"not back {since_s:.1f} s after the cable"
    return (
        tally.pulled_w <= IDLE_W and (tally.came_back or since_s < BACK_S),
        f"battery_stale; {tally.pulled_w:.0f} W at the least while pulled; {back}",
    )


def _silence(tally: Tally) -> tuple[bool, str]:
    if "utility_silent" not in tally.faults:
        return False, "the controller never took the utility for silent"
    over = tally.mode != "follow" and tally.last_asked_w is None
    return over, f"utility_silent; the {tally.mode} program took over"


_PROOFS: dict[str, Callable[[Tally], tuple[bool, str]]] = {
    "follow": _follow,
    "reserve": _reserve,
    "export": _export,
    "bms": _bms,
    "silence": _silence,
}
