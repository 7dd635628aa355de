"""Targets such as ``16gf``, and the factor that comes nearest to one."""

import math
import re
from collections.abc import Callable

from timm_regnet_ds._check import number

__all__ = ["nearest_factor", "parse_flops"]

UNITS = {"mf": 1e6, "gf": 1e9}


def parse_flops(target: str) -> float:
    """``4gf`` → 4e9, ``600mf`` → 6e8.

    Raises:
        ValueError: not a number above 0 with one of the units.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(mf|gf)", str(target))
    if match is None:
        raise ValueError(f"target {target!r} is not a number followed by one of {', '.join(UNITS)}, as in '4gf'")
    return number("target", float(match[1]), above=0) * UNITS[match[2]]


def nearest_factor(flops_at: Callable[[float], float], target: float) -> float:
    """The factor of three significant digits whose flops come nearest to ``target``; the least of several.

    Three digits are what the scaling paper's own factors have. Rounding makes ``flops_at`` uneven, so that a
    neighbourhood of the first factor that reaches the target is searched in full.

    Args:
        flops_at: flops of the model scaled by a factor, within a factor of two in proportion to it.
        target: flops wanted.
    """
    guess = target / flops_at(1.0)
    low, high = _rank(guess / 2), _rank(guess * 2)
    while low < high:
        middle = (low + high) // 2
        if flops_at(_factor(middle)) < target:
            low = middle + 1
        else:
            high = middle
    near = [_factor(rank) for rank in range(low - 20, low + 21)]
    return min(near, key=lambda factor: abs(flops_at(factor) - target))


# The factors of three significant digits in order, 900 to a decade: rank 0 is 1.00, rank 1 is 1.01.
def _factor(rank: int) -> float:
    decade, step = divmod(rank, 900)
    return float(f"{100 + step}e{decade - 2}")


def _rank(factor: float) -> int:
    decade = math.floor(math.log10(factor))
    return decade * 900 + round(factor / 10 ** (decade - 2)) - 100
