"""Steps of a scenario: one after another, each waits for something or watches that something holds."""

from collections.abc import Callable

from hil.run.outcome import StepOutcome
from hil.scenario.words import Step

Holds = Callable[[str], bool]
SLACK_S = 1e-6


class Steps:
    """The steps under way. holds(expression) tells whether it is true now."""

    def __init__(self, steps: tuple[Step, ...]) -> None:
        self._steps = steps
        self._outcomes: list[StepOutcome] = []
        self._began_s: float | None = None
        self._true_s: float | None = None  # since when `until` is true without a break

    @property
    def now(self) -> str:
        """Return what is waited for, "" when nothing is."""
        step = self._step()
        return "" if step is None or self._began_s is None else _told(step)

    def look(self, t_s: float, holds: Holds) -> None:
        """Look at the moment t_s; several steps may be done at once."""
        while (step := self._step()) is not None:
            if self._began_s is None:
                if step.at_s is not None and t_s < step.at_s - SLACK_S:
                    return
                self._began_s, self._true_s = t_s, None
            wrong = self._wrong(step, t_s, holds)
            if wrong is None:
                return
            self._outcomes.append(StepOutcome(says=_told(step), began_s=self._began_s, done_s=t_s, wrong=wrong))
            self._began_s = None

    def outcomes(self) -> tuple[StepOutcome, ...]:
        """Return what became of each; what was not done by the end is wrong."""
        left = self._steps[len(self._outcomes) :]
        late = [
            StepOutcome(
                says=_told(step),
                began_s=self._began_s if place == 0 else None,
                done_s=None,
                wrong="not done when the scenario ended",
            )
            for place, step in enumerate(left)
        ]
        return (*self._outcomes, *late)

    def _step(self) -> Step | None:
        done = len(self._outcomes)
        return self._steps[done] if done < len(self._steps) else None

    def _wrong(self, step: Step, t_s: float, holds: Holds) -> str | None:
        """Return what is wrong with a step that is over, "" where nothing is; None while it goes on."""
        assert self._began_s is not None
        for_s = t_s - self._began_s
        if step.until is None:
            text = step.always or step.never or ""
            if holds(text) == (step.never is not None):
                word = "was true" if step.never is not None else "was not true"
                return f"{text} {word} after {for_s:.1f} s"
            return "" if for_s >= (step.for_s or 0.0) - SLACK_S else None
        if not holds(step.until):
            self._true_s = None
            late = step.within_s is not None and for_s > step.within_s + SLACK_S
            return f"{step.until} was not so within {step.within_s:g} s" if late else None
        self._true_s = t_s if self._true_s is None else self._true_s
        if step.within_s is not None and self._true_s - self._began_s > step.within_s + SLACK_S:
            return (
                f"{step.until} was so only after {self._true_s - self._began_s:.1f} s, not within {step.within_s:g} s"
            )
        return "" if t_s - self._true_s >= step.maintain_s - SLACK_S else None


def _told(step: Step) -> str:
    return step.says or step.until or step.always or f"never {step.never}"
