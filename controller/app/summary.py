"""What was understood of a site file, told so that a person can see at a glance whether it is their site."""

from controller.model import Site


def summary(site: Site) -> str:
    """Return a few lines: units, limits, energy axis, orders, devices."""
    return "\n".join(f"  {title:<8} {text}" for title, text in [*_site(site), *_energy(site), *_devices(site)])


def _site(site: Site) -> list[tuple[str, str]]:
    poi = site.poi
    rows = [("site", f"{site.name}, time zone {site.timezone}, a decision at least every {site.cycle_ms} ms")]
    for unit in site.unit:
        ends = f"{-unit.charge_max_w:+d} .. {unit.discharge_max_w:+d} W at the grid side, {unit.capacity_wh} Wh"
        falls = f"falls back by itself after {unit.watchdog_s} s"
        rows.append((f"unit {unit.name}", f"{ends}, {unit.inverter} with {' and '.join(unit.batteries)}, {falls}"))
    rows.append(
        ("grid", f"at most {poi.import_max_w} W in and {poi.export_max_w} W out, of each {poi.margin_w} W kept free")
    )
    silent = f"load up to {poi.load_max_w} W, generation up to {poi.generation_max_w} W"
    rows.append(("", f"while {poi.meter} is silent: {silent} are assumed"))
    return rows


def _energy(site: Site) -> list[tuple[str, str]]:
    energy, utility = site.energy, site.utility
    total_wh = sum(unit.capacity_wh for unit in site.unit)
    floor_wh, reserve_wh, ceiling_wh = (
        total_wh * pct // 100 for pct in (energy.floor_pct, energy.reserve_pct, energy.ceiling_pct)
    )
    axis = f"0 | floor {floor_wh} | reserve {reserve_wh} | ceiling {ceiling_wh} | {total_wh} Wh"
    default = utility.default
    then = f"program {default.program}" if default.program else f"{default.power_w or 0:+d} W"
    silent = f"silent after {utility.silent_after_s} s, then {then}"
    return [
        ("energy", axis),
        ("", f"between reserve and ceiling {ceiling_wh - reserve_wh} Wh may be used"),
        ("utility", f"SunSpec at {utility.listen} unit {utility.unit_id}, lease {utility.lease_s} s; {silent}"),
        ("program", f"{site.program} when nothing is asked, {len(site.window)} calendar windows"),
    ]


def _devices(site: Site) -> list[tuple[str, str]]:
    return [
        ("device", f"{row.name}: {row.profile} at {row.url}, stale after {row.stale_after_ms} ms")
        for row in site.device
    ]
