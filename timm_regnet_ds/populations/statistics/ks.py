"""The two-sample Kolmogorov–Smirnov test, plain and weighted."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import ks_2samp, kstwo

from .edf import edf
from .validation import effective_size

__all__ = ["KS", "ks_test"]


@dataclass(frozen=True)
class KS:
    """D, and the chance of at least as large a D between two samples of one distribution."""

    statistic: float
    pvalue: float


def ks_test(
    first: ArrayLike,
    second: ArrayLike,
    first_weights: ArrayLike | None = None,
    second_weights: ArrayLike | None = None,
) -> KS:
    """Whether two populations' errors may come from one distribution: D = sup_x |F1(x) − F2(x)| (NDS Eq. 2).

    The p-value is SciPy's where no weights are given. With weights it is the asymptotic one for the effective sizes;
    of weights by a complexity on which the errors depend, it errs on the large side.

    Args:
        first, second: errors, shapes (n1,) and (n2,).
        first_weights, second_weights: of the errors. ``None``: equal.

    Raises:
        ValueError: no errors, one that is not finite, or weights that do not fit.
    """
    one, two = edf(first, first_weights), edf(second, second_weights)
    # Both are constant up to and including the next value of either.
    points = np.concatenate((one.values, two.values))
    statistic = float(np.abs(one(points) - two(points)).max())
    if first_weights is None and second_weights is None:
        with warnings.catch_warnings():
            # Where rounding spoils the exact p-value, SciPy takes the asymptotic one and says so.
            warnings.simplefilter("ignore", RuntimeWarning)
            return KS(statistic, float(ks_2samp(one.values, two.values).pvalue))
    n1, n2 = effective_size(one.weights), effective_size(two.weights)
    return KS(statistic, float(kstwo.sf(statistic, max(1, round(n1 * n2 / (n1 + n2))))))
