"""How quickly random search finds a good model (NDS §4.3)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .edf import edf
from .validation import FloatArray, IntArray, effective_size, sizes_within

__all__ = ["RandomSearch", "random_search"]


@dataclass(frozen=True, eq=False)
class RandomSearch:
    """The lowest error among m models drawn from a population, for several m; every field has shape (k,).

    Attributes:
        sizes: m.
        mean: of the lowest error.
        std: of the lowest error, from one search to the next.
        error: of the mean over n/m searches, as many as n models (weighted: the effective number) allow: std·√(m/n).
    """

    sizes: IntArray
    mean: FloatArray
    std: FloatArray
    error: FloatArray


def random_search(
    errors: ArrayLike, sizes: Iterable[int] | None = None, weights: ArrayLike | None = None
) -> RandomSearch:
    """The expected outcome of random searches of several sizes among n trained models.

    The paper draws m models by their weights, takes their lowest error and repeats this about n/m times. Here is what
    that tends to: with the errors ascending and T_i = Σ_{j≥i} w_j, the lowest of m is e_i with probability
    T_i^m − T_{i+1}^m. Models are drawn with replacement.

    Args:
        errors: shape (n,).
        sizes: m, from 1 to n. ``None``: 1, n and about six a decade between.
        weights: of the models. ``None``: equal.

    Raises:
        ValueError: no errors, one that is not finite, weights that do not fit, or a size beyond n.
    """
    pool = edf(errors, weights)
    e = pool.values
    m = sizes_within(sizes, e.size)
    tails = np.append(np.cumsum(pool.weights[::-1])[::-1], 0.0)
    tails /= tails[0]
    mean, std = np.empty(m.size), np.empty(m.size)
    for k, size in enumerate(m):
        chances = -np.diff(tails**size)
        mean[k] = chances @ e
        std[k] = np.sqrt(chances @ (e - mean[k]) ** 2)
    return RandomSearch(m, mean, std, std * np.sqrt(m / effective_size(pool.weights)))
