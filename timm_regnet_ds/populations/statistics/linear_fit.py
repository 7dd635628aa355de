"""The quantized linear function nearest to an AnyNet's widths (RegNet §3.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from timm_regnet_ds.common.check import check_float, check_int
from timm_regnet_ds.common.quantized_linear import QUANTUM, quantized_linear_widths

__all__ = ["Grid", "LinearFit", "linear_fit"]


@dataclass(frozen=True)
class Grid:
    """Values of w0, wa and wm that `linear_fit` tries. The defaults cover the ranges of RegNet's design space.

    Attributes:
        w0: initial widths, multiples of 8.
        wa: slopes, above 0.
        wm: width multipliers between stages, above 1.

    Raises:
        ValueError: one of the three is empty or has a value out of its range.
    """

    w0: tuple[int, ...] = tuple(range(QUANTUM, 257, QUANTUM))
    wa: tuple[float, ...] = tuple(np.geomspace(0.25, 256, 101).tolist())
    wm: tuple[float, ...] = tuple(np.linspace(1.5, 3, 31).round(2).tolist())

    def __post_init__(self) -> None:
        for name in ("w0", "wa", "wm"):
            if not getattr(self, name):
                raise ValueError(f"the grid has no value of {name}")
        for w0 in self.w0:
            if check_int("w0", w0) % QUANTUM:
                raise ValueError(f"w0 must be a multiple of {QUANTUM}, not {w0}")
        for wa in self.wa:
            check_float("wa", wa, above=0)
        for wm in self.wm:
            check_float("wm", wm, above=1)


@dataclass(frozen=True)
class LinearFit:
    """A quantized linear function that approximates a network's widths, and its error.

    Attributes:
        depth: number of blocks d.
        w0, wa, wm: parameters (RegNet Eqs. 2 to 4).
        error: e_fit, the mean of |ln(ŵ_j / w_j)| over the blocks j.
    """

    depth: int
    w0: int
    wa: float
    wm: float
    error: float

    def block_widths(self) -> tuple[int, ...]:
        """The predicted widths of the ``depth`` blocks."""
        return tuple(quantized_linear_widths(self.depth, self.w0, self.wa, self.wm).tolist())


def linear_fit(widths: Sequence[int], depths: Sequence[int], grid: Grid | None = None) -> LinearFit:
    """The w0, wa and wm of a grid that minimize e_fit = mean_j |ln(ŵ_j / w_j)| over a network's blocks j (RegNet §3.3).

    The prediction ŵ_j is w0·wm^round(s_j), rounded to a multiple of 8, where w0 + wa·j = w0·wm^s_j (RegNet Eqs. 2 to
    4).

    Args:
        widths: width of each stage.
        depths: number of blocks of each stage.
        grid: parameters to try. ``None``: `Grid()`.

    Raises:
        ValueError: no stage, different numbers of widths and depths, or a number that is not a positive integer.
    """
    if len(widths) != len(depths) or not len(widths):
        raise ValueError(f"a fit needs a width and a depth for each of one or more stages: {widths}, {depths}")
    blocks = np.repeat([check_int("a width", w) for w in widths], [check_int("a depth", d) for d in depths])
    grid = grid or Grid()
    depth = blocks.size
    # The table's depth is rounded up to a multiple of 64, so that networks of similar depth share a cached table.
    table = _log_widths(grid, -(-depth // 64) * 64)
    distance = table[:depth] - np.log(blocks).astype(np.float32)[:, None]
    best = int(np.abs(distance, out=distance).sum(axis=0).argmin())
    i, j, k = np.unravel_index(best, (len(grid.w0), len(grid.wa), len(grid.wm)))
    fit = LinearFit(depth, grid.w0[i], grid.wa[j], grid.wm[k], 0.0)
    error = float(np.abs(np.log(fit.block_widths() / blocks)).mean())
    return LinearFit(fit.depth, fit.w0, fit.wa, fit.wm, error)


@lru_cache(maxsize=4)
def _log_widths(grid: Grid, depth: int) -> Any:
    """Logarithms of the block widths at all points of a grid, float32 of shape (depth, points)."""
    w0, wa, wm = (values.ravel() for values in np.meshgrid(grid.w0, grid.wa, grid.wm, indexing="ij"))
    return np.log(quantized_linear_widths(depth, w0, wa, wm)).astype(np.float32)
