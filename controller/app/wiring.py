"""From a site to its links: one line per host and port, one link per device."""

import msgspec

from controller.app.addresses import modbus_address
from controller.app.sitefile import profile, profile_text
from controller.link import Inbox, Link
from controller.link.can import CanLink
from controller.link.clock import Clock
from controller.link.inputs import InputsLink
from controller.link.modbus import ModbusLine
from controller.link.sunspec import SunSpecLink
from controller.model import Device, Site


def links(site: Site, inbox: Inbox, clock: Clock) -> dict[str, Link]:
    """Return a link per device name. Devices at one host and port share one connection."""
    lines: dict[tuple[str, int], ModbusLine] = {}
    return {device.name: _link(device, lines, inbox, clock) for device in site.device}


def _link(device: Device, lines: dict[tuple[str, int], ModbusLine], inbox: Inbox, clock: Clock) -> Link:
    kind = profile(device.profile)
    kind = msgspec.structs.replace(
        kind, stale_after_ms=device.stale_after_ms or kind.stale_after_ms, poll_ms=device.poll_ms or kind.poll_ms
    )
    if kind.protocol == "can":
        folder = device.profile.rpartition("/")[0]
        return CanLink(device.url, device.name, kind, profile_text(f"{folder}/{kind.dbc}"), inbox=inbox, clock=clock)
    address = modbus_address(device.url)
    place = (address.host, address.port)
    if place not in lines:
        lines[place] = ModbusLine(
            *place, timeout_ms=kind.timeout_ms, gap_ms=kind.gap_ms, connect_delay_ms=kind.connect_delay_ms
        )
    line, unit = lines[place], address.unit
    if kind.protocol == "modbus_inputs":
        return InputsLink(line, unit, device.name, kind, inbox=inbox, clock=clock)
    return SunSpecLink(line, unit, device.name, kind, poll_ms=kind.poll_ms, inbox=inbox, clock=clock)
