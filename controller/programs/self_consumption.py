"""Class 7: cover the site's own load from the batteries and store its own surplus: 0 W at the meter.

The loop of control 2.5, no PID: the load is estimated at the meter sample's own time, so it does not contain our own
power; it acts once per fresh sample and not on samples taken while our own move was in flight. Small corrections are
made at reduced gain, which keeps the noise of meter and load out of the battery.
"""

from controller.model import Limit, Sight

SMALL_MOVE_PCT = 2  # of the units' nameplate together, and at least SMALL_MOVE_W
SMALL_MOVE_W = 200
SMALL_GAIN_PCT = 35


def next_balance_w(last_w: int | None, load_w: int, nameplate_w: int) -> int:
    """Return what the batteries should cover after a fresh sample of the load, from what they covered before."""
    if last_w is None:
        return load_w
    move_w = load_w - last_w
    if abs(move_w) >= max(SMALL_MOVE_W, nameplate_w * SMALL_MOVE_PCT // 100):
        return load_w
    return last_w + move_w * SMALL_GAIN_PCT // 100


def wish(sight: Sight) -> Limit:
    """Return the batteries' power that brings the POI to 0 W, 0 W while the load is not known."""
    if sight.balance_w is None or sight.load_low_w is None:
        because = "the load behind the POI is not known: nothing can be balanced"
        return Limit(rule="self_consumption", priority=7, low_w=0, high_w=0, because=because)
    balance_w = sight.balance_w
    because = f"load less generation is about {balance_w} W: the batteries cover it"
    return Limit(rule="self_consumption", priority=7, low_w=balance_w, high_w=balance_w, because=because)
