"""From a site to its links: one line per host and port, one link per device."""

from urllib.parse import parse_qs, urlsplit

import msgspec

from controller.app.sitefile import profile, profile_text
from controller.link import Inbox, Link
from controller.link.can import CanLink
from controller.link.clock import Clock
from controller.link.modbus import ModbusLine
from controller.link.sunspec import SunSpecLink
from controller.model import Device, Site


def links(site: Site, inbox: Inbox, clock: Clock) -> dict[str, Link]:
    """Return a link per device name. Devices at one host and port share one connection."""
    lines: dict[tuple[str, int], ModbusLine] = {}
    return {device.name: _link(device, lines, inbox, clock) for device in site.device}


def _link(device: Device, lines: dict[tuple[str, int], ModbusLine], inbox: Inbox, clock: Clock) -> Link:
    kind = profile(device.profile)
    kind = msgspec.structs.replace(kind, stale_after_ms=device.stale_after_ms or kind.stale_after_ms)
    if kind.protocol == "can":
        folder = device.profile.rpartition("/")[0]
        return CanLink(device.url, device.name, kind, profile_text(f"{folder}/{kind.dbc}"), inbox=inbox, clock=clock)
    parts = urlsplit(device.url)
    place = (parts.hostname or "", parts.port or 502)
    if place not in lines:
        lines[place] = ModbusLine(
            *place, timeout_ms=kind.timeout_ms, gap_ms=kind.gap_ms, connect_delay_ms=kind.connect_delay_ms
        )
    unit = int(parse_qs(parts.query).get("unit", ["1"])[0])
    return SunSpecLink(
        lines[place], unit, device.name, kind, poll_ms=device.poll_ms or kind.poll_ms, inbox=inbox, clock=clock
    )
