"""Chance as a pure function of a seed and a slot of time, so that no result depends on how often anyone looked.

A slot is SLOT_S long. The numbers are those of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
Generators", OOPSLA 2014), read at any place of the sequence: the same on every machine and every Python.
"""

import zlib
from math import floor
from statistics import NormalDist

SLOT_S = 0.1
_EARLY_SLOTS = 1e-6  # a time that is a sum of steps may end this much before its slot and still counts as in it
_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 0xFFFF_FFFF_FFFF_FFFF
_NORMAL = NormalDist()


def slot(t_s: float, slot_s: float = SLOT_S) -> int:
    """Return the number of the slot that holds a time; slot 0 begins at 0 s."""
    return floor(t_s / slot_s + _EARLY_SLOTS)


def named(seed: int, name: str) -> int:
    """Return the seed of one part by its name: another part more or less changes nothing for this one."""
    return _mixed(seed ^ zlib.crc32(name.encode()) << 32)


def uniform(seed: int, number: int) -> float:
    """Return the number-th value of the seed's sequence, evenly spread over 0..1, both ends excluded."""
    return ((_mixed(_mixed(seed) + number * _GOLDEN) >> 12) + 0.5) * 2.0**-52


def normal(seed: int, number: int) -> float:
    """Return the number-th value of the seed's sequence, of a normal distribution with mean 0 and deviation 1."""
    return _NORMAL.inv_cdf(uniform(seed, number))


def _mixed(bits: int) -> int:
    bits &= _MASK
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB & _MASK
    return bits ^ bits >> 31
