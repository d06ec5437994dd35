"""Class 1: no unit beyond the currents its battery management system allows at this moment.

A limit that is not told is 0, and so is one whose voltage is not told. The direction matters: discharging, the cells
give P / efficiency, so the AC limit is V x DCL x efficiency; charging, they take at most P, so it is V x CCL.
A battery that asks to be charged by force is not discharged, whatever current it still tells.
"""

from controller.model import Battery, Limit, Sight


def limits(sight: Sight) -> list[Limit]:
    """Return [-charge, discharge] in AC watts per unit from the battery's limits in mA and its voltage in mV."""
    found = []
    for seen in sight.units:
        battery, unit = seen.battery, seen.unit
        if battery is None:
            charge_w = discharge_w = 0
            because = "the battery is not heard"
        else:
            charge_w = _power_w(battery, battery.charge_max_ma, battery.charge_allowed)
            discharge_w = _power_w(battery, battery.discharge_max_ma, battery.discharge_allowed)
            discharge_w = 0 if battery.force_charge else discharge_w
            discharge_w = discharge_w * unit.efficiency_pct // 100
            because = _tell(battery)
        found.append(
            Limit(rule="bms_current", priority=1, low_w=-charge_w, high_w=discharge_w, because=because, unit=unit.name)
        )
    return found


def _power_w(battery: Battery, current_ma: int | None, allowed: bool | None) -> int:
    if current_ma is None or battery.voltage_mv is None or allowed is False:
        return 0
    return max(0, current_ma) * max(0, battery.voltage_mv) // 1_000_000


def _tell(battery: Battery) -> str:
    charge = "none" if battery.charge_max_ma is None else f"{battery.charge_max_ma // 1000} A"
    discharge = "none" if battery.discharge_max_ma is None else f"{battery.discharge_max_ma // 1000} A"
    volts = "unknown voltage" if battery.voltage_mv is None else f"{battery.voltage_mv // 1000} V"
    told = f"the battery allows {charge} in, {discharge} out at {volts}"
    if battery.charge_allowed is False:
        told += ", charging not permitted"
    if battery.discharge_allowed is False:
        told += ", discharging not permitted"
    if battery.force_charge:
        told += ", it asks to be charged"
    return told
