"""Stages of many RegNets at once, without a loop over blocks.

Designing Network Design Spaces, Eqs. 2 to 4: block j has the exponent round(s_j), where w0 + wa·j = w0 · wm^s_j. Since
s_j ascends, the first block whose exponent is above k is ⌈w0 · (wm^(k+1/2) − 1) / wa⌉. `quantized_stages` goes from
boundary to boundary, for all networks at once.

Most draws have another number of stages than the design space. `_may_have` drops most of them before the boundaries are
computed. Without it the result is the same, but sampling RegNetX within narrow limits takes twice as long.
"""

from typing import Any

import numpy as np

from timm_regnet_ds.common.quantized_linear import QUANTUM, quantized_linear_widths

from ._types import Array

__all__ = ["quantized_stages"]

# Closer to a rounding tie than this, floating-point error decides the result: such networks are computed block by
# block.
_TIE = 1e-9


def quantized_stages(depth: Array, w0: Array, wa: Array, wm: Array, stages: int) -> tuple[Array, Array, Array]:
    """Depths and widths of those of n RegNets that have the given number of stages, equal to `RegNetCfg.stages`.

    Args:
        depth: number of blocks, shape (n,).
        w0, wa, wm: width of the first block, slope above 0, ratio of neighbouring widths; shape (n,).
        stages: number of stages; networks with another number are left out.

    Returns:
        Indices of the m networks that remain, ascending, shape (m,); their depths, and their widths before group widths
        are fitted, both int64 of shape (m, stages).
    """
    indices = np.flatnonzero(_may_have(stages, depth, w0, wa, wm))
    depth, w0, wa, wm = (array[indices] for array in (depth, w0, wa, wm))
    blocks_per_width, log_wm = w0 / wa, np.log(wm)
    depths, widths = np.zeros((2, len(indices), stages), dtype=np.int64)
    exponent, width = np.zeros(len(indices)), w0 / QUANTUM
    begin, ambiguous = np.zeros(len(indices)), np.zeros(len(indices), dtype=bool)
    for stage in range(stages):
        widths[:, stage] = np.rint(width) * QUANTUM
        end = np.empty(len(indices))
        rows: Any = slice(None)
        while True:
            boundary = blocks_per_width[rows] * (wm[rows] ** (exponent[rows] + 0.5) - 1)
            end[rows] = np.minimum(np.ceil(boundary), depth[rows])
            # Exponent and width of the first block after the boundary; exponents without a block are skipped.
            following = np.log(1 + end[rows] / blocks_per_width[rows]) / log_wm[rows]
            exponent[rows] = np.maximum(np.rint(following), exponent[rows] + 1)
            width[rows] = w0[rows] / QUANTUM * wm[rows] ** exponent[rows]
            ambiguous[rows] |= (boundary < depth[rows]) & (
                _is_near(boundary, 0, boundary + blocks_per_width[rows])
                | _is_near(following, 0.5, 1)
                | _is_near(width[rows], 0.5, width[rows])
            )
            # The stage goes on where the next width rounds to the same.
            rows = np.flatnonzero((end < depth) & (np.rint(width) * QUANTUM == widths[:, stage]))
            if not len(rows):
                break
        depths[:, stage] = end - begin
        begin = end
    _recompute(np.flatnonzero(ambiguous), depth, w0, wa, wm, depths, widths)
    kept = np.flatnonzero((depths > 0).all(axis=1) & (depths.sum(axis=1) == depth))
    return indices[kept], depths[kept], widths[kept]


def _may_have(stages: int, depth: Array, w0: Array, wa: Array, wm: Array) -> Array:
    """False for networks that cannot have this number of stages, shape (n,)."""
    slope, log_wm = wa / w0, np.log(wm)
    second, last = np.log(1 + slope) / log_wm, np.log(1 + slope * (depth - 1)) / log_wm  # exponents of these blocks
    # The number of stages is that of the exponents if, from the second block on, no exponent is skipped (s_j grows by
    # less than 1 from block to block), and the widths of neighbouring exponents do not round to the same.
    countable = (1 + 2 * slope < wm * (1 + slope)) & (w0 * (wm - 1) > QUANTUM * (1 + _TIE))
    fewest, most = (
        np.maximum(1, np.rint(last + tie) - np.maximum(1, np.rint(second - tie)) + 2) for tie in (-_TIE, _TIE)
    )
    return np.where(countable, (fewest <= stages) & (stages <= most), stages <= np.rint(last + _TIE) + 1)


def _is_near(values: Array, fraction: float, scale: Any) -> Array:
    """Whether values are within ``_TIE * scale`` of a whole number (``fraction`` 0) or of a half-integer (0.5)."""
    return np.abs(np.abs(values - np.rint(values)) - fraction) < _TIE * scale


def _recompute(rows: Array, depth: Array, w0: Array, wa: Array, wm: Array, depths: Array, widths: Array) -> None:
    """Set rows of depths and widths from the widths of all blocks; to 0 if the number of stages is another."""
    blocks = quantized_linear_widths(int(depth[rows].max(initial=0)), w0[rows], wa[rows], wm[rows])
    for row, block_widths in zip(rows.tolist(), blocks.T, strict=True):
        found, counts = np.unique(block_widths[: depth[row]], return_counts=True)
        widths[row], depths[row] = (found, counts) if len(found) == depths.shape[1] else (0, 0)
