"""The functions of IEEE 1547-2018 that shape an inverter's P and Q, with the lags they answer with.

Their order is the standard's (4.7, as IEEE 1547.1-2020 tests it in 5.13 and 5.16): frequency-droop moves P away from
what it was before the disturbance, at low frequency past the active power limit too; volt-watt caps the result.
"""

from collections.abc import Callable

from hil.plant.functions import (
    Functions,
    constant_factor_pu,
    droop_pu,
    lagged,
    volt_var_pu,
    volt_watt_pu,
    watt_var_pu,
)

NEAR_PU = 5e-5  # a lag that is closer to its end has arrived: 0.5 W of 10 kW


class GridSupport:
    """The lags of one inverter. P is per unit of its rated power, Q of its rated apparent power.

    enabled: a function is on. moving: a lag has not arrived.
    """

    def __init__(self, functions: Functions, nominal_hz: float, rated_ratio: float) -> None:
        self._droop, self._volt_watt = functions.freq_droop, functions.volt_watt
        self._nominal_hz = nominal_hz
        self._wanted_var = _wanted_var(functions, rated_ratio)
        self.enabled = self._wanted_var is not None or self._droop.enabled or self._volt_watt.enabled
        self.moving = False
        self._q_pu, self._cap_pu, self._path_pu = 0.0, 1.0, 0.0
        self._droop_pu: float | None = None  # P while droop or the way back from it holds it
        self._before_pu: float | None = None  # P before the disturbance; None = there is none

    def reset(self) -> None:
        """Start anew: the inverter has stopped."""
        self._q_pu, self._cap_pu, self._path_pu = 0.0, 1.0, 0.0
        self._droop_pu = self._before_pu = None

    def power_pu(self, dt_s: float, path_pu: float, now_pu: float, v_pu: float, off_hz: float) -> float:
        """Return P after dt_s under one voltage and frequency.

        path_pu: P by set point and limit alone; now_pu: P as it flows. What the path moves while droop holds P is
        added to it: the standard is silent there, and dispatch must go on in a long disturbance.
        """
        self.moving = False
        moved_pu, self._path_pu = path_pu - self._path_pu, path_pu
        setting = self._volt_watt
        if setting.enabled:
            self._cap_pu = self._lagged(self._cap_pu, volt_watt_pu(setting, v_pu), dt_s, setting.response_s)
        free_pu = min(path_pu, self._cap_pu)
        if not self._droop.enabled:
            return free_pu
        return min(self._droops(dt_s, moved_pu, free_pu, now_pu, off_hz), self._cap_pu)

    def reactive_pu(self, dt_s: float, power_pu: float, v_pu: float) -> float:
        """Return Q after dt_s at one voltage and one P. To be called after power_pu."""
        if self._wanted_var is None:
            return 0.0
        wanted_pu, response_s = self._wanted_var(power_pu, v_pu)
        self._q_pu = self._lagged(self._q_pu, wanted_pu, dt_s, response_s)
        return self._q_pu

    def _droops(self, dt_s: float, moved_pu: float, free_pu: float, now_pu: float, off_hz: float) -> float:
        """Return P as frequency-droop has it: free_pu, unless the frequency is off or was so just now."""
        change_pu = droop_pu(self._droop, self._nominal_hz, off_hz)
        if change_pu is None:
            self._before_pu, target_pu = None, free_pu
            if self._droop_pu is None:
                return free_pu
            from_pu = self._droop_pu + moved_pu
        else:
            self._before_pu = now_pu if self._before_pu is None else self._before_pu + moved_pu
            target_pu = min(1.0, max(-1.0, self._before_pu + change_pu))
            from_pu = now_pu if self._droop_pu is None else self._droop_pu + moved_pu
        at_pu = self._lagged(from_pu, target_pu, dt_s, self._droop.response_s)
        self._droop_pu = None if change_pu is None and at_pu == target_pu else at_pu
        return at_pu

    def _lagged(self, value: float, target_value: float, dt_s: float, response_s: float) -> float:
        value = lagged(value, target_value, dt_s, response_s)
        if abs(target_value - value) < NEAR_PU:
            return target_value
        self.moving = True
        return value


def _wanted_var(functions: Functions, rated_ratio: float) -> Callable[[float, float], tuple[float, float]] | None:
    """Return the function of P and V that gives Q and its response time in s; None where none is on."""
    volt_var, watt_var = functions.volt_var, functions.watt_var
    factor, constant = functions.constant_factor, functions.constant_var
    if volt_var.enabled:
        return lambda _, v_pu: (volt_var_pu(volt_var, v_pu), volt_var.response_s)
    if watt_var.enabled:
        return lambda power_pu, _: (watt_var_pu(watt_var, power_pu), watt_var.response_s)
    if factor.enabled:
        return lambda power_pu, _: (constant_factor_pu(factor, power_pu, rated_ratio), factor.response_s)
    if constant.enabled:
        return lambda *_: (constant.q_pu, constant.response_s)
    return None
