"""The physics of the site.

Laws:
- Pure: time, inputs and the seed are handed in; the same calls give the same numbers, whatever the machine does.
- step(dt_s, ...) is right for any dt_s: dead times and lags are solved in closed form, not by small steps.
- Power is positive toward the grid, current positive out of the battery.
"""

GRID_V = 230.0  # a stiff grid: phase to neutral
GRID_HZ = 50.0
PHASES = 3
