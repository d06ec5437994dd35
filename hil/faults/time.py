"""Faults of time: what the wall clock does, and what a machine that stands still does to the controller."""

from collections.abc import Callable
from typing import Any, Protocol

from hil.clock import VirtualClock
from hil.faults.bench import Standing
from hil.faults.words import LOCKSTEP, Armed, Heal, Kind, Param, Verb
from hil.run.supervisor import Supervisor

CLOCK: frozenset[Kind] = frozenset(("clock",))
CONTROLLER: frozenset[Kind] = frozenset(("controller",))
DAY_S = 86_400.0
FAR_S = 4e9  # seconds, beyond what 32 bits hold


class Timed(Protocol):
    """What these verbs need of a bench."""

    @property
    def clock(self) -> VirtualClock: ...
    @property
    def supervisor(self) -> Supervisor: ...


def _step(bench: Timed, armed: Armed) -> Heal:
    by_s = armed.number("by_s")
    return _set(bench, armed, lambda clock: clock.step(by_s))


def _boot(bench: Timed, armed: Armed) -> Heal:
    utc_ms = round(armed.number("utc_s") * 1000)
    bench.supervisor.kill()
    return _set(bench, armed, lambda clock: clock.boot(utc_ms))


def _set(bench: Timed, armed: Armed, change: Callable[[VirtualClock], None]) -> Heal:
    """Set the wall clock wrong; healed, it is set right again at once, as by the first answer of a time server."""
    clock = bench.clock
    right_ms = clock.utc_ms()
    change(clock)
    off_ms = clock.utc_ms() - right_ms
    if off_ms:
        armed.bit(f"the wall clock is set by {off_ms / 1000:+.1f} s")
    return lambda: clock.step(-off_ms / 1000)


def _drift(bench: Timed, armed: Armed) -> Heal:
    """Let the wall clock drift, biting with every millisecond; healed, it runs right and stays as far off as it is."""
    clock, us_per_s = bench.clock, armed.number("us_per_s")
    begun_ms, offset_ms, told_ms = clock.now_ms(), clock.utc_ms() - clock.now_ms(), 0

    def look() -> None:
        nonlocal told_ms
        off_ms = clock.utc_ms() - clock.now_ms() - offset_ms
        if off_ms != told_ms:
            told_ms = off_ms
            armed.bit(f"{off_ms:+d} ms off after {(clock.now_ms() - begun_ms) / 1000:.0f} s")

    clock.drift(clock.us_per_s + us_per_s)
    return Standing(lambda: clock.drift(clock.us_per_s - us_per_s), look)


def _stall(bench: Timed, armed: Armed) -> Heal:
    """Stall the controller. It goes on by itself, so healing has nothing to do."""
    if bench.supervisor.process is not None:
        stall_s = armed.number("stall_s")
        bench.supervisor.stall(stall_s, watched=bool(armed.number("watched")))
        armed.bit(f"nothing of the controller runs for {stall_s:g} s")
    return lambda: None


def _verb(
    name: str, says: str, on: frozenset[Kind], begin: Callable[[Any, Armed], Heal], params: dict[str, Param]
) -> Verb:
    return Verb(name=name, layer="time", says=says, on=on, begin=begin, params=params, modes=LOCKSTEP)


VERBS: tuple[Verb, ...] = (
    _verb(
        "clock_step",
        "sets the wall clock forward or back; healed, it is set right again",
        CLOCK,
        _step,
        {"by_s": Param(default=3600.0, low=-FAR_S, high=FAR_S, unit="s", says="how far; a leap second is -1")},
    ),
    _verb(
        "clock_drift",
        "lets the wall clock run fast or slow",
        CLOCK,
        _drift,
        {"us_per_s": Param(default=200.0, low=-1e5, high=1e5, unit="us/s", says="how much; the same number in ppm")},
    ),
    _verb(
        "clock_boot",
        "starts the controller anew on a machine without a clock of its own; healed, it is set right",
        CLOCK,
        _boot,
        {"utc_s": Param(default=0.0, low=0.0, high=FAR_S, unit="s", says="what the clock says then, since 1970")},
    ),
    _verb(
        "stall",
        "nothing of the controller runs: a blocked loop, or a machine that stands still; its time goes on",
        CONTROLLER,
        _stall,
        {
            "stall_s": Param(default=3.0, low=0.0, high=DAY_S, unit="s", says="for so long"),
            "watched": Param(default=False, says="whether its watchdog runs on meanwhile"),
        },
    ),
)
