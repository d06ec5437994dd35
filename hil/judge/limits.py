"""What holds at one moment beside the site file's fixed limits: contacts, envelope, consumption, reserve, phases.

A contact that cannot be heard counts as active once the site has to know, and until then as the controller knew it: not
at all. Limits are magnitudes; inf where there is none.
"""

from math import inf

from controller.model import Input
from hil.judge.bounds import Bounds
from hil.plant.truth import Truth

PHASES = "abc"


class Limits:
    """The limits of the latest truth. Made once and taken forward."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds, self._poi = bounds, bounds.site.poi
        self._inputs = bounds.site.input
        self._cut_s: dict[str, float] = {}  # since when a module is cut off
        self._enveloped = (self._poi.envelope.import_default_w, self._poi.envelope.export_default_w) != (None, None)
        self._phased = any(
            limit is not None
            for limit in (self._poi.phase_import_max_w, self._poi.phase_export_max_w, self._poi.breaker_max_a)
        )
        fixed = not (self._inputs or self._enveloped or self._phased)
        self._fixed = fixed and self._poi.consumption.failsafe_w is None  # nothing narrows but a reserve
        self.means: frozenset[str] = frozenset()  # of the contacts that act now
        self.input_import_w = self.input_export_w = inf
        self.envelope_import_w = self.envelope_export_w = inf
        self.consumption_w = inf
        self.reserve_pct: float | None = None
        self.import_w, self.export_w = float(self._poi.import_max_w), float(self._poi.export_max_w)  # the narrowest
        self.need_w = (-inf, -inf)  # of discharge and of charge, so that each phase is within its limits

    def take(self, truth: Truth) -> None:
        """Go on to truth."""
        if self._fixed and truth.asked.reserve_pct is None and self.reserve_pct is None:
            return
        if self._inputs:
            self._contacts(truth)
        if self._enveloped:
            self._envelope(truth)
        self._consumption(truth)
        self._reserve(truth)
        poi = self._poi
        self.import_w = min(float(poi.import_max_w), self.input_import_w, self.envelope_import_w)
        self.export_w = min(float(poi.export_max_w), self.input_export_w, self.envelope_export_w)
        if self._phased:
            self.need_w = self._phase_needs_w(truth)

    def phases_over_w(self, truth: Truth, sign: int) -> list[float]:
        """Return how far each phase is beyond its power limit in one direction (1: export)."""
        most_w = self._poi.phase_export_max_w if sign > 0 else self._poi.phase_import_max_w
        if most_w is None or truth.phase_w is None:
            return []
        return [sign * watts - most_w for watts in truth.phase_w]

    def breaker_over_a(self, truth: Truth) -> list[float]:
        """Return by how much each phase's current is beyond the breaker."""
        most_a = self._poi.breaker_max_a
        return [] if most_a is None or truth.phase_a is None else [amps - most_a for amps in truth.phase_a]

    def _contacts(self, truth: Truth) -> None:
        closed = {row.device: row.closed for row in truth.contacts}
        for device in {row.device for row in self._inputs}:
            if device in truth.cut:
                self._cut_s.setdefault(device, truth.t_s)
            else:
                self._cut_s.pop(device, None)
        active = [row for row in self._inputs if self._acts(row, closed, truth.t_s)]
        self.means = frozenset(row.means for row in active)
        self.input_import_w = min(
            (float(row.limit_w or 0) for row in active if row.means == "import_limit"), default=inf
        )
        self.input_export_w = min(
            (float(row.limit_w or 0) for row in active if row.means == "export_limit"), default=inf
        )

    def _acts(self, row: Input, closed: dict[str, tuple[bool, ...]], t_s: float) -> bool:
        since_s = self._cut_s.get(row.device)
        if since_s is not None:
            # What a lost contact means may only narrow: an island and a storm are not taken from silence.
            silent_s = self._bounds.stale_s(row.device) + self._bounds.allowed.silence_s
            return t_s - since_s > silent_s and row.means not in ("islanded", "storm")
        contacts = closed.get(row.device, ())
        return row.channel < len(contacts) and contacts[row.channel] == (row.active == "closed")

    def _envelope(self, truth: Truth) -> None:
        asked, default = truth.asked, self._poi.envelope
        import_w, export_w = asked.envelope_import_w, asked.envelope_export_w
        if import_w is None and export_w is None:
            import_w, export_w = default.import_default_w, default.export_default_w
        self.envelope_import_w = inf if import_w is None else float(import_w)
        self.envelope_export_w = inf if export_w is None else float(export_w)

    def _consumption(self, truth: Truth) -> None:
        consumption, asked = self._poi.consumption, truth.asked
        if consumption.failsafe_w is None:
            return
        self.consumption_w = inf if asked.consumption_w is None else asked.consumption_w
        if asked.consumption_age_s is None or asked.consumption_age_s > consumption.heartbeat_s:
            self.consumption_w = min(self.consumption_w, float(consumption.failsafe_w))

    def _reserve(self, truth: Truth) -> None:
        kept = [] if truth.asked.reserve_pct is None else [truth.asked.reserve_pct]
        if "storm" in self.means:
            kept.append(float(self._bounds.site.storm.reserve_pct))
        self.reserve_pct = max(kept, default=None) if "islanded" not in self.means else None

    def _phase_needs_w(self, truth: Truth) -> tuple[float, float]:
        """Return what has to be discharged and what charged, of all units together, at the least."""
        if truth.phase_w is None:
            return -inf, -inf
        poi, rest_w = self._poi, [*truth.phase_w]
        for row, unit in zip(self._bounds.units, truth.units, strict=True):
            on = [PHASES.index(phase) for phase in row.unit.phases]
            for place in on:
                rest_w[place] -= unit.ac_w / len(on)
        breaker_w = inf if poi.breaker_max_a is None else poi.breaker_max_a * truth.grid_v
        import_w = min(inf if poi.phase_import_max_w is None else poi.phase_import_max_w, breaker_w)
        export_w = min(inf if poi.phase_export_max_w is None else poi.phase_export_max_w, breaker_w)
        parts = len(PHASES) if any(row.unit.phases == PHASES for row in self._bounds.units) else 1
        return (
            max(parts * (-watts - import_w) for watts in rest_w) + poi.margin_w,
            max(parts * (watts - export_w) for watts in rest_w) + poi.margin_w,
        )
