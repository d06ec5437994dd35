"""What is asked (orders) and what is allowed (limits). A target is an interval of width zero."""

from typing import Literal

import msgspec


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What somebody outside asks of the site, with a lease. [low_w, high_w] is closed; a target has low_w == high_w.

    envelope: an operating envelope at the POI (class 2). consumption: what may be drawn from the grid at most, as
    -low_w (class 2). reserve: energy kept for the customer (class 4). reactive: the batteries' reactive power.
    """

    name: str  # one per asker and function; a new order replaces the old one of the same name
    source: str  # who asked, as a person would tell it: "sunspec 127.0.0.1:40912"
    kind: Literal["target", "limit", "cease", "envelope", "consumption", "reserve", "reactive"]
    domain: Literal["battery", "poi"]
    low_w: int
    high_w: int
    starts_ms: int
    expires_ms: int
    soc_bp: int = 0  # reserve: what is to be kept
    by_ms: int = 0  # reserve: when it is to be reached, 0 = it is kept and not charged for
    reactive_var: int = 0  # reactive: positive = toward the grid (over-excited)


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """One interval that a rule or a program lays on a unit or, with unit "", on the site's batteries together."""

    rule: str
    priority: int  # class 0 (safety) .. 7 (economics)
    low_w: int
    high_w: int
    because: str
    unit: str = ""
