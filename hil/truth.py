"""How near the bench's cell is to a real one and to PyBaMM. Run by hand; PyBaMM is no dependency of the bench.

    python -m hil.truth fit FILE            the numbers of a recorded pulse test, as hil.plant.chemistry has them
    python -m hil.truth cell FILE           LEAF against the recorded discharges of a file
    python -m hil.truth pybamm AGC_FILE     a circuit fitted to PyBaMM's DFN, on three duties

Bars: 35 mV RMSE over the first 90 % of a recorded discharge and 1 % of its energy; 30 mV and 0.5 % against the DFN.
"""

import argparse
import csv
import gzip
import sys
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from math import sqrt
from pathlib import Path
from typing import Any

import msgspec

from hil.circuit_fit import Circuit, Sample, fit
from hil.plant.cell import Cell
from hil.plant.chemistry import LEAF, Chemistry

REST_A = 0.1  # less than this is rest
DISCHARGE_SHARE = 0.1  # of a full charge in one go: less is a pulse
FIRST_PART = 0.9  # of the charge of a discharge
STEP_S = 1.0  # of the bench's cell, the longest it is right for
AGC_S = 4
AGC_DAY = "2016-04-19"  # the largest swing that fits between 10 and 90 % of charge at 1C


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One duty. rmse_mv: by time; first_mv: in the first 90 % of the charge passed; energy_pct: ours too much."""

    what: str
    rmse_mv: float
    first_mv: float
    worst_mv: float
    energy_pct: float

    def __str__(self) -> str:
        voltage = f"RMSE {self.rmse_mv:.1f} mV, first 90 % {self.first_mv:.1f} mV, worst {self.worst_mv:.0f} mV"
        return f"{self.what}: {voltage}, energy {self.energy_pct:+.2f} %"


def recording(path: Path) -> list[Sample]:
    """Return a recording of the data folder, current positive out of the cell."""
    with gzip.open(path, "rt", encoding="ascii") as file:
        return [(float(row["t_s"]), -float(row["i_a"]), float(row["v"])) for row in csv.DictReader(file)]


def pulse_test(samples: Sequence[Sample]) -> list[Sample]:
    """Return a pulse test from its full rest on: what comes before the first discharge is preparation."""
    first = next(place for place, (_, current_a, _) in enumerate(samples) if current_a > REST_A)
    return list(samples[first - 1 :])


def discharges(samples: Sequence[Sample], full_ah: float) -> Iterator[list[Sample]]:
    """Yield each long discharge, from the sample of rest before it to its end."""
    taken: list[Sample] = []
    for before, sample in pairwise(samples):
        if sample[1] > REST_A:
            taken = [*(taken or [before]), sample]
            continue
        if taken and _passed_ah(taken) > DISCHARGE_SHARE * full_ah:
            yield taken
        taken = []


def compare(what: str, cell: Cell, samples: Sequence[Sample]) -> Compared:
    """Drive a cell with the current of a recording and return how far its voltage is off."""
    total_ah, passed_ah = _passed_ah(samples), 0.0
    squares = first_squares = lasted_s = first_s = worst_v = ours_ws = theirs_ws = 0.0
    for (t0_s, _, _), (t1_s, current_a, volts) in pairwise(samples):
        dt_s = t1_s - t0_s
        run(cell, dt_s, current_a)
        ours_v = cell.terminal_v(current_a)
        off_v = ours_v - volts
        passed_ah += abs(current_a) * dt_s / 3600
        squares, lasted_s, worst_v = squares + dt_s * off_v**2, lasted_s + dt_s, max(worst_v, abs(off_v))
        if passed_ah <= FIRST_PART * total_ah:
            first_squares, first_s = first_squares + dt_s * off_v**2, first_s + dt_s
        ours_ws, theirs_ws = ours_ws + abs(ours_v * current_a) * dt_s, theirs_ws + abs(volts * current_a) * dt_s
    return Compared(
        what=what,
        rmse_mv=1000 * sqrt(squares / lasted_s),
        first_mv=1000 * sqrt(first_squares / first_s),
        worst_mv=1000 * worst_v,
        energy_pct=100 * (ours_ws / theirs_ws - 1),
    )


def run(cell: Cell, length_s: float, current_a: float) -> None:
    """Run a cell with one current, however long."""
    while length_s > 0:
        dt_s = min(STEP_S, length_s)
        cell.step(dt_s, current_a)
        length_s -= dt_s


def chemistry_of(circuit: Circuit) -> Chemistry:
    """Return the LEAF cell with another circuit, and neither heat nor loss of charge: as a model at 25 C has it."""
    return msgspec.structs.replace(
        LEAF,
        capacity_ah=circuit.capacity_ah,
        open_v=circuit.open_v,
        resistance=circuit.resistance,
        fast_s=circuit.fast_s,
        slow_s=circuit.slow_s,
        charge_pct=100.0,
        cold_ratio=1.0,
    )


def _passed_ah(samples: Sequence[Sample]) -> float:
    return sum(abs(current_a) * (t1_s - t0_s) for (t0_s, _, _), (t1_s, current_a, _) in pairwise(samples)) / 3600


# -- PyBaMM --------------------------------------------------------------------------------------------------------


class Dfn:
    """PyBaMM's DFN of a 5 Ah NMC cell (Chen 2020) at 25 C, from full on. Raises SystemExit where PyBaMM is absent."""

    def __init__(self) -> None:
        try:
            import pybamm  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            raise SystemExit("PyBaMM is not here: pip install pybamm (26.10) into an environment of its own") from None
        pybamm.set_logging_level("ERROR")
        values = pybamm.ParameterValues("Chen2020")
        values["Current function [A]"] = "[input]"
        values["Upper voltage cut-off [V]"] = 4.4  # pulses at a full cell go beyond 4.2 V
        self._simulation: Any = pybamm.Simulation(
            pybamm.lithium_ion.DFN(), parameter_values=values, solver=pybamm.IDAKLUSolver()
        )
        self._simulation.build(initial_soc="4.2 V")
        self.nominal_ah = float(values["Nominal cell capacity [A.h]"])
        self.samples: list[Sample] = []
        self.run(0.1, 0.0, 0.1)

    def run(self, length_s: float, current_a: float, every_s: float) -> bool:
        """Add a sample every_s of a constant current; return False where the cell was empty before the end."""
        start_s = self.samples[-1][0] if self.samples else 0.0
        inputs = {"Current function [A]": current_a}
        solution = self._simulation.step(length_s, inputs=inputs, save=False)
        whole = bool(solution.termination == "final time")
        ended_s = float(solution.t[-1])
        times_s = [start_s + (place + 1) * every_s for place in range(round(length_s / every_s))]
        kept_s = [min(time_s, ended_s) for time_s in times_s if whole or time_s < ended_s]
        self.samples += [(time_s, current_a, float(solution["Voltage [V]"](time_s))) for time_s in kept_s]
        return whole


def dfn_pulse_test() -> list[Sample]:
    """Return a pulse test of the DFN like the recorded one: full to empty in tenths, each after an hour's rest."""
    dfn = Dfn()
    c_a = dfn.nominal_ah
    steps = ((3600, 0.0, 20), (30, c_a, 1), (40, 0.0, 1), (10, -0.75 * c_a, 1), (1080, c_a / 3, 10))
    while all(dfn.run(length_s, current_a, every_s) for length_s, current_a, every_s in steps):
        pass
    return dfn.samples


def dfn_duties(agc_pu: Sequence[float]) -> Iterator[tuple[str, list[Sample], int]]:
    """Yield name, samples, and the sample at which the duty begins; before it the cell goes from full to its start."""
    dfn = Dfn()
    c_a = dfn.nominal_ah
    begin = _settle(dfn, 0.85)
    dfn.run(0.7 * 7200, c_a / 2, 10)
    yield "0.5C discharge", dfn.samples, begin
    dfn = Dfn()
    begin = _settle(dfn, _middle(agc_pu))
    for share in agc_pu:
        dfn.run(AGC_S, share * c_a, AGC_S)
    yield "recorded AGC at 1C", dfn.samples, begin
    dfn = Dfn()
    begin = _settle(dfn, 0.85)
    dfn.run(7200, c_a / 3, 10)
    dfn.run(1800, 0.0, 10)
    dfn.run(0.6 * 4 * 3600, -c_a / 4, 10)
    yield "peak shaving, C/3 for 2 h and back", dfn.samples, begin


def against_dfn(agc_pu: Sequence[float]) -> Iterator[Compared | Circuit]:
    """Yield the circuit fitted to the pulse test of the DFN, then how it does on each duty."""
    circuit = fit(dfn_pulse_test())
    yield circuit
    for what, samples, begin in dfn_duties(agc_pu):
        cell = Cell(chemistry_of(circuit), soc=1.0)
        compare("before", cell, samples[: begin + 1])
        yield compare(what, cell, samples[begin:])


def _settle(dfn: Dfn, soc: float) -> int:
    """Discharge a full cell at C/3 to a state of charge, rest for an hour, and return the place of the last sample."""
    dfn.run(round((1 - soc) * 3 * 3600, -1), dfn.nominal_ah / 3, 10)
    dfn.run(3600, 0.0, 20)
    return len(dfn.samples) - 1


def _middle(agc_pu: Sequence[float]) -> float:
    """Return the start from which a duty goes as near to full as to empty."""
    swing = list(accumulate(share * AGC_S / 3600 for share in agc_pu))
    return 0.5 + (max(swing) + min(swing)) / 2


# -- command line --------------------------------------------------------------------------------------------------


def main() -> int:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m hil.truth", description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("fit", "cell", "pybamm"))
    parser.add_argument("file", type=Path, help="pulse test, recorded discharges, or caiso_agc_4s_2016_04_05.csv.gz")
    asked = parser.parse_args()
    for line in {"fit": _fit_lines, "cell": _cell_lines, "pybamm": _dfn_lines}[asked.what](asked.file):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    return 0


def _fit_lines(path: Path) -> Iterator[str]:
    circuit = fit(pulse_test(recording(path)))
    yield f"capacity_ah={circuit.capacity_ah:.2f}, fast_s={circuit.fast_s:.0f}, slow_s={circuit.slow_s:.0f},"
    yield "open_v=("
    yield from (f"    ({soc:.2f}, {volts:.3f})," for soc, volts in circuit.open_v)
    yield "),"
    yield "resistance=("
    yield from ("    ({:.2f}, {:.3f}, {:.3f}, {:.3f}),".format(*row) for row in circuit.resistance)
    yield f")  # RMSE of the fit {circuit.rmse_mv:.1f} mV"


def _cell_lines(path: Path) -> Iterator[str]:
    samples = recording(path)
    runs = list(discharges(samples, LEAF.capacity_ah))
    for number, discharge in enumerate(runs, 1):
        yield str(compare(f"discharge {number}", Cell(LEAF, soc=1.0), discharge))
    if not runs:
        yield str(compare("pulse test", Cell(LEAF, soc=1.0), pulse_test(samples)))


def _dfn_lines(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="ascii") as file:
        agc_pu = [float(row[AGC_DAY]) / 100 for row in csv.DictReader(file)]
    for row in against_dfn(agc_pu):
        if isinstance(row, Circuit):
            yield f"fit: RMSE {row.rmse_mv:.1f} mV, {row.capacity_ah:.3f} Ah, {row.fast_s:.0f} s, {row.slow_s:.0f} s"
        else:
            yield str(row)


if __name__ == "__main__":
    sys.exit(main())
