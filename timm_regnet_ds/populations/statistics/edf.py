"""Empirical distribution functions, plain and weighted."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from timm_regnet_ds._check import check_float

from .validation import FloatArray, finite, normalized

__all__ = ["EDF", "edf"]


@dataclass(frozen=True, eq=False)
class EDF:
    """F(x) = Σ w_i · 1[x_i < x]: the weight of the models with less than x. `edf` makes one.

    RegNet Eq. 1 and NDS Eq. 1 with equal weights; NDS Eqs. 3 (of complexity) and 4 (of errors) with others.

    Attributes:
        values: x_i, ascending, shape (n,).
        weights: w_i, which sum to 1, shape (n,).
    """

    values: FloatArray
    weights: FloatArray

    def __call__(self, x: ArrayLike) -> FloatArray:
        """F at each of ``x``, in its shape."""
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
        """Mean height of F from 0 to ε: ∫ F(e)/ε de = 1 − Σ w_i · min(1, e_i/ε) (NDS §4.3).

        Args:
            epsilon: ε, above 0, in the unit of the values.
        """
        epsilon = check_float("epsilon", epsilon, above=0)
        return float(1 - self.weights @ np.clip(self.values / epsilon, 0, 1))


def edf(values: ArrayLike, weights: ArrayLike | None = None) -> EDF:
    """The empirical distribution function of errors or complexities.

    Args:
        values: one a model, shape (n,).
        weights: one a model, such as `uniform_weights` gives. ``None``: equal.

    Raises:
        ValueError: no values, one that is not finite, or weights that do not fit.
    """
    array = finite("values", values)
    order = np.argsort(array, kind="stable")
    return EDF(array[order], normalized(weights, array.size)[order])
