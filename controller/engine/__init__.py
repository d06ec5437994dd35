"""One step: watch, fold, ramp, share. Pure: step(site, state, snapshot) -> (state', decision).

Laws:
- The envelope is never empty; a weaker class never widens a stronger one (fold.py).
- The target lies inside the envelope, whatever was wished or ramped.
- The shares add up to the target exactly and each lies in its unit's bounds (share.py).
- The same site, state and snapshot give the same decision, bit for bit: that is what replay checks.

To add to the step, prefer a rule or a program; the engine itself should rarely grow.
"""

from controller.engine.fold import Envelope, fold
from controller.engine.share import share
from controller.engine.step import step

__all__ = ["Envelope", "fold", "share", "step"]
