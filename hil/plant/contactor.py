"""The contactor of a battery: pre-charge, close, open, and a pause before it is tried again.

    open --(wanted, after dwell_s)--> precharge --(precharge_s)--> closing --(close_s)--> closed
    closed --(not wanted)--> opening --(open_s)--> open;   precharge, closing --(not wanted)--> open

Current flows while it is closed and until it has opened; what flows through the pre-charge resistor is not counted.
"""

from typing import Annotated, Literal

import msgspec

Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=3600.0)]
State = Literal["open", "precharge", "closing", "closed", "opening"]
NEXT: dict[State, State] = {"precharge": "closing", "closing": "closed", "opening": "open"}
LATE_S = 1e-9  # a time that is a sum of steps may end this much early
NEVER_S = float("inf")


class ContactorSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times in s. when_silent: what the BMS does while nobody is heard on the bus for open_after_s.

    "open" opens until someone is heard again (Battery-Emulator, SMA: 60 s); "pause" leaves the contactor alone.
    """

    precharge_s: Seconds = 2.0
    close_s: Seconds = 0.1
    open_s: Seconds = 0.03
    dwell_s: Seconds = 5.0
    open_after_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 60.0
    when_silent: Literal["open", "pause"] = "open"
    starts: Literal["open", "closed"] = "closed"


class Contactor:
    """state, and left_s until it ends by itself; an open one counts down its dwell."""

    def __init__(self, spec: ContactorSpec) -> None:
        self._lasts_s = {
            "open": spec.dwell_s,
            "precharge": spec.precharge_s,
            "closing": spec.close_s,
            "opening": spec.open_s,
            "closed": 0.0,
        }
        self.state: State = spec.starts
        self.left_s = 0.0

    @property
    def closed(self) -> bool:
        """Whether current can flow."""
        return self.state in ("closed", "opening")

    @property
    def due_s(self) -> float:
        """Return the time until the state ends by itself, NEVER_S where it does not."""
        return self.left_s if self.left_s > LATE_S else NEVER_S

    def step(self, dt_s: float, wanted: bool) -> None:
        """Let dt_s pass, at most due_s, then do what is wanted now: true is closed."""
        self.left_s = max(0.0, self.left_s - dt_s)
        while self.left_s <= LATE_S and self.state in NEXT:
            self._enter(NEXT[self.state])
        if wanted and self.state == "open" and self.left_s <= LATE_S:
            self._enter("precharge")
        elif not wanted and self.state != "open" and self.state != "opening":
            self._enter("opening" if self.state == "closed" else "open")

    def _enter(self, state: State) -> None:
        self.state, self.left_s = state, self._lasts_s[state]
