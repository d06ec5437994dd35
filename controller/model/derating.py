"""Derating tables of a kind of battery: how much of a unit's power a cell's voltage, temperature or charge leaves."""

from typing import Annotated

import msgspec
from msgspec import Meta

Percent = Annotated[int, Meta(ge=0, le=100)]
Curve = tuple[
    tuple[Annotated[int, Meta(ge=-100_000, le=100_000)], Percent], ...
]  # (value, percent), values rising; level beyond both ends


class Derating(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Polylines from a value to percent of the unit's nameplate; an empty one is the profile's, or does not derate.

    A curve makes its datum mandatory: where the battery does not tell it, nothing is left in the curve's direction.
    latch: once derated, the voltage curves hold the least percentage until the curve gives 100 again, for the voltage
    rebounds as soon as the current falls.
    """

    charge_by_cell_max_mv: Annotated[Curve, Meta(description="charging, by the highest cell's mV")] = ()
    discharge_by_cell_min_mv: Annotated[Curve, Meta(description="discharging, by the lowest cell's mV")] = ()
    charge_by_temperature_c: Annotated[
        Curve, Meta(description="charging, by degrees Celsius: the least over the coldest and the hottest cell")
    ] = ()
    discharge_by_temperature_c: Annotated[Curve, Meta(description="discharging, by degrees Celsius, likewise")] = ()
    charge_by_soc_pct: Annotated[Curve, Meta(description="charging, by percent state of charge")] = ()
    discharge_by_soc_pct: Annotated[Curve, Meta(description="discharging, by percent state of charge")] = ()
    latch: Annotated[bool, Meta(description="hold a voltage derating until it is fully released")] = True
