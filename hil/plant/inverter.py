"""A battery inverter: dead time, ramp, first-order response, limits, losses."""

from collections import deque
from math import copysign, exp, log, sqrt

import msgspec

PENDING_MAX = 64  # set points on their way; the newest takes the place of the one before when there are more


class Rating(msgspec.Struct, frozen=True, kw_only=True):
    """What the inverter is. Loss in W at P watts AC: loss_w + loss_pct/100 |P| + loss_per_w P^2 (96 % at rated)."""

    rated_w: float = 10_000.0
    dead_s: float = 0.2  # from the write to the first movement
    response_s: float = 0.4  # open-loop response time, to 90 % of a step (IEEE 1547-2018, 3.1)
    ramp_w_per_s: float = 100_000.0
    loss_w: float = 30.0
    loss_pct: float = 1.0
    loss_per_w: float = 2.87e-6


class Inverter:
    """The state. ac_w is positive toward the grid, dc_w positive out of the battery."""

    def __init__(self, rating: Rating | None = None) -> None:
        self.rating = rating or Rating()
        self.ramp_w_per_s = self.rating.ramp_w_per_s
        self.ac_w = 0.0
        self.dc_w = self.rating.loss_w
        self.injected_wh = 0.0
        self.absorbed_wh = 0.0
        self._lag_s = self.rating.response_s / log(10)
        self._time_s = 0.0
        self._pending: deque[tuple[float, float]] = deque()  # when it acts in s, set point in W
        self._command_w = 0.0
        self._ramp_w = 0.0

    def command(self, power_w: float) -> None:
        """Take a set point; it acts after the dead time."""
        if len(self._pending) == PENDING_MAX:
            self._pending.pop()
        self._pending.append((self._time_s + self.rating.dead_s, power_w))

    def step(self, dt_s: float, charge_max_w: float, discharge_max_w: float) -> None:
        """Run for dt_s. The limits are magnitudes at the battery's terminals."""
        end_s = self._time_s + dt_s
        while self._pending and self._pending[0][0] <= end_s:
            acts_s, power_w = self._pending.popleft()
            self._glide(acts_s - self._time_s)
            self._command_w = power_w
        self._glide(end_s - self._time_s)
        self._time_s = end_s
        low_w = max(-self.rating.rated_w, self.ac_of_dc_w(-charge_max_w))
        high_w = min(self.rating.rated_w, self.ac_of_dc_w(discharge_max_w))
        self.ac_w = min(high_w, max(low_w, self.ac_w))
        self.dc_w = self.dc_of_ac_w(self.ac_w)
        if self.ac_w > 0:
            self.injected_wh += self.ac_w * dt_s / 3600
        else:
            self.absorbed_wh -= self.ac_w * dt_s / 3600

    def dc_of_ac_w(self, ac_w: float) -> float:
        """Return the power out of the battery for a power toward the grid."""
        rating = self.rating
        return ac_w + rating.loss_w + rating.loss_pct / 100 * abs(ac_w) + rating.loss_per_w * ac_w * ac_w

    def ac_of_dc_w(self, dc_w: float) -> float:
        """Return the power toward the grid for a power out of the battery; at 0 W the grid covers the losses."""
        rating = self.rating
        share, square, spare_w = rating.loss_pct / 100, rating.loss_per_w, dc_w - rating.loss_w
        if spare_w >= 0:
            slope = 1 + share
            return 2 * spare_w / (slope + sqrt(slope * slope + 4 * square * spare_w))
        slope = 1 - share
        return 2 * spare_w / (slope + sqrt(max(0.0, slope * slope + 4 * square * spare_w)))

    def _glide(self, dt_s: float) -> None:
        """Move for dt_s under one command: first along the ramp, then at its end."""
        if dt_s <= 0:
            return
        self._time_s += dt_s
        way_w = self._command_w - self._ramp_w
        ramp_s = abs(way_w) / self.ramp_w_per_s
        if ramp_s >= dt_s:
            self._respond(dt_s, copysign(self.ramp_w_per_s, way_w))
            return
        if ramp_s > 0:
            self._respond(ramp_s, copysign(self.ramp_w_per_s, way_w))
        self._ramp_w = self._command_w
        self._respond(dt_s - ramp_s, 0.0)

    def _respond(self, dt_s: float, slope_w_per_s: float) -> None:
        """Solve lag * d(ac)/dt = ramp - ac for a ramp of constant slope."""
        behind_w = slope_w_per_s * self._lag_s
        off_w = self.ac_w - self._ramp_w + behind_w
        self._ramp_w += slope_w_per_s * dt_s
        self.ac_w = self._ramp_w - behind_w + off_w * exp(-dt_s / self._lag_s)
