"""What a BMS watches: a value, and three levels with a delay each at which it warns, raises an alarm, and trips.

A warning is told. An alarm is told and takes the current limit of its direction away. A trip opens the contactor as
well, and stands until the value has been good for a while: no closing before.

To add a watch: a row in rows() and its value in Bms._values (hil.plant.bms), at the same place.
"""

from typing import Literal

import msgspec

from hil.plant.chemistry import Chemistry, Levels
from hil.plant.contactor import LATE_S, NEVER_S

Blocks = Literal["charge", "discharge", "both", "nothing"]
NEVER = float("inf")
WARNING, ALARM, TRIP = 1, 2, 3
CLEAR_S = 2.0  # a warning or an alarm goes when the value has been good for this long
DELAYS_S: Levels = (5.0, 2.0, 1.0)  # of warning, alarm and trip, unless a row says otherwise
AT_ONCE_S: Levels = (0.0, 0.0, 0.0)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One watch. levels: the value at which each level begins, NEVER where there is none; it ends clears_by below."""

    name: str
    levels: Levels
    clears_by_value: float
    delays_s: Levels = DELAYS_S
    blocks: Blocks = "nothing"


def rows(chemistry: Chemistry, open_after_s: float) -> tuple[Row, ...]:
    """Return the watches of a pack: cell voltages in V, temperatures in C, currents over the largest allowed."""
    high_v, low_v = chemistry.high_v, chemistry.low_v
    below_v = (-low_v[0], -low_v[1], -low_v[2])  # the worse, the higher: what is too low counts negative
    overload, slow_s = (1.05, 1.15, 1.30), (10.0, 5.0, 1.0)
    alone = (NEVER, NEVER, 0.5)  # a fault that is there or not trips at once
    return (
        Row(name="over_voltage", levels=high_v, clears_by_value=0.05, blocks="charge"),
        Row(name="under_voltage", levels=below_v, clears_by_value=0.10, blocks="discharge"),
        Row(name="over_temperature", levels=(50.0, 55.0, 60.0), clears_by_value=5.0, blocks="both"),
        Row(name="under_temperature", levels=(-3.0, 0.0, NEVER), clears_by_value=2.0, blocks="charge"),
        Row(name="under_temperature", levels=alone, clears_by_value=0.1, delays_s=(0.0, 0.0, 10.0)),
        Row(name="discharge_over_current", levels=overload, clears_by_value=0.05, delays_s=slow_s, blocks="discharge"),
        Row(name="charge_over_current", levels=overload, clears_by_value=0.05, delays_s=slow_s, blocks="charge"),
        Row(name="imbalance", levels=(0.3, 0.6, NEVER), clears_by_value=0.1, delays_s=(60.0, 60.0, 0.0)),
        Row(name="isolation", levels=alone, clears_by_value=0.1),
        Row(
            name="communication",
            levels=(open_after_s / 2, open_after_s, NEVER),
            clears_by_value=1.0,
            delays_s=AT_ONCE_S,
        ),
        Row(name="contactor", levels=(NEVER, 0.5, NEVER), clears_by_value=0.1, delays_s=AT_ONCE_S),
    )


class Watch:
    """One row at work. level is 0 or the highest that stands."""

    def __init__(self, row: Row, retry_s: float) -> None:
        self.row = row
        self.lowest_value = min(row.levels)  # below it a quiet watch has nothing to do
        self.quiet = True
        self._clear_s = (CLEAR_S, CLEAR_S, retry_s)
        self._stands = [False, False, False]
        self._for_s = [0.0, 0.0, 0.0]  # how long each level has been on its way to begin or to end
        self.level = 0
        self.due_s = NEVER_S  # until an alarm or a trip begins, if the value stays

    def step(self, dt_s: float, value: float) -> None:
        """Hold a value for dt_s."""
        row, self.due_s = self.row, NEVER_S
        for place, begins in enumerate(row.levels):
            stands = self._stands[place]
            moving = value < begins - row.clears_by_value if stands else value >= begins
            self._for_s[place] = for_s = self._for_s[place] + dt_s if moving else 0.0
            needed_s = self._clear_s[place] if stands else row.delays_s[place]
            if moving and for_s >= needed_s - LATE_S:
                self._stands[place], self._for_s[place] = not stands, 0.0
            elif moving and not stands and place >= ALARM - 1:
                self.due_s = min(self.due_s, needed_s - for_s)
        self.level = max((place + 1 for place in range(3) if self._stands[place]), default=0)
        self.quiet = not any(self._stands) and not any(self._for_s)
