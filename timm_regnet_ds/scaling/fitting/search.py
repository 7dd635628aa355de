"""The search for the factor whose model comes nearest to a target."""

import math
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

from .target import Budget, Target

__all__ = ["Found", "find_factor"]

# A model within this of its target ends the search, and so do this many models; a bracket of factors this narrow ends
# its halving, and factors around the best are tried: what rounding balances does not grow evenly.
_NEAR = 0.002
_MODELS = 9
_NARROW = 1.002
_AROUND = (1.004, 0.996, 1.008, 0.992, 1.013, 0.987)
# A budget is not to be exceeded, and so has one side only: more is tried for it, and further off.
_BUDGET_MODELS = 24
_BELOW_BUDGET = (*_AROUND, 1.02, 1.03, 1.04, 1.05, 1.06, 1.08, 1.1)
_STALE = 12  # factors in a row that give nothing new


@dataclass(frozen=True)
class Found:
    """A factor and what its model has of the target's measure."""

    factor: float
    value: float


def find_factor(
    target: Target | Budget,
    start: Found,
    exponent: float,
    value_at: Callable[[float], tuple[Hashable, Callable[[], float]]],
    tolerance: float | None = None,
) -> tuple[Found, Found | None, Found | None]:
    """The factor whose model comes nearest to ``target``, the least of several, of those that are tried.

    Reachable values are uneven, since depths, widths and resolutions are whole. The same factor is found on every
    machine: only exact counts are compared.

    Args:
        target: what is to be reached.
        start: the base.
        exponent: the measure grows about as factor to this power.
        value_at: of a factor: what its model is made from, and what counts it.
        tolerance: how near is near enough, where that is nearer than usual.

    Returns:
        The nearest; the largest found below the target; the smallest found above.
    """
    near = min(_NEAR, tolerance or _NEAR)
    counted: dict[Hashable, float] = {}
    tried: list[Found] = []
    stale = 0

    def sides() -> tuple[Found | None, Found | None]:
        # Of factors with the same value those that are nearest to each other, or the same is tried again and again.
        below = max((f for f in tried if f.value <= target.value), key=lambda f: (f.value, f.factor), default=None)
        above = min((f for f in tried if f.value >= target.value), key=lambda f: (f.value, f.factor), default=None)
        return below, above

    def best() -> Found:
        over = [not target.exceedable and f.value > target.value for f in tried]
        return min(
            zip(over, tried, strict=True), key=lambda p: (p[0], abs(p[1].value / target.value - 1), p[1].factor)
        )[1]

    factor: float | None = _four_digits(start.factor * (target.value / start.value) ** (1 / exponent))
    around: Iterator[float] | None = None
    most, neighbours = (_MODELS, _AROUND) if target.exceedable else (_BUDGET_MODELS, _BELOW_BUDGET)
    while factor is not None and len(counted) < most and stale < _STALE:
        model, count = value_at(factor)
        stale = stale + 1 if model in counted else 0
        if model not in counted:
            counted[model] = count()
        tried.append(Found(factor, counted[model]))
        if abs(best().value / target.value - 1) < near and (target.exceedable or best().value <= target.value):
            break
        factor = _next(target, *sides(), tried[-1], exponent) if around is None else next(around, None)
        if factor is None and around is None:
            around = iter([_four_digits(best().factor * by) for by in neighbours])
            factor = next(around)
    return best(), *sides()


def _next(
    target: Target | Budget, below: Found | None, above: Found | None, last: Found, exponent: float
) -> float | None:
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


def _four_digits(value: float) -> float:
    return float(f"{value:.4g}")
