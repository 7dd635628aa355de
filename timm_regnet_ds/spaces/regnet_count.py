"""How many RegNets a grid of parameters holds, without a loop over them.

The stages of a RegNet depend on w0 and wa through x = w0 / wa alone (see `quantized`): stage i ends at block m or
before where x ≤ m / (wm^(i+1/2) − 1). So for one wm the axis of x is cut into intervals in which all networks have
the same stages, and it is enough to know how many values of x are in each.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from timm_regnet_ds.common.quantized_linear import QUANTUM

from ._types import Array
from .quantized import TIE, stage_table
from .values import Values

__all__ = ["count_regnets"]


@lru_cache(maxsize=16)
def count_regnets(depth: Values, w0: Values, wa: Values, wm: Values, stages: int) -> int:
    """Number of (depth, w0, wa, wm) with the number of stages, none of them empty or as wide as its neighbour.

    Args:
        depth, w0, wa, wm: the values of each parameter.
        stages: number of stages.
    """
    depths, most = np.array(depth.values), int(depth.values[-1])
    ratios, slopes = np.array(wm.values, dtype=np.float64), np.array(wa.values[::-1], dtype=np.float64)
    powers = ratios ** np.arange(stages, dtype=np.float64)[:, None]
    lengths = np.sqrt(ratios) * powers - 1
    cuts = np.sort((np.arange(1, most + 1)[:, None, None] / lengths).reshape(-1, len(ratios)), axis=0)
    inside = np.concatenate([cuts[:1] / 2, (cuts[:-1] + cuts[1:]) / 2, cuts[-1:] * 2])
    ends = np.minimum(np.ceil(inside * lengths[:, None]), most)
    allowed = np.where((ends[1:] > ends[:-1]).all(axis=0), _number_of_depths(depths, ends), 0)
    total = 0
    for first in map(float, w0.values):
        x = first / slopes
        below = x.searchsorted(cuts)
        distinct: Array = np.all(np.diff(np.rint(first * powers / QUANTUM), axis=0) > 0, axis=0)
        total += int((np.diff(below, axis=0, prepend=0, append=len(x)) * allowed)[:, distinct].sum())
        # On a cut, floating-point error decides: there each network is counted on its own.
        near = {pair for at in (below - 1, below) for pair in _on_cuts(x, cuts, at)}
        on_cut, ratio = np.array(sorted(near), dtype=np.int64).reshape(-1, 2).T
        interval = (cuts[:, ratio] <= x[on_cut]).sum(axis=0)
        total -= int(np.where(distinct[ratio], allowed[interval, ratio], 0).sum())
        exact = stage_table(most, np.full(len(ratio), first), slopes[on_cut], ratios[ratio], stages)
        total += int(_number_of_depths(depths, exact.ends.T).sum())
    return total


def _on_cuts(x: Array, cuts: Array, indices: Array) -> Iterator[tuple[int, int]]:
    """Index of x and column of the cut, where the x at ``indices`` lies on the cut."""
    indices = indices.clip(0, len(x) - 1)
    rows, columns = np.nonzero(np.abs(x[indices] / cuts - 1) < TIE)
    yield from zip(indices[rows, columns].tolist(), columns.tolist(), strict=True)


def _number_of_depths(depths: Array, ends: Array) -> Array:
    """How many depths end in the last stage, for ends of shape (stages, ...)."""
    before = ends[-2] if len(ends) > 1 else np.zeros_like(ends[-1])
    return depths.searchsorted(ends[-1], "right") - depths.searchsorted(before, "right")
