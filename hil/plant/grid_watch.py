"""What an inverter does when the grid leaves its bounds: trip, cease for a moment, wait to enter service.

Source: IEEE 1547-2018, trip 6.4.1 and 6.5.1, momentary cessation 6.4.2, enter service 4.10.
"""

from math import inf

from hil.plant.functions import Functions, beyond, ceases, serves

TRIPS = ("uv1", "uv2", "ov1", "ov2", "uf1", "uf2", "of1", "of2")


class GridWatch:
    """The timers that voltage and frequency start and stop.

    timers: what acts when, in s, shared with the inverter; the names of TRIPS, "cease" and "enter" are put there.
    permits: it is allowed to enter service; waits: nothing but the grid holds it back; ceased: momentary cessation
    holds. At the start the grid counts as sound since ever.
    """

    def __init__(self, functions: Functions, timers: dict[str, float]) -> None:
        self._functions, self._timers = functions, timers
        self._calm_v, self._calm_hz = _calm(functions)
        self._alarmed = self.ceased = self.waits = False
        self.permits = True
        self._sound_s = -inf  # since when it may enter service but for the delay; inf = it may not

    def look(self, now_s: float, v_pu: float, off_hz: float, *, energizes: bool) -> None:
        """Start and stop timers. energizes: power may flow."""
        if not (self.permits and serves(self._functions.enter_service, v_pu, off_hz)):
            self._sound_s = inf
        elif self._sound_s == inf:
            self._sound_s = now_s
        if energizes:
            low_v, high_v = self._calm_v
            low_hz, high_hz = self._calm_hz
            if self._alarmed or not (low_v <= v_pu <= high_v and low_hz <= off_hz <= high_hz):
                self._alarm(now_s, v_pu, off_hz)
        if self.waits and self._sound_s != inf:
            self._timers["enter"] = max(now_s, self._sound_s + self._functions.enter_service.delay_s)
        elif "enter" in self._timers:
            del self._timers["enter"]

    def stop(self) -> None:
        """Stop the timers of what flows: nothing flows any more."""
        for name in (*TRIPS, "cease"):
            self._timers.pop(name, None)
        self._alarmed = self.ceased = False

    def _alarm(self, now_s: float, v_pu: float, off_hz: float) -> None:
        trips, cessation, timers = self._functions.trips, self._functions.cessation, self._timers
        passed = beyond(trips, v_pu, off_hz) if trips.enabled else {}
        for name in TRIPS:
            if name not in passed:
                timers.pop(name, None)
            elif name not in timers:
                timers[name] = now_s + passed[name]
        bad = ceases(cessation, v_pu)
        if not bad:
            timers.pop("cease", None)
            self.ceased = False
        elif not self.ceased and "cease" not in timers:
            timers["cease"] = now_s + cessation.response_s
        self._alarmed = bad or bool(passed)


def _calm(functions: Functions) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the bounds of voltage, per unit, and of the distance from nominal in Hz within which no timer runs."""
    trips, cessation = functions.trips, functions.cessation
    low_v, high_v, low_hz, high_hz = -inf, inf, -inf, inf
    if trips.enabled:
        low_v, high_v = max(trips.uv1_pu, trips.uv2_pu), min(trips.ov1_pu, trips.ov2_pu)
        low_hz, high_hz = -min(trips.uf1_hz, trips.uf2_hz), min(trips.of1_hz, trips.of2_hz)
    if cessation.enabled:
        low_v, high_v = max(low_v, cessation.below_pu), min(high_v, cessation.above_pu)
    return (low_v, high_v), (low_hz, high_hz)
