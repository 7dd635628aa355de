"""Validation of the arguments of the statistics, and the effective sample size."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from timm_regnet_ds.common.check import check_int

__all__ = ["FloatArray", "IntArray", "check_finite", "effective_size", "normalize_weights", "sample_sizes_or_default"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def check_finite(what: str, values: ArrayLike) -> FloatArray:
    """``values`` as a float64 array of shape (n,).

    Raises:
        ValueError: an empty array, one of another shape, or a number that is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"{what} must be an array of shape (n,) with n ≥ 1, not of shape {array.shape}")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise ValueError(
            f"{what} must be finite numbers; {bad.size} of {array.size} are not, first {array[bad[0]]} at index "
            f"{bad[0]} (leave out models that failed)"
        )
    return array


def normalize_weights(weights: ArrayLike | None, n: int) -> FloatArray:
    """Weights of n models, scaled to a sum of 1, shape (n,); ``None`` stands for equal weights.

    Raises:
        ValueError: another number of weights than n, a negative weight, or weights that are all zero.
    """
    if weights is None:
        return np.full(n, 1 / n)
    array = check_finite("weights", weights)
    if array.size != n:
        raise ValueError(f"{array.size} weights for {n} models")
    if array.min() < 0 or not array.any():
        raise ValueError(f"weights must be at least 0 and not all 0; the smallest is {array.min():g}")
    return array / array.sum()


def effective_size(weights: ArrayLike) -> float:
    """Kish's effective sample size: (Σ w_i)² / Σ w_i², which is n for n equal weights."""
    array = check_finite("weights", weights)
    return float(1 / np.sum(normalize_weights(array, array.size) ** 2))


def sample_sizes_or_default(sizes: Iterable[Any] | None, n: int) -> IntArray:
    """Sample sizes from 1 to n as an int64 array; ``None`` stands for about six sizes per decade, 1 and n included.

    Raises:
        ValueError: no size, or one that is not a whole number from 1 to n.
    """
    if sizes is None:
        return np.unique(np.geomspace(1, n, 2 + round(6 * np.log10(n))).round().astype(np.int64))
    checked = [check_int("a sample size", size) for size in sizes]
    if not checked or max(checked) > n:
        raise ValueError(f"sample sizes must be from 1 to {n}, the number of models, not {checked}")
    return np.array(checked, dtype=np.int64)
