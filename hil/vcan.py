"""Where the demo's battery sits: on a CAN interface of the kernel, or where it has none on slcan.

Source: include/uapi/linux/if_arp.h for the type, include/uapi/linux/if.h for the flag.
"""

from pathlib import Path

from hil.children import SetupError

NET = Path("/sys/class/net")
ARPHRD_CAN = "280"
IFF_UP = 0x1
MAKE_ONE = "ip link add dev vcan0 type vcan && ip link set vcan0 up"


def interface(asked: str, net: Path = NET) -> str | None:
    """Return the CAN interface to use, None for slcan.

    asked: "auto" takes the first vcan that is up and never an adapter, whose bus may hold a real battery; "off" takes
    slcan; all else is the name of an interface. Raises SetupError when that one is no CAN interface or not up.
    """
    if asked == "off":
        return None
    if asked == "auto":
        found = sorted(path.name for path in net.glob("vcan*") if not (path / "device").exists() and _up(path))
        return found[0] if found else None
    if not _up(net / asked):
        raise SetupError(f"{asked} is no CAN interface that is up. A virtual one is made with: {MAKE_ONE}")
    return asked


def _up(path: Path) -> bool:
    """Say whether there is a CAN interface that is up."""
    try:
        kind, flags = (path / "type").read_text().strip(), int((path / "flags").read_text(), 16)
    except (OSError, ValueError):
        return False
    return kind == ARPHRD_CAN and bool(flags & IFF_UP)
