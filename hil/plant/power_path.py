"""The way power takes to a goal: a ramp, then a first-order response behind it, solved in closed form."""

from math import copysign, exp

from hil.plant.functions import RESPONSE_LOG

NEAR_W = 0.5  # power that is closer to its goal has arrived


class PowerPath:
    """at_w is where power is, ramp_w what it follows. response_s: the time to 90 % of a step; 0 s is none."""

    def __init__(self, response_s: float) -> None:
        self.at_w = self.ramp_w = 0.0
        self._lag_s = response_s / RESPONSE_LOG

    def stop(self, at_w: float = 0.0) -> None:
        """Be somewhere at once."""
        self.at_w = self.ramp_w = at_w

    def glide(self, dt_s: float, goal_w: float, low_w: float, high_w: float, ramp_w_per_s: float) -> None:
        """Move for dt_s: up or down the ramp, then at its end. The bounds hold at once, the goal lies between them."""
        ramp_w = min(high_w, max(low_w, self.ramp_w))
        at_w = min(high_w, max(low_w, self.at_w))
        way_w = goal_w - ramp_w
        if way_w:
            slope_w_per_s = copysign(ramp_w_per_s, way_w)
            climb_s, end_w = way_w / slope_w_per_s, goal_w
            if climb_s > dt_s:
                climb_s, end_w = dt_s, ramp_w + slope_w_per_s * dt_s
            behind_w = slope_w_per_s * self._lag_s
            at_w = end_w - behind_w + (at_w - ramp_w + behind_w) * self._left(climb_s)
            ramp_w, dt_s = end_w, dt_s - climb_s
        if ramp_w == goal_w:
            at_w = goal_w + (at_w - goal_w) * self._left(dt_s)
            if -NEAR_W < at_w - goal_w < NEAR_W:
                at_w = goal_w
        self.ramp_w, self.at_w = ramp_w, at_w

    def _left(self, dt_s: float) -> float:
        """Return what is left of a distance after dt_s of first-order response."""
        return exp(-dt_s / self._lag_s) if self._lag_s > 0 else 0.0
