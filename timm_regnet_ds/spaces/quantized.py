"""Stages of many RegNets at once, without a loop over blocks.

Designing Network Design Spaces, Eqs. 2 to 4: block j has the exponent ⌊s_j⌉, where w0 + wa·j = w0 · wm^s_j, and stage i
consists of the blocks with exponent i. Since s_j ascends, stage i ends before block ⌈w0 · (wm^(i+1/2) − 1) / wa⌉.

A network in which no block has exponent i has an empty stage, and one in which the widths of two stages round to the
same has two stages that are one. Such networks are left out, as the authors' sampler leaves them out.
"""

from typing import NamedTuple

import numpy as np

from timm_regnet_ds.common.quantized_linear import QUANTUM, quantized_linear_exponents

from ._types import Array

__all__ = ["TIE", "StageTable", "quantized_stages", "stage_table"]

# Closer to a rounding tie than this, floating-point error decides the result: such networks are computed block by
# block.
TIE = 1e-9


class StageTable(NamedTuple):
    """Stages of m RegNets, before the last one is cut to the network's depth.

    Attributes:
        indices: which of the given networks these are, ascending, shape (m,).
        ends: number of blocks up to the end of each stage, at most the greatest depth, shape (m, stages).
        widths: widths before group widths are fitted, shape (m, stages).

    The numbers of one stage lie beside each other in memory, since they are computed with stage by stage.
    """

    indices: Array
    ends: Array
    widths: Array


def quantized_stages(depth: Array, w0: Array, wa: Array, wm: Array, stages: int) -> tuple[Array, Array, Array]:
    """Depths and widths of those of n RegNets that have the given number of stages, equal to `RegNetCfg.stages`.

    Args:
        depth: number of blocks, shape (n,).
        w0, wa, wm: width of the first block, slope above 0, ratio of neighbouring widths; shape (n,).
        stages: number of stages. Networks with another number, with an empty stage, or with neighbouring stages of the
            same width are left out.

    Returns:
        Indices of the m networks that remain, ascending, shape (m,); their depths, and their widths before group widths
        are fitted, both int64 of shape (m, stages).
    """
    # The exponent of the last block decides for most networks: it must be that of the last stage.
    growth, least = 1 + wa * (depth - 1) / w0, wm ** (stages - 2) * np.sqrt(wm) * (1 - TIE)
    likely = np.flatnonzero((growth > least) & (growth < least * wm * (1 + 3 * TIE)))
    depth, w0, wa, wm = (array.take(likely) for array in (depth, w0, wa, wm))
    table = stage_table(int(depth.max(initial=1)), w0, wa, wm, stages)
    depth, ends, widths = depth[table.indices], table.ends.T, table.widths.T
    kept = np.flatnonzero((ends[-1] >= depth) & (depth > (ends[-2] if stages > 1 else 0)))
    depths = np.minimum(ends, depth).take(kept, axis=1)
    depths[1:] -= depths[:-1].copy()
    return likely[table.indices[kept]], depths.T, widths.take(kept, axis=1).T


def stage_table(most: int, w0: Array, wa: Array, wm: Array, stages: int) -> StageTable:
    """The first stages of those of n RegNets in which, with enough blocks, none is empty or as wide as its neighbour.

    Args:
        most: greatest depth.
        w0, wa, wm: width of the first block, slope above 0, ratio of neighbouring widths; shape (n,).
        stages: number of stages.
    """
    exponents = np.arange(stages, dtype=np.float64)
    powers = np.ones((stages, len(wm)))
    for i in range(1, stages):
        np.multiply(powers[i - 1], wm, out=powers[i])
    line, eighths = w0 / wa, w0 / QUANTUM * powers
    boundaries = line * (np.sqrt(wm) * powers - 1)
    ends, rounded = np.minimum(np.ceil(boundaries), most), np.rint(eighths)
    near_tie = (np.abs(boundaries - np.rint(boundaries)) < TIE * (boundaries + line)) & (boundaries < most)
    near_tie |= np.abs(np.abs(eighths - rounded) - 0.5) < TIE * eighths
    rows = np.flatnonzero(near_tie.any(axis=0))
    if len(rows):
        first, slope, ratio = w0[rows], wa[rows], wm[rows]
        blocks = quantized_linear_exponents(most, first, slope, ratio)
        ends[:, rows] = (blocks <= exponents[:, None, None]).sum(axis=1)
        rounded[:, rows] = np.rint(first * ratio ** exponents[:, None] / QUANTUM)
    distinct = (ends[1:] > ends[:-1]) & (rounded[1:] > rounded[:-1])
    indices = np.flatnonzero(distinct.all(axis=0) & (rounded[0] > 0))
    ends, rounded = (table.astype(np.int64).take(indices, axis=1) for table in (ends, rounded))
    return StageTable(indices, ends.T, (rounded * QUANTUM).T)
