"""Class 1: no unit beyond the currents its battery management system allows at this moment.

A limit that is not told is 0, and so is one whose voltage is not told. The direction matters: discharging, the cells
give P / efficiency, so the AC limit is V x DCL x efficiency; charging, they take at most P, so it is V x CCL.
A battery that asks to be charged by force is not discharged, whatever current it still tells. Units that share their
batteries get their part of both.
"""

from controller.model import Battery, Limit, Site, UnitSight


def limit(site: Site, seen: UnitSight) -> Limit | None:
    """Return [-charge, discharge] in AC watts from the battery's limits in mA and its voltage in mV."""
    because = "the battery is not heard" if seen.battery is None else _tell(seen.battery, seen.part)
    return Limit(
        rule="bms_current",
        priority=1,
        low_w=-charge_w(seen),
        high_w=_discharge_w(seen),
        because=because,
        unit=seen.unit.name,
    )


def charge_w(seen: UnitSight) -> int:
    """Return the AC power in W, >= 0, that the battery takes from this unit; 0 where it does not tell."""
    battery = seen.battery
    if battery is None:
        return 0
    return _power_w(battery, battery.charge_max_ma, battery.charge_allowed) * seen.part[0] // seen.part[1]


def _discharge_w(seen: UnitSight) -> int:
    battery = seen.battery
    if battery is None or battery.force_charge:
        return 0
    bank_w = _power_w(battery, battery.discharge_max_ma, battery.discharge_allowed) * seen.unit.efficiency_pct // 100
    return bank_w * seen.part[0] // seen.part[1]


def _power_w(battery: Battery, current_ma: int | None, allowed: bool | None) -> int:
    if current_ma is None or battery.voltage_mv is None or allowed is False:
        return 0
    return max(0, current_ma) * max(0, battery.voltage_mv) // 1_000_000


def _tell(battery: Battery, part: tuple[int, int]) -> str:
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
    if part != (1, 1):
        told += f"; {part[0]}/{part[1]} of it for this unit"
    return told
