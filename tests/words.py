"""Builders of sites, readings and snapshots for tests of the core: units of 10 kW and 25 kWh."""

import msgspec

from controller.gate import Memory, Verdict, check, fingerprint
from controller.model import (
    AnyReading,
    Battery,
    Command,
    Commission,
    Device,
    Energy,
    Inverter,
    Meter,
    Missing,
    Order,
    Poi,
    Sight,
    Site,
    Snapshot,
    Unit,
    UnitSight,
)


def a_site(units: int = 1, **changes: object) -> Site:
    """Return a site with resolved profiles' numbers: watchdog 10 s, settle 1 s, stale after 3 s."""
    names = range(1, units + 1)
    devices = [Device(name="meter", profile="meters/sunspec_meter", url="tcp://127.0.0.1:8504", stale_after_ms=3000)]
    for n in names:
        devices.append(
            Device(name=f"inverter{n}", profile="inverters/sunspec_der", url="tcp://127.0.0.1:1", stale_after_ms=3000)
        )
        devices.append(
            Device(name=f"battery{n}", profile="batteries/pylontech_lv", url="slcan://127.0.0.1:2", stale_after_ms=3500)
        )
    site = Site(
        name="test",
        poi=Poi(
            meter="meter",
            import_max_w=12_000 * units,
            export_max_w=6_000 * units,
            load_max_w=11_000 * units,
            generation_max_w=5_000 * units,
        ),
        energy=Energy(floor_pct=10, reserve_pct=30, ceiling_pct=95),
        unit=tuple(
            Unit(
                name=f"unit{n}",
                inverter=f"inverter{n}",
                battery=f"battery{n}",
                charge_max_w=10_000,
                discharge_max_w=10_000,
                capacity_wh=25_000,
                watchdog_s=10,
                settle_ms=1000,
            )
            for n in names
        ),
        device=tuple(devices),
    )
    return msgspec.structs.replace(site, **changes)


def a_meter(power_w: int = 0, at_ms: int = 100_000, **changes: object) -> Meter:
    """Return a fresh reading of the POI meter, positive = export."""
    return msgspec.structs.replace(Meter(device="meter", sampled_ms=at_ms, heard_ms=at_ms, power_w=power_w), **changes)


def an_inverter(power_w: int | None = 0, n: int = 1, at_ms: int = 100_000, **changes: object) -> Inverter:
    """Return a fresh reading of a healthy inverter."""
    return msgspec.structs.replace(
        Inverter(device=f"inverter{n}", sampled_ms=at_ms, heard_ms=at_ms, power_w=power_w), **changes
    )


def a_battery(soc_bp: int | None = 6000, n: int = 1, at_ms: int = 100_000, **changes: object) -> Battery:
    """Return a fresh reading of a healthy 52 V battery that allows 250 A both ways (13 kW)."""
    reading = Battery(
        device=f"battery{n}",
        sampled_ms=at_ms,
        heard_ms=at_ms,
        soc_bp=soc_bp,
        voltage_mv=52_000,
        current_ma=0,
        charge_max_ma=250_000,
        discharge_max_ma=250_000,
        charge_allowed=True,
        discharge_allowed=True,
    )
    return msgspec.structs.replace(reading, **changes)


def a_target(power_w: int, *, domain: str = "battery", at_ms: int = 100_000, lease_ms: int = 60_000) -> Order:
    """Return a utility's set point."""
    return Order(
        name="wset",
        source="sunspec 127.0.0.1:40912",
        kind="target",
        domain=domain,  # type: ignore[arg-type]
        low_w=power_w,
        high_w=power_w,
        starts_ms=at_ms,
        expires_ms=at_ms + lease_ms,
    )


def a_snapshot(
    *readings: AnyReading,
    now_ms: int = 100_000,
    orders: tuple[Order, ...] = (),
    missing: tuple[Missing, ...] = (),
    **changes: object,
) -> Snapshot:
    """Return a snapshot; poi_battery_w is the sum of the inverters unless told."""
    battery_w = sum(r.power_w or 0 for r in readings if isinstance(r, Inverter))
    snapshot = Snapshot(
        now_ms=now_ms,
        utc_ms=1_780_000_000_000 + now_ms,
        readings=readings,
        missing=missing,
        orders=orders,
        poi_battery_w=battery_w if any(isinstance(r, Meter) for r in readings) else None,
        utility_silent=not orders,
    )
    return msgspec.structs.replace(snapshot, **changes)


def all_fresh(soc_bp: int = 6000, load_w: int = 0, power_w: int = 0, **changes: object) -> Snapshot:
    """Return a snapshot of one healthy unit at power_w behind a meter with load_w."""
    return a_snapshot(a_meter(power_w - load_w), an_inverter(power_w), a_battery(soc_bp), **changes)


def a_unit(site: Site | None = None, n: int = 1, **changes: object) -> UnitSight:
    """Return a healthy running unit of a_site() as rules see it: 10 kW, 25 kWh, 60 % full, good to 2 %."""
    site = site or a_site(n)
    seen = UnitSight(
        unit=site.unit[n - 1],
        inverter=an_inverter(n=n),
        battery=a_battery(n=n),
        capacity_wh=25_000,
        energy_wh=15_000,
        low_wh=14_500,
        high_wh=15_500,
        soc_bp=6000,
    )
    return msgspec.structs.replace(seen, **changes)


def a_sight(site: Site | None = None, snapshot: Snapshot | None = None, **changes: object) -> Sight:
    """Return a site as rules see it: healthy units, a meter at 0 W and no load behind it."""
    site = site or a_site()
    seen = Sight(
        site=site,
        snapshot=snapshot or all_fresh(),
        meter=a_meter(),
        units=tuple(a_unit(site, n) for n in range(1, len(site.unit) + 1)),
        load_w=0,
        load_low_w=0,
        load_high_w=0,
        balance_w=0,
    )
    return msgspec.structs.replace(seen, **changes)


def let_out(site: Site, snapshot: Snapshot, commands: tuple[Command, ...]) -> tuple[Verdict, ...]:
    """Return what the gate says of commands of a commissioned site that has just started."""
    record = Commission(site=site.name, fingerprint=fingerprint(site), by="test", at="2026-11-01T12:00:00+00:00")
    return check(site, record, snapshot, Memory(), commands)[0]
