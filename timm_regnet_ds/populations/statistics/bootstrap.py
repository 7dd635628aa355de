"""The range of a property in which the best models lie (RegNet §3.1, footnote 5)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from timm_regnet_ds.common.check import check_float, check_int

from .validation import check_finite

__all__ = ["BestRange", "best_range"]


@dataclass(frozen=True)
class BestRange:
    """Confidence interval of a property's best value.

    Attributes:
        low, high: ends of the interval.
        best: median of the draws, the most likely best value.
    """

    low: float
    best: float
    high: float


def best_range(
    values: ArrayLike,
    errors: ArrayLike,
    fraction: float = 0.25,
    repeats: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> BestRange:
    """Empirical bootstrap of a property's best value, over pairs (x_i, e_i).

    Draw m = fraction·n pairs with replacement, take the x of the lowest error, and repeat. The median of the results
    is the most likely best value; their quantiles (1 ∓ confidence)/2 are the ends of its interval. All three are
    elements of ``values``.

    The lowest R of m ranks drawn uniformly from 0 to n − 1 has P(R ≥ r) = (1 − r/n)^m. Each repeat draws R from this
    distribution, which takes one random number for any m.

    Args:
        values: the property x_i of each model, shape (n,).
        errors: the error e_i of each model, shape (n,).
        fraction: m/n, above 0 and at most 1.
        repeats: number of draws.
        confidence: confidence level, above 0 and at most 1.
        seed: seed of the random numbers.

    Raises:
        ValueError: empty input, different lengths, a number that is not finite, or a parameter out of range.
    """
    x, e = check_finite("values", values), check_finite("errors", errors)
    if x.size != e.size:
        raise ValueError(f"{x.size} values for {e.size} errors")
    n = e.size
    m = max(1, round(check_float("fraction", fraction, above=0, maximum=1) * n))
    tail = (1 - check_float("confidence", confidence, above=0, maximum=1)) / 2
    rng = np.random.default_rng(seed)
    order = np.argsort(e, kind="stable")
    ranked = e[order]
    # The minimum is there because 1 − U^(1/m) may be rounded to 1.
    rank = np.minimum((n * (1 - rng.random(check_int("repeats", repeats)) ** (1 / m))).astype(np.int64), n - 1)
    # Models with the same error are equally likely to be the best of a draw.
    first = np.searchsorted(ranked, ranked[rank], side="left")
    end = np.searchsorted(ranked, ranked[rank], side="right")
    found = x[order[rng.integers(first, end)]]
    low, best, high = np.quantile(found, (tail, 0.5, 1 - tail), method="inverted_cdf")
    return BestRange(float(low), float(best), float(high))
