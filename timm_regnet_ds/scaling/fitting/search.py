"""The search for the factor whose model comes nearest to a target."""

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from operator import attrgetter

from .target import LatencyBudget, Target

__all__ = ["Evaluate", "Trial", "find_factor"]

# Returns, for a factor, a key that equal models share, and a function that computes the value of the model.
Evaluate = Callable[[float], tuple[Hashable, Callable[[], float]]]

_NEAR = 0.002  # the search stops at a model whose value differs from the target by less than this share
_MODELS = 9  # it stops after this many different models
# When the ratio of the bracket's ends is below this, bisection stops and neighbours of the best factor are tried: the
# value does not grow monotonically with the factor, because dimensions are rounded.
_NARROW = 1.002
_AROUND = (1.004, 0.996, 1.008, 0.992, 1.013, 0.987)
# A latency budget must not be exceeded: only models below it count, so more factors are tried, and larger ones too.
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
    evaluate: Evaluate,
    tolerance: float | None = None,
) -> tuple[Trial, Trial | None, Trial | None]:
    """Search the factor whose model comes nearest to ``target``; of several, the smallest.

    Not every value can be reached, since depths, widths and resolutions are integers. For flops, params and acts the
    result is the same on every machine, because these counts are exact.

    Args:
        target: the target.
        start: factor 1 and the value of the base.
        exponent: the value grows approximately as the factor to this power.
        evaluate: builds and measures the model of a factor, see `Evaluate`.
        tolerance: stop only within this share of the target, if that is stricter than the default.

    Returns:
        The nearest trial, the trial with the largest value at or below the target, and that with the smallest value at
        or above it; the last two may be None.
    """
    most, neighbours = (_MODELS, _AROUND) if target.may_exceed else (_BUDGET_MODELS, _BELOW_BUDGET)
    trials = _Trials(target, evaluate, min(_NEAR, tolerance or _NEAR), most)
    factor: float | None = _four_digits(start.factor * (target.value / start.value) ** (1 / exponent))
    while factor is not None and not trials.done():
        last = trials.add(factor)
        factor = _next(target, *trials.bracket(), last, exponent)
    middle = trials.best().factor
    for by in neighbours:
        if trials.done():
            break
        trials.add(_four_digits(middle * by))
    return trials.best(), *trials.bracket()


class _Trials:
    """The factors that one search has tried, and the values of their models.

    Args:
        target: the target.
        evaluate: see `find_factor`.
        near: `done` at a model whose value differs from the target by less than this share.
        most: `done` after this many different models.
    """

    def __init__(self, target: Target | LatencyBudget, evaluate: Evaluate, near: float, most: int) -> None:
        self.target = target
        self.evaluate = evaluate
        self.near = near
        self.most = most
        self.trials: list[Trial] = []
        self.values: dict[Hashable, float] = {}  # of the different models
        self.stale = 0  # factors in a row that gave no new model

    def add(self, factor: float) -> Trial:
        """Try a factor."""
        model, value = self.evaluate(factor)
        self.stale = self.stale + 1 if model in self.values else 0
        if model not in self.values:
            self.values[model] = value()
        self.trials.append(Trial(factor, self.values[model]))
        return self.trials[-1]

    def done(self) -> bool:
        """Return whether a model is near enough, or further factors are not worth their time."""
        return len(self.values) >= self.most or self.stale >= _STALE or (bool(self.trials) and self._is_near())

    def best(self) -> Trial:
        """Return the trial nearest to the target, among those that do not exceed a budget if there are any."""
        return min(self.trials, key=lambda t: (self._exceeds(t), abs(t.value / self.target.value - 1), t.factor))

    def bracket(self) -> tuple[Trial | None, Trial | None]:
        """Return the trials nearest to the target on either side, None where there is none.

        Of factors with the same value, take those nearest to each other: otherwise the bracket would not shrink.
        """
        below = [trial for trial in self.trials if trial.value <= self.target.value]
        above = [trial for trial in self.trials if trial.value >= self.target.value]
        by_value = attrgetter("value", "factor")
        return max(below, key=by_value, default=None), min(above, key=by_value, default=None)

    def _exceeds(self, trial: Trial) -> bool:
        return not self.target.may_exceed and trial.value > self.target.value

    def _is_near(self) -> bool:
        best = self.best()
        return abs(best.value / self.target.value - 1) < self.near and not self._exceeds(best)


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
