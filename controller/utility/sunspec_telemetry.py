"""What the utility is shown of the site: measurements and effects, never what was asked.

What is not known is shown as not implemented; a sum with a part missing is not known.
"""

from collections.abc import Mapping
from typing import Literal

from sunspec2.device import get_model_def

from controller.model import FAULTS, Battery, Decision, FaultName, Inverter, Meter, Site, Snapshot, Standing
from controller.model.faults import Response
from controller.utility.sunspec_map import Registers
from controller.utility.sunspec_site import banks

STOPPING: frozenset[Response] = frozenset(("trip", "ramp_down"))  # what stops a unit
MANUFACTURER_ALARM = 16
DC_DISCONNECT = 3
MAX_W = 0
DERATED = 14

# the site is in the first of these states that any of its inverters is in
_STATES: tuple[tuple[Literal["run", "starting", "fault", "standby", "off"], int], ...] = (
    ("run", 3),
    ("starting", 2),
    ("fault", 6),
    ("standby", 7),
    ("off", 0),
)
_THROTTLED = 4
_UTILITY_RULES = ("utility_limit", "utility_cease")
_ALARM_BITS: dict[FaultName, int] = {"battery_contactor_open": DC_DISCONNECT}  # all others that stop: MANUFACTURER_ALRM


class Telemetry:
    """Fills the measured and effective points, once a cycle."""

    def __init__(self, site: Site, registers: Registers) -> None:
        self._registers = registers
        self._inverters = tuple(unit.inverter for unit in site.unit)
        self._banks = tuple(banks(site).items())
        self._meter = site.poi.meter
        self._rating_w = sum(unit.discharge_max_w for unit in site.unit)
        self._power_w_unit = 10 ** registers.number(registers["701.W_SF"])
        self._reactive_var_unit = 10 ** registers.number(registers["701.Var_SF"])
        self._energy_wh_unit = 10 ** registers.number(registers["713.WH_SF"])
        symbols = get_model_def(701)["group"]["point_defs"]["Alrm"]["symbols"]
        self._alarms = {str(symbol["name"]): int(symbol["value"]) for symbol in symbols}

    def show(self, snapshot: Snapshot, decision: Decision) -> None:
        """Show one cycle: power, state, throttling and alarms in 701, energy in 713."""
        readings = {reading.device: reading for reading in snapshot.readings}
        inverters = [found for name in self._inverters if isinstance(found := readings.get(name), Inverter)]
        batteries = {
            name: found if isinstance(found := readings.get(name), Battery) else None
            for names, _ in self._banks
            for name in names
        }
        complete = len(inverters) == len(self._inverters)
        power_w = _sum([inverter.power_w for inverter in inverters]) if complete else None
        reactive_var = _sum([inverter.reactive_var for inverter in inverters]) if complete else None
        self._put("701.W", _scaled(power_w, self._power_w_unit))
        self._put("701.Var", _scaled(reactive_var, self._reactive_var_unit))
        meter = readings.get(self._meter)
        if isinstance(meter, Meter):
            self._put("701.LNV", _scaled(meter.voltage_mv, 100))
            self._put("701.Hz", meter.frequency_mhz)
        else:
            self._put("701.LNV", None)
            self._put("701.Hz", None)
        throttled = self._show_throttling(decision)
        self._show_state(inverters, throttled)
        self._show_alarms(inverters, decision.faults)
        self._show_energy(batteries, decision)

    def _show_throttling(self, decision: Decision) -> bool:
        """Show what a rule cut off the wish, in percent of WMax, and whether it was the utility's own limit."""
        cut_w = 0 if decision.why in ("wish", "ramp") else abs(decision.wish_w - decision.target_w)
        source = 1 << (MAX_W if decision.why in _UTILITY_RULES else DERATED) if cut_w else 0
        self._put("701.ThrotPct", -(-cut_w * 100 // self._rating_w) if self._rating_w else 0)
        self._put("701.ThrotSrc", source)
        return cut_w > 0

    def _show_state(self, inverters: list[Inverter], throttled: bool) -> None:
        """Show the state of the inverters that are heard: ON when any is awake, CONNECTED when any runs."""
        states = {inverter.state for inverter in inverters}
        shown = next((number for name, number in _STATES if name in states), None)
        running = "run" in states
        self._put("701.InvSt", _THROTTLED if running and throttled else shown)
        self._put("701.St", int(not states.isdisjoint({"run", "starting", "standby"})) if states else None)
        self._put("701.ConnSt", int(running) if states else None)

    def _show_alarms(self, inverters: list[Inverter], faults: tuple[Standing, ...]) -> None:
        """Show an inverter's alarm by its SunSpec name where it has one, and each fault that stops a unit."""
        stopping = [standing for standing in faults if FAULTS[standing.fault].response in STOPPING]
        bits = {_ALARM_BITS.get(standing.fault, MANUFACTURER_ALARM) for standing in stopping}
        for inverter in inverters:
            bits |= {self._alarms.get(alarm.upper(), MANUFACTURER_ALARM) for alarm in inverter.alarms}
        self._put("701.Alrm", sum(1 << bit for bit in bits))
        told = ", ".join(f"{standing.fault} {standing.device}" for standing in stopping)
        self._registers.put_text(self._registers["701.MnAlrmInfo"], told)

    def _show_energy(self, batteries: Mapping[str, Battery | None], decision: Decision) -> None:
        """Show stored energy. WHAvail is what may be sold: above floor and customer reserve, after estimation error.

        The model's note reads WHAvail = WHRtg * SoC * SoH; a utility that plans with that product would be promised
        energy that the site keeps back.
        """
        available_wh = decision.sellable_wh if decision.available is None else decision.available.discharge_wh
        self._put("713.WHAvail", None if available_wh is None else max(0, available_wh) // self._energy_wh_unit)
        socs, sohs = [], []
        for names, capacity_wh in self._banks:
            found = [batteries[name] for name in names]
            socs.append((_mean([(battery.soc_bp if battery else None, 1) for battery in found]), capacity_wh))
            sohs.append((_mean([(battery.soh_bp if battery else None, 1) for battery in found]), capacity_wh))
        self._put("713.SoC", _mean(socs))
        self._put("713.SoH", _mean(sohs))
        responses = {FAULTS[standing.fault].response for standing in decision.faults if standing.device in batteries}
        warned = bool(responses) or any(battery.warnings for battery in batteries.values() if battery)
        self._put("713.Sta", 2 if responses & STOPPING else int(warned))

    def _put(self, name: str, value: int | None) -> None:
        self._registers.put(self._registers[name], value)


def _sum(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _scaled(value: int | None, unit: int) -> int | None:
    return None if value is None else (2 * value + unit) // (2 * unit)


def _mean(weighted: list[tuple[int | None, int]]) -> int | None:
    total = _sum([None if value is None else value * weight for value, weight in weighted])
    return None if total is None else total // sum(weight for _, weight in weighted)
