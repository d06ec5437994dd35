"""How the journal tells powers, times and readings to people."""

from collections.abc import Mapping

from controller.model import AnyReading, Battery, Inputs, Inverter, Meter, Phase

MODES: Mapping[str, str] = {
    "follow": "followed the utility",
    "default": "took the fixed power that the site file sets for a silent utility",
    "self_consumption": "covered the site's own load",
    "hold": "rested",
}
PHASES: Mapping[Phase, str] = {
    "off": "off",
    "precharge": "starting, the contactor first",
    "standby": "starting, the inverter to come",
    "run": "running",
    "ramp_down": "being stopped",
    "fault": "failed to start",
}


def watts(power_w: int) -> str:
    """Return power with its sign: +3,200 W."""
    return f"{power_w:+,} W" if power_w else "0 W"


def power(power_w: int, *, at_poi: bool = False) -> str:
    """Return power with sign and word: discharge and charge for batteries, export and import at the POI."""
    outward, inward = ("export", "import") if at_poi else ("discharge", "charge")
    return f"{watts(power_w)} ({outward if power_w > 0 else inward})" if power_w else "0 W"


def powers(least_w: int, most_w: int) -> str:
    """Return a range of the batteries' power; the word of both ends is told once where it is the same."""
    if least_w == most_w:
        return power(least_w)
    return f"{watts(least_w) if least_w * most_w > 0 else power(least_w)} to {power(most_w)}"


def watt_hours(energy_wh: int) -> str:
    """Return energy: 4,520 Wh."""
    return f"{energy_wh:,} Wh"


def percent(part_bp: int) -> str:
    """Return basis points as percent: 45.2 %."""
    return f"{part_bp / 100:g} %"


def duration(span_ms: int) -> str:
    """Return a span in the unit a person would use: 300 ms, 42 s, 5 min, 3 h 20 min, 4 days."""
    seconds = span_ms // 1000
    if abs(span_ms) < 1000:
        return f"{span_ms} ms"
    if seconds < 120:
        return f"{span_ms / 1000:.1f}".rstrip("0").rstrip(".") + " s" if span_ms < 10_000 else f"{seconds} s"
    if seconds < 7200:
        return f"{seconds // 60} min"
    if seconds < 2 * 86_400:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 86_400} days"


def reading(heard: AnyReading) -> str:
    """Return what a device said, in one line."""
    if isinstance(heard, Meter):
        parts = [power(heard.power_w, at_poi=True), _volts(heard.voltage_mv), _hertz(heard.frequency_mhz)]
        parts += _phases(heard)
    elif isinstance(heard, Inverter):
        parts = _inverter(heard)
    elif isinstance(heard, Inputs):
        parts = [f"{n} {'closed' if closed else 'open'}" for n, closed in enumerate(heard.closed)]
    else:
        parts = _battery(heard)
    return ", ".join(part for part in parts if part)


def _phases(heard: Meter) -> list[str]:
    return [
        f"phases {', '.join(watts(phase_w) for phase_w in heard.phase_w)}" if heard.phase_w else "",
        f"at {', '.join(_volts(phase_mv) for phase_mv in heard.phase_mv)}" if heard.phase_mv else "",
        f"with {', '.join(f'{phase_ma / 1000:.1f} A' for phase_ma in heard.phase_ma)}" if heard.phase_ma else "",
    ]


def _inverter(heard: Inverter) -> list[str]:
    return [
        "power not told" if heard.power_w is None else power(heard.power_w),
        "" if heard.reactive_var is None else f"{heard.reactive_var:+,} var",
        f"state {heard.state}",
        "not connected to the grid" if heard.connected is False else "",
        "" if heard.remote else "in local control",
        "" if heard.charge_max_w is None else f"set to at most {heard.charge_max_w:,} W in",
        "" if heard.discharge_max_w is None else f"set to at most {heard.discharge_max_w:,} W out",
        "" if heard.apparent_max_va is None else f"set to at most {heard.apparent_max_va:,} VA",
        _isolation(heard.isolation_kohm),
        _listed("alarms", heard.alarms),
    ]


def _battery(heard: Battery) -> list[str]:
    return [
        "state of charge not told" if heard.soc_bp is None else f"state of charge {percent(heard.soc_bp)}",
        "" if heard.soh_bp is None else f"health {percent(heard.soh_bp)}",
        _volts(heard.voltage_mv),
        "" if heard.current_ma is None else f"{heard.current_ma / 1000:+.1f} A",
        "charge limit not told" if heard.charge_max_ma is None else f"takes {heard.charge_max_ma / 1000:g} A",
        "discharge limit not told" if heard.discharge_max_ma is None else f"gives {heard.discharge_max_ma / 1000:g} A",
        _between(heard),
        _cells(heard),
        "" if heard.temperature_mc is None else f"{heard.temperature_mc / 1000:.1f} °C",
        _temperatures(heard),
        _isolation(heard.isolation_kohm),
        "" if heard.modules is None else f"{heard.modules} modules",
        "" if heard.packs == (1, 1) else f"{heard.packs[0]} of {heard.packs[1]} packs connected",
        "charging not permitted" if heard.charge_allowed is False else "",
        "discharging not permitted" if heard.discharge_allowed is False else "",
        "contactor open" if heard.contactor_closed is False else "",
        "asks to be charged at once" if heard.force_charge else "",
        "asks for a full charge" if heard.full_charge_wanted else "",
        _listed("alarms", heard.alarms),
        _listed("warnings", heard.warnings),
    ]


def _volts(voltage_mv: int | None) -> str:
    return "" if voltage_mv is None else f"{voltage_mv / 1000:.1f} V"


def _hertz(frequency_mhz: int | None) -> str:
    return "" if frequency_mhz is None else f"{frequency_mhz / 1000:.2f} Hz"


def _between(heard: Battery) -> str:
    most = "" if heard.charge_max_mv is None else f"at most {_volts(heard.charge_max_mv)}"
    least = "" if heard.discharge_min_mv is None else f"at least {_volts(heard.discharge_min_mv)}"
    return " and ".join(part for part in (least, most) if part)


def _cells(heard: Battery) -> str:
    if heard.cell_min_mv is None and heard.cell_max_mv is None:
        return ""
    ends = (heard.cell_min_mv, heard.cell_max_mv)
    return "cells " + " to ".join("unknown" if end is None else f"{end / 1000:.3f} V" for end in ends)


def _temperatures(heard: Battery) -> str:
    if heard.temperature_min_mc is None and heard.temperature_max_mc is None:
        return ""
    ends = (heard.temperature_min_mc, heard.temperature_max_mc)
    return "cells at " + " to ".join("unknown" if end is None else f"{end / 1000:.1f} °C" for end in ends)


def _isolation(isolation_kohm: int | None) -> str:
    return "" if isolation_kohm is None else f"{isolation_kohm:,} kohm against earth"


def _listed(name: str, members: tuple[str, ...]) -> str:
    return f"{name}: {', '.join(members)}" if members else ""
