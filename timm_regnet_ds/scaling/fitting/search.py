"""The search for the factor whose model comes nearest to a target."""

import math
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

from .target import LatencyBudget, Target

__all__ = ["Trial", "find_factor"]

_NEAR = 0.002  # the search stops at a model whose value differs from the target by less than this share
_MODELS = 9  # it stops after this many different models
# When the ratio of the bracket's ends is below this, bisection stops and neighbours of the best factor are tried: the
# value does not grow monotonically with the factor, because dimensions are rounded.
_NARROW = 1.002
_AROUND = (1.004, 0.996, 1.008, 0.992, 1.013, 0.987)
# A latency budget must not be exceeded: only models below it count, so more factors are tried, and lower ones.
_BUDGET_MODELS = 24
_BELOW_BUDGET = (*_AROUND, 1.02, 1.03, 1.04, 1.05, 1.06, 1.08, 1.1)
_STALE = 12  # the search stops after this many factors in a row that give no new model


@dataclass(frozen=True)
class Trial:
    """A factor, and the value that its model has in the target's measure."""

    factor: float
    value: float


def find_factor(
    target: Target | LatencyBudget,
    start: Trial,
    exponent: float,
    evaluate: Callable[[float], tuple[Hashable, Callable[[], float]]],
    tolerance: float | None = None,
) -> tuple[Trial, Trial | None, Trial | None]:
    """Search the factor whose model comes nearest to ``target``; of several, the smallest.

    Not every value can be reached, since depths, widths and resolutions are integers. For flops, params and acts the
    result is the same on every machine, because these counts are exact.

    Args:
        target: the target.
        start: factor 1 and the value of the base.
        exponent: the value grows approximately as the factor to this power.
        evaluate: returns, for a factor, a key that equal models share, and a function that computes the value.
        tolerance: stop only within this share of the target, if that is stricter than the default.

    Returns:
        The nearest trial, the trial with the largest value at or below the target, and that with the smallest value at
        or above it; the last two may be None.
    """
    near = min(_NEAR, tolerance or _NEAR)
    counted: dict[Hashable, float] = {}
    tried: list[Trial] = []
    stale = 0

    def sides() -> tuple[Trial | None, Trial | None]:
        # Of factors with the same value, take those nearest to each other: otherwise the bracket would not shrink.
        below = max((f for f in tried if f.value <= target.value), key=lambda f: (f.value, f.factor), default=None)
        above = min((f for f in tried if f.value >= target.value), key=lambda f: (f.value, f.factor), default=None)
        return below, above

    def best() -> Trial:
        over = [not target.may_exceed and f.value > target.value for f in tried]
        return min(
            zip(over, tried, strict=True), key=lambda p: (p[0], abs(p[1].value / target.value - 1), p[1].factor)
        )[1]

    factor: float | None = _four_digits(start.factor * (target.value / start.value) ** (1 / exponent))
    around: Iterator[float] | None = None
    most, neighbours = (_MODELS, _AROUND) if target.may_exceed else (_BUDGET_MODELS, _BELOW_BUDGET)
    while factor is not None and len(counted) < most and stale < _STALE:
        model, count = evaluate(factor)
        stale = stale + 1 if model in counted else 0
        if model not in counted:
            counted[model] = count()
        tried.append(Trial(factor, counted[model]))
        if abs(best().value / target.value - 1) < near and (target.may_exceed or best().value <= target.value):
            break
        factor = _next(target, *sides(), tried[-1], exponent) if around is None else next(around, None)
        if factor is None and around is None:
            around = iter([_four_digits(best().factor * by) for by in neighbours])
            factor = next(around)
    return best(), *sides()


def _next(
    target: Target | LatencyBudget, below: Trial | None, above: Trial | None, last: Trial, exponent: float
) -> float | None:
    if below is None or above is None:
        by = (target.value / last.value) ** (1 / exponent)
        # Take a step that is large enough to change the rounding of some dimension.
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
