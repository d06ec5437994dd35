"""What a battery's frames would tell, without the frames: for the model mode."""

from controller.model import Battery as BatteryReading
from hil.plant.battery import Battery

ALARMS = {  # of the BMS, in the words of the profile's DBC
    "over_voltage": "high voltage",
    "under_voltage": "low voltage",
    "over_temperature": "high temperature",
    "under_temperature": "low temperature",
    "discharge_over_current": "discharge over current",
    "charge_over_current": "charge over current",
}


def battery_reading(name: str, part: Battery, t_s: float, now_ms: int) -> BatteryReading:
    """Return the reading of now, as the battery's sensors tell it, in the steps of its frames."""

    def told(point: str, value: float, steps: int, fine_steps: int) -> int | None:
        """Return a value in fine steps, rounded to the frame's own steps; both are so many a unit."""
        found = part.told.told(point, value, t_s)
        return None if found is None else round(found * steps) * (fine_steps // steps)

    return BatteryReading(
        device=name,
        sampled_ms=now_ms,
        heard_ms=now_ms,
        soc_bp=told("soc", part.soc_told, 10_000, 10_000),
        soh_bp=told("soh", part.soh_told, 100, 10_000),
        voltage_mv=told("pack_v", part.pack_v, 100, 1000),
        current_ma=told("pack_a", part.pack_a, 10, 1000),
        charge_max_ma=told("charge_max_a", int(10 * part.charge_max_a) / 10, 10, 1000),
        discharge_max_ma=told("discharge_max_a", int(10 * part.discharge_max_a) / 10, 10, 1000),
        charge_max_mv=round(10 * part.charge_max_v) * 100,
        discharge_min_mv=round(10 * part.discharge_min_v) * 100,
        charge_allowed=part.charge_enabled,
        discharge_allowed=part.discharge_enabled,
        force_charge=part.force_charge,
        full_charge_wanted=part.full_charge_wanted,
        temperature_mc=told("temperature_c", part.temperature_c, 10, 1000),
        modules=part.modules,
        alarms=tuple(ALARMS.get(alarm, alarm) for alarm in sorted(part.alarms)),
        warnings=tuple(ALARMS.get(warning, warning) for warning in sorted(part.warnings)),
    )
