"""The range of a property in which the best models lie (RegNet §3.1, footnote 5)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from timm_regnet_ds._check import check_float, check_int

from .validation import finite

__all__ = ["BestRange", "best_range"]


@dataclass(frozen=True)
class BestRange:
    """The property of the best model, with confidence from ``low`` to ``high``; ``best`` is the most likely value."""

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

    Draw m = fraction·n pairs with replacement, take the x of the lowest error, repeat: the median is the most likely
    best value, and the quantiles (1 ∓ confidence)/2 its range. All three are values that occur.

    The lowest of m ranks drawn evenly from n is r with P(at least r) = (1 − r/n)^m, so each repeat draws that rank
    straight from this distribution and costs one random number, whatever m is.

    Args:
        values: x_i, shape (n,).
        errors: e_i, shape (n,).
        fraction: of the pairs in a draw, above 0, at most 1.
        repeats: draws.
        confidence: between 0 and 1.
        seed: of the draws.

    Raises:
        ValueError: no pairs, as many values as errors there are not, one that is not finite, a setting out of range.
    """
    x, e = finite("values", values), finite("errors", errors)
    if x.size != e.size:
        raise ValueError(f"{x.size} values for {e.size} errors")
    n = e.size
    m = max(1, round(check_float("fraction", fraction, above=0, maximum=1) * n))
    tail = (1 - check_float("confidence", confidence, above=0, maximum=1)) / 2
    rng = np.random.default_rng(seed)
    order = np.argsort(e, kind="stable")
    ranked = e[order]
    # 1 − U^(1/m) is below 1 but for rounding.
    rank = np.minimum((n * (1 - rng.random(check_int("repeats", repeats)) ** (1 / m))).astype(np.int64), n - 1)
    # Of models with the same error, any may come first in a draw.
    first = np.searchsorted(ranked, ranked[rank], side="left")
    end = np.searchsorted(ranked, ranked[rank], side="right")
    found = x[order[rng.integers(first, end)]]
    low, best, high = np.quantile(found, (tail, 0.5, 1 - tail), method="inverted_cdf")
    return BestRange(float(low), float(best), float(high))
