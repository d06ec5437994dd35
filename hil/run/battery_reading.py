"""What a battery's frames would tell, without the frames: for the model mode."""

from controller.model import Battery as BatteryReading
from hil.devices import canbus_bms
from hil.plant.battery import Battery

ALARMS = {  # of the BMS, in the words of the profile's DBC
    "over_voltage": "high voltage",
    "under_voltage": "low voltage",
    "over_temperature": "high temperature",
    "under_temperature": "low temperature",
    "discharge_over_current": "discharge over current",
    "charge_over_current": "charge over current",
}
ALARMS_CELLS = ALARMS | {  # the same of canbus_bms.dbc
    "discharge_over_current": "high discharge current",
    "charge_over_current": "high charge current",
    "communication": "bms internal",
    "imbalance": "cell imbalance",
    "isolation": "general",
}
# Plausible: the ranges of the DBC files. What is beyond is not believed.
SHARE_BP, CURRENT_MA, CELL_MC = (0, 10_000), (-2_000_000, 2_000_000), (-39_900, 99_900)
PACK_MV, PACK_CELLS_MV, CELL_MV = (30_000, 65_000), (8_000, 70_000), (1000, 5000)
OFFSETS_MC = (273_150, 273_000)  # what it takes from kelvin for the coldest and the hottest cell


def battery_reading(name: str, part: Battery, t_s: float, now_ms: int) -> BatteryReading:
    """Return the reading of now, as the battery's sensors tell it, in the steps of its frames."""

    def told(point: str, value: float, steps: int, fine_steps: int, bounds: tuple[int, int]) -> int | None:
        """Return a value in fine steps, rounded to the frame's own steps; both are so many a unit."""
        found = part.told.told(point, value, t_s)
        return None if found is None else _within(round(found * steps) * (fine_steps // steps), bounds)

    def limit(point: str, value: float) -> int | None:
        """Return a limit, a magnitude: frames have signs, and makers differ in them."""
        found = told(point, int(10 * value) / 10, 10, 1000, CURRENT_MA)
        return None if found is None else abs(found)

    tells_cells = part.spec.speaks == "canbus_bms"
    words = ALARMS_CELLS if tells_cells else ALARMS
    low_mv, high_mv, cold_mc, hot_mc = _cells(part, t_s) if tells_cells else (None, None, None, None)
    return BatteryReading(
        device=name,
        sampled_ms=now_ms,
        heard_ms=now_ms,
        soc_bp=told("soc", part.soc_told, 10_000, 10_000, SHARE_BP),
        soh_bp=told("soh", part.soh_told, 100, 10_000, SHARE_BP),
        voltage_mv=told("pack_v", part.pack_v, 100, 1000, PACK_CELLS_MV if tells_cells else PACK_MV),
        current_ma=told("pack_a", part.pack_a, 10, 1000, CURRENT_MA),
        charge_max_ma=limit("charge_max_a", part.charge_max_a),
        discharge_max_ma=limit("discharge_max_a", part.discharge_max_a),
        charge_max_mv=round(10 * part.charge_max_v) * 100,
        discharge_min_mv=round(10 * part.discharge_min_v) * 100,
        charge_allowed=part.charge_enabled,
        discharge_allowed=part.discharge_enabled,
        force_charge=part.force_charge,
        full_charge_wanted=part.full_charge_wanted,
        temperature_mc=told("temperature_c", part.temperature_c, 10, 1000, CELL_MC),
        temperature_min_mc=cold_mc,
        temperature_max_mc=hot_mc,
        cell_min_mv=low_mv,
        cell_max_mv=high_mv,
        modules=part.modules,
        alarms=tuple(words.get(alarm, alarm) for alarm in sorted(part.alarms)),
        warnings=tuple(words.get(warning, warning) for warning in sorted(part.warnings)),
    )


def _cells(part: Battery, t_s: float) -> tuple[int | None, int | None, int | None, int | None]:
    """Return what is left of frame 0x373: nothing beyond its range is believed, nor two ends that are crossed."""
    low, high, *kelvin = (None if raw == canbus_bms.NOT_TOLD_U16 else raw for raw in canbus_bms.cells(part, t_s))
    low, high = _straight(low, high)
    cold, hot = _straight(
        *(None if one is None else 1000 * one - offset for one, offset in zip(kelvin, OFFSETS_MC, strict=True))
    )
    return _within(low, CELL_MV), _within(high, CELL_MV), _within(cold, CELL_MC), _within(hot, CELL_MC)


def _within(value: int | None, bounds: tuple[int, int]) -> int | None:
    low, high = bounds
    return value if value is not None and low <= value <= high else None


def _straight(low: int | None, high: int | None) -> tuple[int | None, int | None]:
    return (None, None) if low is not None and high is not None and low > high else (low, high)
