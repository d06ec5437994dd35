"""The site as one DER: its ratings, its scale factors, and which points the utility may write."""

from importlib import metadata
from typing import Literal

import msgspec

from controller.model import Site
from controller.utility.sunspec_map import Registers, Writable

MODELS = (1, 701, 702, 703, 704, 713, 715)
PCT_SF = -2  # all percentages of 704 and 713 are in hundredths: basis points
FULL_BP = 10_000
REVERSION_MAX_S = 86_400  # one day: a longer timer is taken for a mistake, an order without end is none
INT16_MAX = 32_767
UINT16_MAX = 65_534  # 0xFFFF means not implemented
UINT32_MAX = 0xFFFF_FFFE
REACTIVE_PCT = 44  # of the apparent power; what IEEE 1547-2018 table 7 asks of an inverter, both ways in category B
OVERLOAD_PCT = 125  # measured power is shown up to this much of the rating
VAR_MAX_PCT, VARS = 1, 4  # VarSetMod: the set point is VarSetPct of VarMaxInj, or VarSet
DEFINED = None  # legal are the symbols of the model definition


class Ratings(msgspec.Struct, frozen=True, kw_only=True):
    """What the units can do together. A set point may lie in [low_w, high_w] of its domain."""

    charge_max_w: int
    discharge_max_w: int  # WMax, which percentages refer to
    capacity_wh: int
    domain: Literal["battery", "poi"]
    low_w: int
    high_w: int
    reactive_max_var: int  # both ways, 0 = no set point of reactive power is taken
    apparent_max_va: int | None  # None where a unit does not tell its own

    def watts(self, share_bp: int) -> int:
        """Return basis points of WMax in watts, rounded down."""
        return share_bp * self.discharge_max_w // FULL_BP

    def vars(self, share_bp: int) -> int:
        """Return basis points of VarMaxInj in vars, rounded toward zero."""
        magnitude_var = abs(share_bp) * self.reactive_max_var // FULL_BP
        return magnitude_var if share_bp >= 0 else -magnitude_var

    def set_point_bp(self) -> range:
        """Return the percentages, in basis points, at which a set point stays within [low_w, high_w]."""
        if self.discharge_max_w == 0:
            return range(1)
        low_bp = -(-self.low_w * FULL_BP // self.discharge_max_w)
        high_bp = self.high_w * FULL_BP // self.discharge_max_w
        return range(max(-FULL_BP, low_bp), min(FULL_BP, high_bp) + 1)


def ratings(site: Site) -> Ratings:
    """Return the units' ratings together. A set point at the POI is bounded by the interconnection limits instead."""
    charge_max_w = sum(unit.charge_max_w for unit in site.unit)
    discharge_max_w = sum(unit.discharge_max_w for unit in site.unit)
    apparents_va = [unit.apparent_max_va for unit in site.unit if unit.apparent_max_va is not None]
    at_poi = site.utility.domain == "poi"
    return Ratings(
        charge_max_w=charge_max_w,
        discharge_max_w=discharge_max_w,
        capacity_wh=sum(banks(site).values()),
        domain=site.utility.domain,
        low_w=-site.poi.import_max_w if at_poi else -charge_max_w,
        high_w=site.poi.export_max_w if at_poi else discharge_max_w,
        reactive_max_var=sum(apparents_va) * REACTIVE_PCT // 100,
        apparent_max_va=sum(apparents_va) if len(apparents_va) == len(site.unit) else None,
    )


def banks(site: Site) -> dict[tuple[str, ...], int]:
    """Return the batteries that work as one and their capacity in Wh; units that share them count once."""
    return {unit.batteries: unit.capacity_wh for unit in site.unit}


def exponent(largest: int, most: int) -> int:
    """Return the smallest power of ten that brings largest down to most."""
    power = 0
    while largest > most * 10**power:
        power += 1
    return power


def writable(rated: Ratings) -> dict[str, Writable]:
    """Return the points the utility may write, with the function they belong to and their raw range."""
    seconds = range(REVERSION_MAX_S + 1)
    watts = range(rated.low_w, rated.high_w + 1)
    share_bp, limit_bp = rated.set_point_bp(), range(FULL_BP + 1)
    points = {
        "703.ES": Writable("cease", DEFINED),
        "704.WMaxLimPctEna": Writable("wmaxlim", DEFINED),
        "704.WMaxLimPct": Writable("wmaxlim", limit_bp),
        "704.WMaxLimPctRvrt": Writable("wmaxlim", limit_bp),
        "704.WMaxLimPctEnaRvrt": Writable("wmaxlim", DEFINED),
        "704.WMaxLimPctRvrtTms": Writable("wmaxlim", seconds),
        "704.WSetEna": Writable("wset", DEFINED),
        "704.WSetMod": Writable("wset", DEFINED),
        "704.WSet": Writable("wset", watts),
        "704.WSetRvrt": Writable("wset", watts),
        "704.WSetPct": Writable("wset", share_bp),
        "704.WSetPctRvrt": Writable("wset", share_bp),
        "704.WSetEnaRvrt": Writable("wset", DEFINED),
        "704.WSetRvrtTms": Writable("wset", seconds),
        "715.ControllerHb": Writable("heartbeat", range(UINT32_MAX + 1)),
        "715.OpCtl": Writable("cease", DEFINED),
    }
    return points | _writable_reactive(rated) if rated.reactive_max_var else points


def _writable_reactive(rated: Ratings) -> dict[str, Writable]:
    amount = range(-rated.reactive_max_var, rated.reactive_max_var + 1)
    share_bp = range(-FULL_BP, FULL_BP + 1)
    return {
        "704.VarSetEna": Writable("varset", DEFINED),
        "704.VarSetMod": Writable("varset", range(VAR_MAX_PCT, VARS + 1, VARS - VAR_MAX_PCT)),  # these two
        "704.VarSet": Writable("varset", amount),
        "704.VarSetRvrt": Writable("varset", amount),
        "704.VarSetPct": Writable("varset", share_bp),
        "704.VarSetPctRvrt": Writable("varset", share_bp),
        "704.VarSetEnaRvrt": Writable("varset", DEFINED),
        "704.VarSetRvrtTms": Writable("varset", range(REVERSION_MAX_S + 1)),
    }


def registers(site: Site) -> Registers:
    """Return the site's registers as they are at the start: measurements unknown, nothing asked, service permitted."""
    rated = ratings(site)
    values = _identity(site) | _capacity(rated) | _controls()
    if rated.reactive_max_var:
        values |= _reactive(rated)
    return Registers(MODELS, values, writable(rated))


def _identity(site: Site) -> dict[str, int | str]:
    return {
        "1.Mn": "Linepack",
        "1.Md": "Site controller",
        "1.Vr": metadata.version("linepack"),
        "1.SN": site.name,
        "1.DA": site.utility.unit_id,
    }


def _capacity(rated: Ratings) -> dict[str, int | str]:
    power_max_w = max(rated.charge_max_w, rated.discharge_max_w)
    measured_sf = exponent(power_max_w * OVERLOAD_PCT // 100, INT16_MAX)
    rated_sf = exponent(power_max_w, UINT16_MAX)
    energy_sf = exponent(rated.capacity_wh, UINT16_MAX)
    charge, discharge = rated.charge_max_w // 10**rated_sf, rated.discharge_max_w // 10**rated_sf
    return {
        "701.ACType": 0,  # mandatory; the site is shown as one sum without phases
        "701.W_SF": measured_sf,
        "701.Var_SF": exponent(max(power_max_w, rated.reactive_max_var) * OVERLOAD_PCT // 100, INT16_MAX),
        "701.V_SF": -1,
        "701.Hz_SF": -3,
        "702.W_SF": rated_sf,
        "702.WMaxRtg": discharge,
        "702.WChaRteMaxRtg": charge,
        "702.WDisChaRteMaxRtg": discharge,
        "702.WMax": discharge,
        "702.WChaRteMax": charge,
        "702.WDisChaRteMax": discharge,
        "702.CtrlModes": 0b11,  # MAX_W, FIXED_W
        "713.WH_SF": energy_sf,
        "713.Pct_SF": PCT_SF,
        "713.WHRtg": rated.capacity_wh // 10**energy_sf,
    }


def _reactive(rated: Ratings) -> dict[str, int | str]:
    reactive_sf = exponent(rated.reactive_max_var, UINT16_MAX)
    most = rated.reactive_max_var // 10**reactive_sf
    values: dict[str, int | str] = {
        "702.CtrlModes": 0b111,  # MAX_W, FIXED_W, FIXED_VAR
        "702.VarMaxInjRtg": most,
        "702.VarMaxAbsRtg": most,
        "702.VarMaxInj": most,
        "702.VarMaxAbs": most,
        "702.Var_SF": reactive_sf,
        "704.VarSetEna": 0,
        "704.VarSetMod": VARS,
        "704.VarSet": 0,
        "704.VarSetRvrt": 0,
        "704.VarSetPct": 0,
        "704.VarSetPctRvrt": 0,
        "704.VarSetEnaRvrt": 0,
        "704.VarSetRvrtTms": 0,
        "704.VarSetRvrtRem": 0,
        "704.VarSet_SF": 0,
        "704.VarSetPct_SF": PCT_SF,
    }
    if rated.apparent_max_va is not None:
        apparent_sf = exponent(rated.apparent_max_va, UINT16_MAX)
        apparent = rated.apparent_max_va // 10**apparent_sf
        values |= {"702.VAMaxRtg": apparent, "702.VAMax": apparent, "702.VA_SF": apparent_sf}
    return values


def _controls() -> dict[str, int | str]:
    return {
        "703.ES": 1,
        "704.WMaxLimPct_SF": PCT_SF,
        "704.WMaxLimPctEna": 0,
        "704.WMaxLimPct": FULL_BP,
        "704.WMaxLimPctRvrt": FULL_BP,
        "704.WMaxLimPctEnaRvrt": 0,
        "704.WMaxLimPctRvrtTms": 0,
        "704.WMaxLimPctRvrtRem": 0,
        "704.WSet_SF": 0,
        "704.WSetPct_SF": PCT_SF,
        "704.WSetEna": 0,
        "704.WSetMod": 1,  # watts
        "704.WSet": 0,
        "704.WSetRvrt": 0,
        "704.WSetPct": 0,
        "704.WSetPctRvrt": 0,
        "704.WSetEnaRvrt": 0,
        "704.WSetRvrtTms": 0,
        "704.WSetRvrtRem": 0,
        "715.LocRemCtl": 0,  # remote
        "715.DERHb": 0,
        "715.ControllerHb": 0,
        "715.OpCtl": 1,  # started
    }
