"""The search for the factor whose model comes nearest to a target."""

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from .target import Target

__all__ = ["Found", "find_factor"]

# A model within this of its target ends the search; so does a bracket of factors this narrow, or this many models.
_NEAR = 0.002
_NARROW = 1.002
_MODELS = 9
_STEPS = 40


@dataclass(frozen=True)
class Found:
    """A factor and what its model has of the target's measure."""

    factor: float
    value: int


def find_factor(
    target: Target, start: Found, exponent: float, value_at: Callable[[float], tuple[Hashable, Callable[[], int]]]
) -> tuple[Found, Found | None, Found | None]:
    """The factor whose model comes nearest to ``target``, the least of several.

    Reachable values are uneven, since depths, widths and resolutions are whole. The same factor is found on every
    machine: only exact counts are compared.

    Args:
        target: what is to be reached.
        start: the base.
        exponent: the measure grows about as factor to this power.
        value_at: of a factor: what its model is made from, and what counts it.

    Returns:
        The nearest; the largest found below the target; the smallest found above.
    """
    counted: dict[Hashable, int] = {}
    below: Found | None = None
    above: Found | None = None
    factor = _four_digits(start.factor * (target.value / start.value) ** (1 / exponent))
    best: Found | None = None
    stale = 0
    for _ in range(_STEPS):
        model, count = value_at(factor)
        new = model not in counted
        if new:
            counted[model] = count()
        found = Found(factor, counted[model])
        if best is None or (_off(found, target), found.factor) < (_off(best, target), best.factor):
            best = found
        if found.value <= target.value and (below is None or found.value >= below.value):
            below = found
        if found.value >= target.value and (above is None or found.value <= above.value):
            above = found
        stale = 0 if new else stale + 1
        if _off(best, target) < _NEAR or len(counted) >= _MODELS or stale >= 12:
            break
        following = _next(target, below, above, found, exponent)
        if following is None or following == factor:
            break
        factor = following
    assert best is not None
    return best, below, above


def _next(target: Target, below: Found | None, above: Found | None, last: Found, exponent: float) -> float | None:
    if below is None or above is None:
        by = (target.value / last.value) ** (1 / exponent)
        # At least so far that the rounding of something changes.
        by = max(by, 1.03) if above is None else min(by, 1 / 1.03)
        return _four_digits(last.factor * by)
    low, high = sorted((below.factor, above.factor))
    if high / low < _NARROW:
        return None
    share = 0.5
    if above.value > below.value:
        share = math.log(target.value / below.value) / math.log(above.value / below.value)
    share = min(max(share, 0.15), 0.85)
    return _four_digits(below.factor * (above.factor / below.factor) ** share)


def _off(found: Found, target: Target) -> float:
    return abs(found.value / target.value - 1)


def _four_digits(value: float) -> float:
    return float(f"{value:.4g}")
