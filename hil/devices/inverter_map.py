"""The emulated inverter's 14 models with the values that never change, as raw register values.

Source: SunSpec model definitions 1, 103, 120-124 and DER models 701-704, 713-715. What is not named is not implemented.
"""

from typing import Any

from hil.devices.sunspec import Writable
from hil.plant.battery import Pack
from hil.plant.inverter import Rating

UNIT = 1
WH_STEP = 10  # model 713 counts in 10 Wh, so that a battery of 650 kWh still fits
UINT32_MAX = 2**32 - 2
DAY_S = 86_400


def models(rating: Rating, pack: Pack) -> dict[int, dict[str, Any]]:
    """Return model number -> point -> raw value."""
    rated_w, amps = round(rating.rated_w), round(rating.rated_w / 690 * 10)
    return {
        1: {"Mn": "Linepack", "Md": "Bench inverter", "Opt": "10 kW", "Vr": "1.0", "SN": "INV-0001", "DA": UNIT},
        103: _measured_int_sf(),
        120: _nameplate(rated_w, amps, pack),
        121: _settings(rated_w),
        122: {"PVConn": 0, "StorConn": 7, "ECPConn": 1, "StActCtl": 0, "VArAval_SF": 0, "WAval_SF": 0},
        123: _limits(),
        124: _storage(rated_w),
        701: _measured(),
        702: _capacity(rated_w, amps),
        703: {"ES": 1, "ESVHi": 1050, "ESVLo": 917, "ESHzHi": 5010, "ESHzLo": 4900, "ESDlyTms": 300}
        | {"ESRndTms": 0, "ESRmpTms": 300, "ESDlyRemTms": 0, "V_SF": -1, "Hz_SF": -2},
        704: _control(rating),
        713: {"WHRtg": round(pack.capacity_wh / WH_STEP), "SoH": 10_000, "Sta": 0, "WH_SF": 1, "Pct_SF": -2},
        714: _dc_port(),
        715: {"LocRemCtl": 0, "DERHb": 0, "ControllerHb": 0, "AlarmReset": 0, "OpCtl": 1},
    }


def writable(rating: Rating) -> tuple[Writable, ...]:
    """Return what a client may write; everything else is read-only on this device."""
    rated_w = round(rating.rated_w)
    return (
        Writable("704.WSetEna", 0, 1),
        Writable("704.WSetMod", 0, 1),
        Writable("704.WSet", -rated_w, rated_w),
        Writable("704.WSetRvrt", -rated_w, rated_w),
        Writable("704.WSetPct", -1000, 1000),
        Writable("704.WSetPctRvrt", -1000, 1000),
        Writable("704.WSetEnaRvrt", 0, 1),
        Writable("704.WSetRvrtTms", 0, DAY_S),
        Writable("704.WRmp", 1, 10_000),
        Writable("715.ControllerHb", 0, UINT32_MAX),
        Writable("715.AlarmReset", 0, 1),
        Writable("715.OpCtl", 0, 3),
    )


def _measured_int_sf() -> dict[str, Any]:
    scale = {"A_SF": -1, "V_SF": -1, "W_SF": 0, "Hz_SF": -2, "VA_SF": 0, "VAr_SF": 0, "PF_SF": -1, "WH_SF": 0}
    volts = {"PPVphAB": 3984, "PPVphBC": 3984, "PPVphCA": 3984, "PhVphA": 2300, "PhVphB": 2300, "PhVphC": 2300}
    fixed = {"Hz": 5000, "VAr": 0, "TmpCab": 35, "Tmp_SF": 0, "Evt1": 0, "Evt2": 0}
    return scale | volts | fixed | {"DCA_SF": -1, "DCV_SF": -2, "DCW_SF": 0}


def _nameplate(rated_w: int, rated_da: int, pack: Pack) -> dict[str, Any]:
    reactive = {"VArRtgQ1": 0, "VArRtgQ2": 0, "VArRtgQ3": 0, "VArRtgQ4": 0, "VArRtg_SF": 0}
    factor = {"PFRtgQ1": 100, "PFRtgQ2": 100, "PFRtgQ3": 100, "PFRtgQ4": 100, "PFRtg_SF": -2}
    power = {
        "DERTyp": 82,
        "WRtg": rated_w,
        "WRtg_SF": 0,
        "VARtg": rated_w,
        "VARtg_SF": 0,
        "ARtg": rated_da,
        "ARtg_SF": -1,
    }
    storage = {"WHRtg": round(pack.capacity_wh / WH_STEP), "WHRtg_SF": 1, "MaxChaRte": rated_w, "MaxChaRte_SF": 0}
    return reactive | factor | power | storage | {"MaxDisChaRte": rated_w, "MaxDisChaRte_SF": 0}


def _settings(rated_w: int) -> dict[str, Any]:
    power = {"WMax": rated_w, "WMax_SF": 0, "VAMax": rated_w, "VAMax_SF": 0, "WGra": 1000, "WGra_SF": 0}
    return power | {"VRef": 400, "VRef_SF": 0, "VRefOfs": 0, "VRefOfs_SF": 0, "ECPNomHz": 50, "ECPNomHz_SF": 0}


def _limits() -> dict[str, Any]:
    power = {"Conn": 1, "WMaxLimPct": 100, "WMaxLimPct_SF": 0, "WMaxLim_Ena": 0}
    return power | {"OutPFSet": 100, "OutPFSet_SF": -2, "OutPFSet_Ena": 0, "VArPct_Ena": 0, "VArPct_SF": 0}


def _storage(rated_w: int) -> dict[str, Any]:
    power = {"WChaMax": rated_w, "WChaMax_SF": 0, "WChaGra": 100, "WDisChaGra": 100, "WChaDisChaGra_SF": 0}
    return power | {"StorCtl_Mod": 0, "ChaState_SF": -2, "InBatV_SF": -2, "InOutWRte_SF": 0, "ChaGriSet": 1}


def _measured() -> dict[str, Any]:
    scale = {"A_SF": -1, "V_SF": -1, "Hz_SF": -3, "W_SF": 0, "PF_SF": -2, "VA_SF": 0, "Var_SF": 0, "TotWh_SF": 0}
    state = {"ACType": 2, "St": 1, "InvSt": 3, "ConnSt": 1, "Alrm": 0, "DERMode": 1}
    volts = {"LLV": 3984, "LNV": 2300, "VL1": 2300, "VL2": 2300, "VL3": 2300, "VL1L2": 3984, "VL2L3": 3984}
    fixed = {"VL3L1": 3984, "Hz": 50_000, "Var": 0, "VarL1": 0, "VarL2": 0, "VarL3": 0, "PF": 100}
    return scale | state | volts | fixed | {"TotVarh_SF": 0, "Tmp_SF": 0, "TmpCab": 35, "MnAlrmInfo": ""}


def _capacity(rated_w: int, rated_da: int) -> dict[str, Any]:
    ratings = {"WMaxRtg": rated_w, "VAMaxRtg": rated_w, "WChaRteMaxRtg": rated_w, "WDisChaRteMaxRtg": rated_w}
    more = {"VNomRtg": 4000, "VMaxRtg": 4400, "VMinRtg": 3500, "AMaxRtg": rated_da, "NorOpCatRtg": 0, "AbnOpCatRtg": 0}
    settings = {"WMax": rated_w, "VAMax": rated_w, "WChaRteMax": rated_w, "WDisChaRteMax": rated_w, "VNom": 4000}
    scale = {"W_SF": 0, "PF_SF": -2, "VA_SF": 0, "Var_SF": 0, "V_SF": -1, "A_SF": -1, "S_SF": 0}
    return ratings | more | settings | scale | {"CtrlModes": 0b10, "IntIslandCatRtg": 0}


def _control(rating: Rating) -> dict[str, Any]:
    power = {"WSetEna": 0, "WSetMod": 1, "WSet": 0, "WSetRvrt": 0, "WSetPct": 0, "WSetPctRvrt": 0, "WSetEnaRvrt": 0}
    timer = {"WSetRvrtTms": 0, "WSetRvrtRem": 0, "WSet_SF": 0, "WSetPct_SF": -1, "AntiIslEna": 1}
    return power | timer | {"WRmp": round(rating.ramp_w_per_s / rating.rated_w * 100), "WRmpRef": 1}


def _dc_port() -> dict[str, Any]:
    scale = {"DCA_SF": -1, "DCV_SF": -2, "DCW_SF": 0, "DCWH_SF": 0, "Tmp_SF": 0}
    port = {"PrtTyp": 1, "ID": 1, "IDStr": "battery", "DCSta": 1, "DCAlrm": 0}
    return scale | {"PrtAlrms": 0, "NPrt": 1, "Prt": [port]}
