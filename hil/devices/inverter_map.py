"""The emulated inverter's 14 models with the values that never change, as raw register values.

Source: SunSpec model definitions 1, 103, 120-124 and DER models 701-704, 713-715. What is not named is not implemented.
"""

from typing import Any

from hil.devices.sunspec import Writable
from hil.plant.inverter import InverterSpec

UNIT = 1
OVERLOAD = 1.25  # measured power is shown up to this many times the rating
INT16_MAX = 32_767
WH_STEP = 10  # model 713 counts in 10 Wh, so that a battery of 650 kWh still fits
UINT32_MAX = 2**32 - 2
DAY_S = 86_400
VA_MAX_PCT, VARS = 3, 4  # 704.VarSetMod; this device takes no other


def models(spec: InverterSpec, capacity_wh: float, hz: float, serial: str) -> dict[int, dict[str, Any]]:
    """Return model number -> point -> raw value. capacity_wh: of the battery; hz: nominal."""
    rated_w, amps = round(spec.rated_w), round(spec.rated_w / 690 * 10)
    rating, rating_va = _Rating(spec.rated_w), _Rating(spec.rated_va)
    enter_hz = {"ESHzHi": round(hz * 100) + 10, "ESHzLo": round(hz * 100) - 100}
    energy_steps = round(capacity_wh / WH_STEP)
    return {
        1: {"Mn": "Linepack", "Md": "Bench inverter", "Opt": f"{rated_w} W", "Vr": "1.0", "SN": serial, "DA": UNIT},
        103: _measured_int_sf(hz, rating, rating_va),
        120: _nameplate(rating, rating_va, amps, energy_steps),
        121: _settings(rating, rating_va, hz),
        122: {"PVConn": 0, "StorConn": 7, "ECPConn": 1, "StActCtl": 0, "VArAval_SF": 0, "WAval_SF": 0} | {"Ris_SF": 3},
        123: _limits(),
        124: _storage(rating),
        701: _measured(hz, rating, rating_va) | {"ACType": 2 if spec.phases == "abc" else 0},
        702: _capacity(spec, rating, rating_va, amps),
        703: {"ES": 1, "ESVHi": 1050, "ESVLo": 917, "ESDlyTms": 300, "ESRndTms": 0, "ESRmpTms": 300}
        | {"ESDlyRemTms": 0, "V_SF": -1, "Hz_SF": -2}
        | enter_hz,
        704: _control(spec),
        713: {"WHRtg": energy_steps, "SoH": 10_000, "Sta": 0, "WH_SF": 1, "Pct_SF": -2},
        714: _dc_port(rating),
        715: {"LocRemCtl": 0, "DERHb": 0, "ControllerHb": 0, "AlarmReset": 0, "OpCtl": 1},
    }


class _Rating:
    """The rating in the steps of the registers: exponent is the power of ten of one step in W."""

    def __init__(self, rated_w: float) -> None:
        self.exponent = 0
        while rated_w * OVERLOAD > INT16_MAX * 10**self.exponent:
            self.exponent += 1
        self.steps = round(rated_w / 10**self.exponent)


def writable(spec: InverterSpec) -> tuple[Writable, ...]:
    """Return what a client may write; everything else is read-only on this device."""
    rated_w, rated_var = round(spec.rated_w), round(spec.rated_va)
    return (
        Writable("704.WSetEna", 0, 1),
        Writable("704.WSetMod", 0, 1),
        Writable("704.WSet", -rated_w, rated_w),
        Writable("704.WSetRvrt", -rated_w, rated_w),
        Writable("704.WSetPct", -1000, 1000),
        Writable("704.WSetPctRvrt", -1000, 1000),
        Writable("704.WSetEnaRvrt", 0, 1),
        Writable("704.WSetRvrtTms", 0, DAY_S),
        Writable("704.WMaxLimPctEna", 0, 1),
        Writable("704.WMaxLimPct", 0, 1000),
        Writable("704.WMaxLimPctRvrt", 0, 1000),
        Writable("704.WMaxLimPctEnaRvrt", 0, 1),
        Writable("704.WMaxLimPctRvrtTms", 0, DAY_S),
        Writable("704.VarSetEna", 0, 1),
        Writable("704.VarSetMod", VA_MAX_PCT, VARS),
        Writable("704.VarSetPri", 0, 1),
        Writable("704.VarSet", -rated_var, rated_var),
        Writable("704.VarSetRvrt", -rated_var, rated_var),
        Writable("704.VarSetPct", -1000, 1000),
        Writable("704.VarSetPctRvrt", -1000, 1000),
        Writable("704.VarSetEnaRvrt", 0, 1),
        Writable("704.VarSetRvrtTms", 0, DAY_S),
        Writable("704.WRmp", 1, 10_000),
        Writable("715.ControllerHb", 0, UINT32_MAX),
        Writable("715.AlarmReset", 0, 1),
        Writable("715.OpCtl", 0, 3),
    )


def _measured_int_sf(hz: float, rating: _Rating, rating_va: _Rating) -> dict[str, Any]:
    scale = {"A_SF": -1, "V_SF": -1, "W_SF": rating.exponent, "Hz_SF": -2, "VA_SF": rating_va.exponent}
    scale |= {"VAr_SF": rating_va.exponent, "PF_SF": -1, "WH_SF": 0}
    volts = {"PPVphAB": 3984, "PPVphBC": 3984, "PPVphCA": 3984, "PhVphA": 2300, "PhVphB": 2300, "PhVphC": 2300}
    fixed = {"Hz": round(100 * hz), "VAr": 0, "TmpCab": 35, "Tmp_SF": 0, "Evt1": 0, "Evt2": 0}
    return scale | volts | fixed | {"DCA_SF": -1, "DCV_SF": -2, "DCW_SF": rating.exponent}


def _nameplate(rating: _Rating, rating_va: _Rating, rated_da: int, energy_steps: int) -> dict[str, Any]:
    reactive = {"VArRtgQ1": 0, "VArRtgQ2": 0, "VArRtgQ3": 0, "VArRtgQ4": 0, "VArRtg_SF": 0}
    factor = {"PFRtgQ1": 100, "PFRtgQ2": 100, "PFRtgQ3": 100, "PFRtgQ4": 100, "PFRtg_SF": -2}
    power = {
        "DERTyp": 82,
        "WRtg": rating.steps,
        "WRtg_SF": rating.exponent,
        "VARtg": rating_va.steps,
        "VARtg_SF": rating_va.exponent,
        "ARtg": rated_da,
        "ARtg_SF": -1,
    }
    storage = {"WHRtg": energy_steps, "WHRtg_SF": 1, "MaxChaRte": rating.steps, "MaxChaRte_SF": rating.exponent}
    discharge = {"MaxDisChaRte": rating.steps, "MaxDisChaRte_SF": rating.exponent}
    return reactive | factor | power | storage | discharge


def _settings(rating: _Rating, rating_va: _Rating, hz: float) -> dict[str, Any]:
    power = {"WMax": rating.steps, "WMax_SF": rating.exponent, "VAMax": rating_va.steps, "VAMax_SF": rating_va.exponent}
    volts = {"VRef": 400, "VRef_SF": 0, "VRefOfs": 0, "VRefOfs_SF": 0, "ECPNomHz": round(hz), "ECPNomHz_SF": 0}
    return power | volts | {"WGra": 1000, "WGra_SF": 0}


def _limits() -> dict[str, Any]:
    power = {"Conn": 1, "WMaxLimPct": 100, "WMaxLimPct_SF": 0, "WMaxLim_Ena": 0}
    return power | {"OutPFSet": 100, "OutPFSet_SF": -2, "OutPFSet_Ena": 0, "VArPct_Ena": 0, "VArPct_SF": 0}


def _storage(rating: _Rating) -> dict[str, Any]:
    power = {"WChaMax": rating.steps, "WChaMax_SF": rating.exponent, "WChaGra": 100, "WDisChaGra": 100}
    power |= {"WChaDisChaGra_SF": 0}
    return power | {"StorCtl_Mod": 0, "ChaState_SF": -2, "InBatV_SF": -2, "InOutWRte_SF": 0, "ChaGriSet": 1}


def _measured(hz: float, rating: _Rating, rating_va: _Rating) -> dict[str, Any]:
    scale = {"A_SF": -1, "V_SF": -1, "Hz_SF": -3, "W_SF": rating.exponent, "PF_SF": -2, "VA_SF": rating_va.exponent}
    scale |= {"Var_SF": rating_va.exponent, "TotWh_SF": 0}
    state = {"St": 1, "InvSt": 3, "ConnSt": 1, "Alrm": 0, "DERMode": 1}
    volts = {"LLV": 3984, "LNV": 2300, "VL1": 2300, "VL2": 2300, "VL3": 2300, "VL1L2": 3984, "VL2L3": 3984}
    fixed = {"VL3L1": 3984, "Hz": round(1000 * hz), "Var": 0, "VarL1": 0, "VarL2": 0, "VarL3": 0, "PF": 100}
    return scale | state | volts | fixed | {"TotVarh_SF": 0, "Tmp_SF": 0, "TmpCab": 35, "MnAlrmInfo": ""}


def _capacity(spec: InverterSpec, rating: _Rating, rating_va: _Rating, rated_da: int) -> dict[str, Any]:
    most, most_va = rating.steps, rating_va.steps
    most_var = round(most_va * spec.var_max_pct / 100)
    ratings = {"WMaxRtg": most, "VAMaxRtg": most_va, "WChaRteMaxRtg": most, "WDisChaRteMaxRtg": most}
    ratings |= {"VarMaxInjRtg": most_var, "VarMaxAbsRtg": most_var, "VarMaxInj": most_var, "VarMaxAbs": most_var}
    more = {"VNomRtg": 4000, "VMaxRtg": 4400, "VMinRtg": 3500, "AMaxRtg": rated_da, "NorOpCatRtg": 0, "AbnOpCatRtg": 0}
    settings = {"WMax": most, "VAMax": most_va, "WChaRteMax": most, "WDisChaRteMax": most, "VNom": 4000}
    scale = {"W_SF": rating.exponent, "PF_SF": -2, "VA_SF": rating_va.exponent, "Var_SF": rating_va.exponent}
    scale |= {"V_SF": -1, "A_SF": -1}
    return ratings | more | settings | scale | {"S_SF": 0, "CtrlModes": 0b111, "IntIslandCatRtg": 0}


def _control(spec: InverterSpec) -> dict[str, Any]:
    power = {"WSetEna": 0, "WSetMod": 1, "WSet": 0, "WSetRvrt": 0, "WSetPct": 0, "WSetPctRvrt": 0, "WSetEnaRvrt": 0}
    limit = {"WMaxLimPctEna": 0, "WMaxLimPct": 1000, "WMaxLimPctRvrt": 1000, "WMaxLimPctEnaRvrt": 0}
    limit |= {"WMaxLimPctRvrtTms": 0, "WMaxLimPctRvrtRem": 0, "WMaxLimPct_SF": -1}
    timer = {"WSetRvrtTms": 0, "WSetRvrtRem": 0, "WSet_SF": 0, "WSetPct_SF": -1, "AntiIslEna": 1}
    priority = 0 if spec.priority == "active" else 1
    reactive = {"VarSetEna": 0, "VarSetMod": VARS, "VarSetPri": priority, "VarSet": 0, "VarSetRvrt": 0, "VarSetPct": 0}
    reactive |= {"VarSetPctRvrt": 0, "VarSetEnaRvrt": 0, "VarSetRvrtTms": 0, "VarSetRvrtRem": 0}
    reactive |= {"VarSet_SF": 0, "VarSetPct_SF": -1}
    ramp_pct = min(10_000, round(spec.ramp_w_per_s / spec.rated_w * 100))
    return power | limit | timer | reactive | {"WRmp": ramp_pct, "WRmpRef": 1}


def _dc_port(rating: _Rating) -> dict[str, Any]:
    scale = {"DCA_SF": -1, "DCV_SF": -2, "DCW_SF": rating.exponent, "DCWH_SF": 0, "Tmp_SF": 0}
    port = {"PrtTyp": 1, "ID": 1, "IDStr": "battery", "DCSta": 1, "DCAlrm": 0}
    return scale | {"PrtAlrms": 0, "NPrt": 1, "Prt": [port]}
