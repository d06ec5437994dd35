"""A site with all that a rule can need: digital inputs, cells that are told, two inverters on two batteries."""

from controller.app.sitefile import profile
from controller.model import Consumption, Device, Energy, Envelope, Input, Poi, Site, Unit, Utility
from controller.model.site import Default

PROFILES = {
    "inverter1": "inverters/sunspec_der",
    "inverter2": "inverters/sunspec_der",
    "meter": "meters/sunspec_meter",
    "pack1": "batteries/canbus_bms",
    "pack2": "batteries/canbus_bms",
    "inputs": "inputs/modbus_discrete",
}
POLLED_MS = {"inverter1": 200, "inverter2": 200, "meter": 200}


def rich_site() -> Site:
    """Return units of 8 and 4 kW that share two batteries of 20 kWh each."""
    return Site(
        name="rich",
        poi=Poi(
            meter="meter",
            import_max_w=24_000,
            export_max_w=12_000,
            load_max_w=22_000,
            generation_max_w=5_000,
            phase_import_max_w=9_000,
            breaker_max_a=63,
            envelope=Envelope(import_default_w=20_000, export_default_w=10_000),
            consumption=Consumption(failsafe_w=4_200, heartbeat_s=10),
        ),
        energy=Energy(floor_pct=10, reserve_pct=30, ceiling_pct=95, taper_s=5),
        unit=(_unit("one", "inverter1", 8_000), _unit("two", "inverter2", 4_000)),
        device=tuple(_device(name) for name in PROFILES),
        input=(
            Input(name="stop", device="inputs", channel=0, means="emergency_stop"),
            Input(name="storm", device="inputs", channel=3, means="storm"),
        ),
        utility=Utility(
            listen="127.0.0.1:8602", lease_s=5, silent_after_s=5, default=Default(program="self_consumption")
        ),
    )


def _unit(name: str, inverter: str, power_w: int) -> Unit:
    return Unit(
        name=name,
        inverter=inverter,
        battery=("pack1", "pack2"),
        charge_max_w=power_w,
        discharge_max_w=power_w,
        capacity_wh=40_000,
        apparent_max_va=power_w * 9 // 8,
        watchdog_s=4,
        settle_ms=1000,
        isolation_min_kohm=100,
    )


def _device(name: str) -> Device:
    """Return a device as the site file resolves it."""
    kind, port = profile(PROFILES[name]), 8603 + [*PROFILES].index(name)
    return Device(
        name=name,
        profile=PROFILES[name],
        url=f"tcp://127.0.0.1:{port}?unit=1" if kind.protocol != "can" else f"slcan://127.0.0.1:{port}",
        poll_ms=POLLED_MS.get(name, kind.poll_ms),
        stale_after_ms=kind.stale_after_ms,
    )
