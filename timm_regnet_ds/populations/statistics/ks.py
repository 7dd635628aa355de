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
    """Result of a two-sample KS test.

    Attributes:
        statistic: D, from 0 to 1.
        pvalue: the probability of a D at least as large if both samples come from the same distribution.
    """

    statistic: float
    pvalue: float


def ks_test(
    first: ArrayLike,
    second: ArrayLike,
    first_weights: ArrayLike | None = None,
    second_weights: ArrayLike | None = None,
) -> KS:
    """Test whether two populations' errors come from the same distribution: D = sup_x |F1(x) − F2(x)| (NDS Eq. 2).

    Without weights the p-value is that of ``scipy.stats.ks_2samp``. With weights it is the asymptotic p-value for the
    effective sample sizes; if the weights follow from a complexity on which the errors depend, it is too large rather
    than too small.

    Args:
        first, second: errors, shapes (n1,) and (n2,).
        first_weights, second_weights: weights of the errors, of the same shapes. ``None``: equal weights.

    Raises:
        ValueError: empty input, a number that is not finite, different lengths, or a negative weight.
    """
    one, two = edf(first, first_weights), edf(second, second_weights)
    # Between two neighbouring values both functions are constant, so the supremum is attained at one of the values.
    points = np.concatenate((one.values, two.values))
    statistic = float(np.abs(one(points) - two(points)).max())
    if first_weights is None and second_weights is None:
        with warnings.catch_warnings():
            # SciPy warns when it falls back from the exact p-value to the asymptotic one.
            warnings.simplefilter("ignore", RuntimeWarning)
            return KS(statistic, float(ks_2samp(one.values, two.values).pvalue))
    n1, n2 = effective_size(one.weights), effective_size(two.weights)
    return KS(statistic, float(kstwo.sf(statistic, max(1, round(n1 * n2 / (n1 + n2))))))
