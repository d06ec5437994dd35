"""How well a power followed an order: PJM's performance score, and errors in the manner of PNNL-22010's duty cycles.

Only the time counts in which the true energy and the other limits let an ideal follower give all that was asked. What
is asked is held between its changes and read where it does not change (series.raster_s). PNNL's sums of errors are
taken over one sample a second, in per unit of rated power, whatever the recording's own pace.
"""

from collections.abc import Callable
from math import isnan, sqrt

from hil.judge.recording import Metric, Recording
from hil.judge.series import raster_s
from hil.score import SAMPLE_S, Score, pjm_score

NEAR_PU = 0.02
EDGE_PU = 0.01  # a smaller change of the order is no edge


def pjm(run: Recording) -> Score | None:
    """Return PJM's score of the 5-minute blocks that count, None where there is none."""
    times_s = raster_s(run.begun_s, run.ended_s, SAMPLE_S, _edges_s(run))
    asked = [run.asked.held(t_s) / run.rated_w for t_s in times_s]
    delivered = [run.delivered.at(t_s) / run.rated_w for t_s in times_s]
    counted = [run.met.held(t_s) == 1 for t_s in times_s]
    return pjm_score(asked, delivered, counted)


def errors_pu(run: Recording) -> list[float]:
    """Return asked less delivered once a second, in per unit, where it counts."""
    times_s = raster_s(run.begun_s, run.ended_s, 1.0, _edges_s(run))
    return [(run.asked.held(t_s) - run.delivered.at(t_s)) / run.rated_w for t_s in times_s if run.met.held(t_s) == 1]


def counted_pct(run: Recording) -> float | None:
    """Return in which part of the time with an order the ideal follower could give all of it."""
    asked_s = met_s = 0.0
    for (length_s, asked_w, _), (_, met, _) in zip(run.asked.spans(), run.met.spans(), strict=True):
        if not isnan(asked_w):
            asked_s += length_s
            met_s += length_s * met
    return 100 * met_s / asked_s if asked_s else None


def _edges_s(run: Recording) -> list[float]:
    edges = run.asked.edges()
    return [edge.at_s for edge in edges if not abs(edge.end - edge.start) < EDGE_PU * run.rated_w]


def _score(part: str) -> Callable[[Recording], float | None]:
    def of(run: Recording) -> float | None:
        score = pjm(run)
        return None if score is None else float(getattr(score, part))

    return of


def _errors(reckon: Callable[[list[float]], float]) -> Callable[[Recording], float | None]:
    def of(run: Recording) -> float | None:
        errors = errors_pu(run)
        return reckon(errors) if errors else None

    return of


ROWS = (
    Metric("counted_pct", "%", "of the time with an order in which the reference could give all of it", counted_pct),
    Metric("pjm_score", "1", "PJM's performance score (M12): mean of the three below", _score("total")),
    Metric("pjm_correlation", "1", "best correlation within 5 minutes", _score("correlation")),
    Metric("pjm_delay", "1", "1 at once, 0 at 5 minutes", _score("delay")),
    Metric("pjm_precision", "1", "1 less mean error over mean signal", _score("precision")),
    Metric("rms_error_pu", "pu", "root mean square error", _errors(lambda e: sqrt(sum(x * x for x in e) / len(e)))),
    Metric("mean_error_pu", "pu", "mean absolute error", _errors(lambda e: sum(map(abs, e)) / len(e))),
    Metric("squared_error", "pu^2", "sum of squared errors, PNNL style", _errors(lambda e: sum(x * x for x in e))),
    Metric("absolute_error", "pu", "sum of absolute errors, PNNL style", _errors(lambda e: sum(map(abs, e)))),
    Metric(
        "within_2_pct",
        "%",
        "of the time within 2 % of rated, PNNL style",
        _errors(lambda e: 100 * sum(abs(x) <= NEAR_PU for x in e) / len(e)),
    ),
)
