"""How many models a comparison needs (NDS §4.4)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from timm_regnet_ds.common.check import check_int

from .validation import FloatArray, IntArray, check_finite, sample_sizes_or_default

__all__ = ["SampleSizes", "sample_sizes"]


@dataclass(frozen=True, eq=False)
class SampleSizes:
    """KS statistic D between a population and random subsets of it, for k sizes; every field has shape (k,).

    Attributes:
        sizes: numbers of models in a subset.
        mean: mean of D over the subsets.
        std: standard deviation of D over the subsets.
    """

    sizes: IntArray
    mean: FloatArray
    std: FloatArray


def sample_sizes(
    errors: ArrayLike, sizes: Iterable[int] | None = None, repeats: int = 100, seed: int = 0
) -> SampleSizes:
    """The KS statistic D (NDS Eq. 2) between a population and random subsets of it, as in NDS Figure 7, right.

    It tells how many models suffice to represent a design space. The report does not draw it.

    Args:
        errors: one per model, shape (n,).
        sizes: numbers of models in a subset, drawn without replacement, from 1 to n. ``None``: about six per decade, 1
            and n included.
        repeats: number of subsets of each size.
        seed: seed of the random numbers.

    Raises:
        ValueError: empty input, a number that is not finite, or a size that is not from 1 to n.
    """
    e, repeats = check_finite("errors", errors), check_int("repeats", repeats)
    m = sample_sizes_or_default(sizes, e.size)
    rng = np.random.default_rng(seed)
    values, codes = np.unique(e, return_inverse=True)

    def cumulative(subset: IntArray) -> FloatArray:
        return np.cumsum(np.bincount(subset, minlength=values.size)) / subset.size

    population_edf = cumulative(codes)
    d = np.array(
        [
            [np.abs(cumulative(rng.choice(codes, size, replace=False)) - population_edf).max() for _ in range(repeats)]
            for size in m
        ]
    )
    return SampleSizes(m, d.mean(axis=1), d.std(axis=1))
