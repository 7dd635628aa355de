"""How quickly random search finds a good model (NDS §4.3)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .edf import edf
from .validation import FloatArray, IntArray, effective_size, sample_sizes_or_default

__all__ = ["RandomSearch", "random_search"]


@dataclass(frozen=True, eq=False)
class RandomSearch:
    """The lowest error among m models drawn from a population, for k values of m; every field has shape (k,).

    Attributes:
        sizes: the values of m.
        mean: mean of the lowest error.
        std: standard deviation of the lowest error between searches.
        error: standard error of the mean over n/m searches, std·√(m/n); n/m is the number of searches that n models
            (with weights: the effective number) suffice for.
    """

    sizes: IntArray
    mean: FloatArray
    std: FloatArray
    error: FloatArray


def random_search(
    errors: ArrayLike, sizes: Iterable[int] | None = None, weights: ArrayLike | None = None
) -> RandomSearch:
    """The expected result of random search with several budgets among n trained models (NDS §4.3).

    The paper draws m models by their weights, takes their lowest error and repeats this about n/m times. This function
    returns the exact expectation for draws with replacement: with the errors ascending and T_i = Σ_{j≥i} w_j, the
    lowest of m errors is e_i with probability T_i^m − T_{i+1}^m.

    Args:
        errors: one per model, shape (n,).
        sizes: values of m, from 1 to n. ``None``: about six per decade, 1 and n included.
        weights: one per model, shape (n,). ``None``: equal weights.

    Raises:
        ValueError: empty input, a number that is not finite, different lengths, a negative weight, or a size that is
            not from 1 to n.
    """
    pool = edf(errors, weights)
    e = pool.values
    m = sample_sizes_or_default(sizes, e.size)
    tails = np.append(np.cumsum(pool.weights[::-1])[::-1], 0.0)
    tails /= tails[0]
    mean, std = np.empty(m.size), np.empty(m.size)
    for k, size in enumerate(m):
        chances = -np.diff(tails**size)
        mean[k] = chances @ e
        std[k] = np.sqrt(chances @ (e - mean[k]) ** 2)
    return RandomSearch(m, mean, std, std * np.sqrt(m / effective_size(pool.weights)))
