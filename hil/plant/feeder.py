"""The feeder toward the grid as an OpenDSS circuit: an impedance between the phases' sources and the site.

It needs the extra `feeder` (OpenDSSDirect.py). The circuit is text in OpenDSS's own language; it has three
single-phase sources, `source`, `source_2` and `source_3`, and a bus `site` with the nodes 1, 2 and 3, where the power
of the site is put. CIRCUIT is one of our own: the source, 1 km of overhead line at medium voltage and a service
transformer.
"""

from importlib import import_module
from types import ModuleType

from hil.plant.grid import EVEN, Phases

# An 11 kV source of 250 MVA; a 50 mm2 aluminium line; a 100 kVA transformer with 4 % impedance, 1.5 kW of it copper
# loss. The load voltage is the site's, so that the site has 1 pu without load.
CIRCUIT = """
Clear
Set DefaultBaseFrequency={nominal_hz}
New Circuit.feeder bus1=source.1 phases=1 basekv=6.351 angle=0 Z1=[0.05, 0.48] Z0=[0.05, 0.48]
New Vsource.source_2 bus1=source.2 phases=1 basekv=6.351 angle=-120 Z1=[0.05, 0.48] Z0=[0.05, 0.48]
New Vsource.source_3 bus1=source.3 phases=1 basekv=6.351 angle=120 Z1=[0.05, 0.48] Z0=[0.05, 0.48]
New Line.mv bus1=source bus2=mv phases=3 length=1 units=km r1=0.64 x1=0.38 r0=0.79 x0=1.6 c1=10 c0=5
New Transformer.service windings=2 phases=3 buses=[mv, site.1.2.3.0] conns=[delta, wye] kvs=[11, {line_kv}]
~ kvas=[100, 100] %loadloss=1.5 xhl=3.71 %noloadloss=0.2 %imag=0.5
"""
_LOADS = """
New Load.site_1 bus1=site.1 phases=1 kv={nominal_kv} kw=0 kvar=0 model=1 vminpu=0.5 vmaxpu=1.5
New Load.site_2 bus1=site.2 phases=1 kv={nominal_kv} kw=0 kvar=0 model=1 vminpu=0.5 vmaxpu=1.5
New Load.site_3 bus1=site.3 phases=1 kv={nominal_kv} kw=0 kvar=0 model=1 vminpu=0.5 vmaxpu=1.5
Set MaxIterations=50
Set ControlMode=Off
"""
SOURCES = ("source", "source_2", "source_3")
LOADS = ("site_1", "site_2", "site_3")
DEAD_PU = 1e-6  # OpenDSS takes no source of 0 V
IDLE_PU = 0.8  # a circuit that gives its site less than this without load is not connected


class Feeder:
    """An OpenDSS circuit with the site on it; satisfies hil.plant.grid.Impedance."""

    def __init__(self, nominal_v: float = 230.0, nominal_hz: float = 50.0, circuit: str = CIRCUIT) -> None:
        """Compile the circuit, with nominal_hz, nominal_kv (phase to neutral) and line_kv filled in.

        Raises ImportError where OpenDSSDirect.py is not here, ValueError where the circuit is wrong.
        """
        opendss = _opendss()
        self._nominal_v = nominal_v
        self._dss = opendss.NewContext()
        self._asked: tuple[Phases, Phases, Phases] | None = None
        self._solved = EVEN
        values = {"nominal_hz": nominal_hz, "nominal_kv": nominal_v / 1000, "line_kv": 3**0.5 * nominal_v / 1000}
        try:
            for line in (circuit + _LOADS).format(**values).split("\n"):
                self._dss.Text.Command(line)
            idle_pu = self.solve((1.0, 1.0, 1.0), EVEN, EVEN)
        except opendss.DSSException as error:
            raise ValueError(f"the feeder's circuit: {error}") from error
        if min(idle_pu) < IDLE_PU:
            raise ValueError(f"the feeder's circuit leaves the bus site without voltage: {idle_pu} pu on its phases")

    def solve(self, source_v_pu: Phases, phase_w: Phases, phase_var: Phases) -> Phases:
        """Return the voltages at the site in pu; all 0 where the circuit has no solution: the voltage collapses."""
        asked = (source_v_pu, phase_w, phase_var)
        if asked == self._asked:
            return self._solved
        dss = self._dss
        for source, source_pu in zip(SOURCES, source_v_pu, strict=True):
            dss.Vsources.Name(source)
            dss.Vsources.PU(max(DEAD_PU, source_pu))
        for load, power_w, reactive_var in zip(LOADS, phase_w, phase_var, strict=True):
            dss.Loads.Name(load)
            dss.Loads.kW(-power_w / 1000)
            dss.Loads.kvar(-reactive_var / 1000)
        dss.Solution.Solve()
        dss.Circuit.SetActiveBus("site")
        v_1, _, v_2, _, v_3, *_ = dss.Bus.VMagAngle()
        volts = (v_1 / self._nominal_v, v_2 / self._nominal_v, v_3 / self._nominal_v)
        self._asked, self._solved = asked, volts if dss.Solution.Converged() else EVEN
        return self._solved


def _opendss() -> ModuleType:
    try:
        return import_module("opendssdirect")
    except ImportError as error:
        raise ImportError("a feeder needs OpenDSSDirect.py: pip install linepack[feeder]") from error
