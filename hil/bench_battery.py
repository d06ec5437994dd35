"""What the battery of the bench costs and how near it is to a real cell: rows for `make bench`."""

import time
from collections.abc import Callable

from hil.plant.battery import Battery
from hil.plant.cell import Cell
from hil.plant.chemistry import LEAF, LFP
from hil.scenario.recording import recordings_folder
from hil.truth import compare, discharges, pulse_test, recording

DISCHARGE = "cell_leaf_discharge_bitrode_1c.csv.gz"
PULSES = "cell_leaf_low_current_hppc_25c_2.csv.gz"
STEPS = 5000
ROUNDS = 5  # the best counts: the machine is shared
CELL_US = 3.0
BATTERY_US = 15.0
VOLTAGE_MV = 35.0
ENERGY_PCT = 1.0

Row = tuple[str, str, str, bool | None]
"""What, measured, bar, and whether it is held; None where there is no bar."""


def cell_figures() -> list[Row]:
    """Return the figures of the battery; those that need a recording which is not here say so."""
    return [*_speed(), *_accuracy()]


def _speed() -> list[Row]:
    cell, battery = Cell(LFP, soc=0.6), Battery()
    full_w = LFP.capacity_ah * 3.3
    cell_us = _step_us(lambda place: cell.step_w(1.0, full_w if place % 200 < 100 else -full_w))
    battery_us = _step_us(lambda place: battery.step(0.05, 8000.0 if place % 200 < 100 else -8000.0))
    return [
        ("cell, one step of 1 s at a demanded power", f"{cell_us:.1f} us", f"{CELL_US:.0f} us", cell_us <= CELL_US),
        ("battery, one step of 50 ms", f"{battery_us:.1f} us", f"{BATTERY_US:.0f} us", battery_us <= BATTERY_US),
    ]


def _step_us(step: Callable[[int], None]) -> float:
    best_s = float("inf")
    for _ in range(ROUNDS):
        begun_s = time.perf_counter()
        for place in range(STEPS):
            step(place)
        best_s = min(best_s, time.perf_counter() - begun_s)
    return best_s / STEPS * 1e6


def _accuracy() -> list[Row]:
    folder = recordings_folder()
    if not (folder / DISCHARGE).is_file() or not (folder / PULSES).is_file():
        return [("cell against its recordings", "the recordings are not here", "", None)]
    runs = discharges(recording(folder / DISCHARGE), LEAF.capacity_ah)
    discharge = max((compare("1C", Cell(LEAF, soc=1.0), run) for run in runs), key=lambda one: one.first_mv)
    pulses = compare("pulses", Cell(LEAF, soc=1.0), pulse_test(recording(folder / PULSES)))
    energy_held = abs(discharge.energy_pct) <= ENERGY_PCT
    return [
        (
            "cell against a recorded 1C discharge, first 90 %, worst of four",
            f"{discharge.first_mv:.1f} mV RMSE",
            f"{VOLTAGE_MV:.0f} mV",
            discharge.first_mv <= VOLTAGE_MV,
        ),
        ("its energy", f"{discharge.energy_pct:+.2f} %", f"{ENERGY_PCT:.0f} %", energy_held),
        ("cell against the pulse test it is fitted on", f"{pulses.rmse_mv:.1f} mV RMSE", "", None),
    ]
