"""How many models a comparison needs (NDS §4.4)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from timm_regnet_ds._check import check_int

from .validation import FloatArray, IntArray, finite, sizes_within

__all__ = ["SampleSizes", "sample_sizes"]


@dataclass(frozen=True, eq=False)
class SampleSizes:
    """KS statistic D between a population and parts of it, for several sizes of part; every field has shape (k,).

    Attributes:
        sizes: models in the part.
        mean: of D over the parts drawn.
        std: of D over the parts drawn.
    """

    sizes: IntArray
    mean: FloatArray
    std: FloatArray


def sample_sizes(
    errors: ArrayLike, sizes: Iterable[int] | None = None, repeats: int = 100, seed: int = 0
) -> SampleSizes:
    """How far a part of a population is from the whole: D (NDS Eq. 2) as in NDS Figure 7, right.

    Args:
        errors: shape (n,).
        sizes: models in a part, drawn without replacement, from 1 to n. ``None``: 1, n and about six a decade between.
        repeats: parts drawn of each size.
        seed: of the draws.

    Raises:
        ValueError: no errors, one that is not finite, or a size beyond n.
    """
    e, repeats = finite("errors", errors), check_int("repeats", repeats)
    m = sizes_within(sizes, e.size)
    rng = np.random.default_rng(seed)
    values, codes = np.unique(e, return_inverse=True)

    def cumulative(part: IntArray) -> FloatArray:
        return np.cumsum(np.bincount(part, minlength=values.size)) / part.size

    whole_edf = cumulative(codes)
    d = np.array(
        [
            [np.abs(cumulative(rng.choice(codes, size, replace=False)) - whole_edf).max() for _ in range(repeats)]
            for size in m
        ]
    )
    return SampleSizes(m, d.mean(axis=1), d.std(axis=1))
