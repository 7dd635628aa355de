"""Weights that make populations of different complexity comparable (NDS §4.2)."""

import numpy as np
from numpy.typing import ArrayLike

from timm_regnet_ds.common.check import check_float, check_int

from .validation import FloatArray, check_finite

__all__ = ["common_range", "uniform_weights"]


def common_range(*complexities: ArrayLike, coverage: float = 1.0) -> tuple[float, float]:
    """The range of complexity that all populations have in common: (largest lower end, smallest upper end).

    Args:
        *complexities: complexities of the models of each population, shape (n,).
        coverage: share of each population, in its middle, whose range is taken. Below 1, a few extreme models do not
            extend the range to bins that are otherwise almost empty.

    Raises:
        ValueError: no population, or populations whose ranges do not overlap.
    """
    if not complexities:
        raise ValueError("a common range needs at least one population")
    tail = (1 - check_float("coverage", coverage, above=0, maximum=1)) / 2
    ends = np.array([np.quantile(check_finite("complexities", c), (tail, 1 - tail)) for c in complexities])
    low, high = float(ends[:, 0].max()), float(ends[:, 1].min())
    if low >= high:
        raise ValueError(f"the populations share no range of complexity: one begins at {low:g}, one ends at {high:g}")
    return low, high


def uniform_weights(
    complexity: ArrayLike, bins: int, limits: tuple[float, float] | None = None, soft: bool = False
) -> FloatArray:
    """Weights under which each of k bins of complexity has the same total weight (NDS §4.2).

    Hard: each model is in one bin, and w_i = 1/(k·m_j) for the m_j models of bin j. Soft: a model is shared linearly
    between the two bins whose centres lie on either side of it. With a_ij = 1 − |c_i − centre_j| / (width of a bin)
    and m_j = Σ_i a_ij, its weight is w_i = Σ_j a_ij/(k·m_j). A model beyond the centre of the first or last bin is in
    that bin alone.

    Args:
        complexity: c_i, one per model, shape (n,).
        bins: k, the number of bins of equal width.
        limits: (low, high), the outer edges of the bins; models outside have weight 0. ``None``: the smallest and the
            largest complexity.
        soft: whether models are shared between bins.

    Returns:
        Weights of shape (n,) that sum to 1.

    Raises:
        ValueError: a bin has no model, or the limits are equal or in the wrong order.
    """
    c, bins = check_finite("complexities", complexity), check_int("bins", bins)
    low, high = (c.min(), c.max()) if limits is None else check_finite("limits", limits)
    if low >= high:
        raise ValueError(f"complexities from {low:g} to {high:g} leave no range to divide into bins")
    position = (c - low) / (high - low) * bins
    inside = (c >= low) & (c <= high)
    shares = inside[:, None] * (_soft(position, bins) if soft else _hard(position, bins))
    mass = shares.sum(axis=0)
    if not mass.all():
        raise ValueError(_describe_empty_bins(mass, np.linspace(low, high, bins + 1)))
    return shares @ (1 / (bins * mass))


def _hard(position: FloatArray, bins: int) -> FloatArray:
    """Share of each model in each bin, shape (n, bins); a model at the upper limit is in the last bin."""
    index = np.clip(position.astype(np.int64), 0, bins - 1)
    return np.asarray(index[:, None] == np.arange(bins), dtype=np.float64)


def _soft(position: FloatArray, bins: int) -> FloatArray:
    """Share of each model in each bin, shape (n, bins), linear between the centres of the bins."""
    centres = np.arange(bins) + 0.5
    return np.maximum(0, 1 - np.abs(np.clip(position, 0.5, bins - 0.5)[:, None] - centres))


def _describe_empty_bins(mass: FloatArray, edges: FloatArray) -> str:
    empty = np.flatnonzero(mass == 0)
    ranges = ", ".join(f"{edges[j]:g} to {edges[j + 1]:g}" for j in empty[:3])
    more = f" and {empty.size - 3} more" if empty.size > 3 else ""
    return f"{empty.size} of {mass.size} bins have no model: {ranges}{more}; use fewer bins or narrower limits"
