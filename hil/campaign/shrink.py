"""The shrinker: the smallest part of a failing scenario that still fails.

Delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE TSE 28(2), 2002) on
the list of faults, then on the list of stimuli, then the scenario is cut off behind what is left.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from hil.scenario.words import Scenario

T = TypeVar("T")
AFTER_S = 120.0  # kept behind the last thing that happens, for what it causes

Fails = Callable[[Scenario], bool]


def shrunk(scenario: Scenario, fails: Fails) -> Scenario:
    """Return a smallest scenario that still fails: no single fault or stimulus of it can be left out."""
    faults = smallest(scenario.fault, lambda kept: fails(msgspec.structs.replace(scenario, fault=tuple(kept))))
    scenario = msgspec.structs.replace(scenario, fault=tuple(faults))
    stimuli = smallest(scenario.stimulus, lambda kept: fails(msgspec.structs.replace(scenario, stimulus=tuple(kept))))
    scenario = msgspec.structs.replace(scenario, stimulus=tuple(stimuli))
    for shorter in _shorter(scenario):
        if fails(shorter):
            return shorter
    return scenario


def smallest(parts: Sequence[T], fails: Callable[[list[T]], bool]) -> list[T]:
    """Return a part of the list that still fails and of which nothing single can be left out (ddmin)."""
    kept, pieces = list(parts), 2
    while len(kept) > 1:
        size = -(-len(kept) // pieces)
        for start in range(0, len(kept), size):
            without = kept[:start] + kept[start + size :]
            if fails(without):
                kept, pieces = without, max(2, pieces - 1)
                break
        else:
            if pieces >= len(kept):
                break
            pieces = min(len(kept), 2 * pieces)
    if len(kept) == 1 and fails([]):
        return []
    return kept


def _shorter(scenario: Scenario) -> list[Scenario]:
    """Return the scenario cut off behind its last fault, shortest first."""
    ends_s = [(fault.at_s or 0.0) + (fault.for_s or 0.0) for fault in scenario.fault if fault.at_s is not None]
    if not ends_s or len(ends_s) < len(scenario.fault):
        return []
    found = []
    quiet_s = max(ends_s) + 1
    healed_s = None if scenario.heal_s is None else min(scenario.heal_s, quiet_s)
    for factor in (1, 4):
        length_s = quiet_s + max(factor * AFTER_S, scenario.judge.within_s or 0.0)
        if length_s < scenario.length_s:
            found.append(msgspec.structs.replace(scenario, length_s=length_s, heal_s=healed_s))
    return found
