"""Where a device is, as its URL tells it."""

from typing import Literal
from urllib.parse import parse_qsl, urlsplit

import msgspec

from controller.link.slcan import BITRATES

Protocol = Literal["sunspec", "can", "modbus_inputs"]
FORMS: dict[str, tuple[str, ...]] = {
    "sunspec": ("tcp://HOST:PORT?unit=1 .. 247",),
    "modbus_inputs": ("tcp://HOST:PORT?unit=1 .. 247",),
    "can": ("slcan://HOST:PORT", "slcan:///dev/TTY", "socketcan://CAN"),
}
INTERFACE_CHARACTERS_MAX = 15  # Linux, IFNAMSIZ less its closing zero


class ModbusAddress(msgspec.Struct, frozen=True, kw_only=True):
    """One Modbus unit behind a TCP port."""

    host: str
    port: int
    unit: int


def modbus_address(url: str) -> ModbusAddress:
    """Return the parts of tcp://HOST:PORT?unit=N. Raises ValueError with what is wrong with it."""
    parts = urlsplit(url)
    if parts.scheme != "tcp":
        raise ValueError(f"the scheme is {parts.scheme!r}")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    unit = query.pop("unit", "")
    if query or parts.path or parts.fragment or "@" in parts.netloc:
        raise ValueError("there is more in it than host, port and unit")
    if not (unit.isascii() and unit.isdigit() and 1 <= int(unit) <= 247):
        raise ValueError(f"the unit is {unit!r}" if unit else "the unit is missing")
    host, port = host_and_port(parts.netloc)
    return ModbusAddress(host=host, port=port, unit=int(unit))


def host_and_port(place: str) -> tuple[str, int]:
    """Return the parts of HOST:PORT, an IPv6 host without its brackets. Raises ValueError with what is wrong."""
    host, colon, port = place.rpartition(":")
    if not colon or not host or " " in host or (":" in host and not host.startswith("[")):
        raise ValueError(f"{place!r} is not HOST:PORT")
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
        raise ValueError(f"the port is {port!r}, not 1 to 65535")
    return host.strip("[]"), int(port)


def address_problem(url: str, protocol: Protocol) -> str:
    """Return what is wrong with a device's URL for a protocol, "" when nothing is."""
    try:
        if protocol == "can":
            _can_address(url)
        else:
            modbus_address(url)
    except ValueError as error:
        return str(error)
    return ""


def _can_address(url: str) -> None:
    parts = urlsplit(url)
    match parts.scheme:
        case "slcan" if parts.netloc:
            host_and_port(parts.netloc)
        case "slcan":
            if not parts.path.startswith("/dev/"):
                raise ValueError(f"{parts.path!r} is not below /dev/")
        case "socketcan":
            if not 1 <= len(parts.netloc) <= INTERFACE_CHARACTERS_MAX or parts.path:
                raise ValueError(f"{parts.netloc + parts.path!r} is not a network interface")
        case _:
            raise ValueError(f"the scheme is {parts.scheme!r}")
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in ("bitrate", "baud") or not (value.isascii() and value.isdigit()):
            raise ValueError(f"{name}={value} is not bitrate=NUMBER or baud=NUMBER")
        if name == "bitrate" and int(value) not in BITRATES:
            raise ValueError(f"the bit rate is {value}, not one of {', '.join(map(str, BITRATES))}")
