"""Empirical distribution functions, plain and weighted."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from timm_regnet_ds.common.check import check_float

from .validation import FloatArray, check_finite, normalize_weights

__all__ = ["EDF", "edf"]


@dataclass(frozen=True, eq=False)
class EDF:
    """An empirical distribution function F(x) = Σ w_i · 1[x_i < x], as `edf` returns it.

    With equal weights this is RegNet Eq. 1 and NDS Eq. 1; with other weights it is NDS Eq. 3 (of complexities) and
    Eq. 4 (of errors).

    Attributes:
        values: x_i, ascending, shape (n,).
        weights: w_i in the order of the values, with sum 1, shape (n,).
    """

    values: FloatArray
    weights: FloatArray

    def __call__(self, x: ArrayLike) -> FloatArray:
        """F at each element of ``x``, in the shape of ``x``."""
        return self._below[np.searchsorted(self.values, x, side="left")]

    @cached_property
    def _below(self) -> FloatArray:
        cumulative = np.concatenate(([0.0], np.cumsum(self.weights)))
        return cumulative / cumulative[-1]

    @property
    def mean(self) -> float:
        """Σ w_i · x_i."""
        return float(self.weights @ self.values)

    def area(self, epsilon: float) -> float:
        """Area under F from 0 to ε, divided by ε: ∫ F(e)/ε de = 1 − Σ w_i · min(1, e_i/ε) (NDS §4.3).

        Args:
            epsilon: ε, above 0, in the unit of the values.

        Raises:
            ValueError: ``epsilon`` is not a finite number above 0.
        """
        epsilon = check_float("epsilon", epsilon, above=0)
        return float(1 - self.weights @ np.clip(self.values / epsilon, 0, 1))


def edf(values: ArrayLike, weights: ArrayLike | None = None) -> EDF:
    """The empirical distribution function of errors or complexities.

    Args:
        values: one per model, shape (n,).
        weights: one per model, shape (n,), for example from `uniform_weights`. ``None``: equal weights.

    Raises:
        ValueError: empty input, a number that is not finite, different lengths, or a negative weight.
    """
    array = check_finite("values", values)
    order = np.argsort(array, kind="stable")
    return EDF(array[order], normalize_weights(weights, array.size)[order])
