"""What every statistic is given: numbers, one a model, and their weights."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from timm_regnet_ds._check import check_int

__all__ = ["FloatArray", "IntArray", "effective_size", "finite", "normalized", "sizes_within"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def finite(what: str, values: ArrayLike) -> FloatArray:
    """``values`` as an array of shape (n,), n ≥ 1, or a ValueError that names the first that is not a finite number."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"{what} must be one number a model and at least one, not an array of shape {array.shape}")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise ValueError(
            f"{what} must be finite numbers; {bad.size} of {array.size} are not, first {array[bad[0]]} at index "
            f"{bad[0]} (leave out models that failed)"
        )
    return array


def normalized(weights: ArrayLike | None, n: int) -> FloatArray:
    """Weights of n models that sum to 1; ``None``: 1/n each.

    Raises:
        ValueError: not n weights, a negative one, or all of them zero.
    """
    if weights is None:
        return np.full(n, 1 / n)
    array = finite("weights", weights)
    if array.size != n:
        raise ValueError(f"{array.size} weights for {n} models")
    if array.min() < 0 or not array.any():
        raise ValueError(f"weights must be at least 0 and not all 0; the least is {array.min():g}")
    return array / array.sum()


def effective_size(weights: ArrayLike) -> float:
    """How many equally weighted models say as much as the weighted ones: (Σ w_i)² / Σ w_i² (Kish)."""
    array = finite("weights", weights)
    return float(1 / np.sum(normalized(array, array.size) ** 2))


def sizes_within(sizes: Iterable[Any] | None, n: int) -> IntArray:
    """Sizes from 1 to n; ``None``: 1, n and about six a decade between.

    Raises:
        ValueError: a size that is not a whole number from 1 to n.
    """
    if sizes is None:
        return np.unique(np.geomspace(1, n, 2 + round(6 * np.log10(n))).round().astype(np.int64))
    checked = [check_int("a sample size", size) for size in sizes]
    if not checked or max(checked) > n:
        raise ValueError(f"sample sizes must be from 1 to the {n} models there are, not {checked}")
    return np.array(checked, dtype=np.int64)
