"""Stages of many RegNets at once, by closed form: no loop over blocks.

Designing Network Design Spaces, Eqs. 2 to 4. Block j has the exponent round(s_j), where w0 + wa·j = w0 · wm^s_j. Since
s_j ascends, the blocks of exponent k and more begin at j = ⌈w0 · (wm^(k−1/2) − 1) / wa⌉.
"""

import math
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timm_regnet_ds.models.regnet import QUANTUM, quantized_linear

__all__ = ["quantized_stages"]

Array = NDArray[Any]

# As near as this to a tie, the last bit of a logarithm or a power decides: there `quantized_linear` is asked.
_TIE = 1e-9
_FAR = 1e12  # a power that no block has


def quantized_stages(depth: Array, w0: Array, wa: Array, wm: Array, stages: int) -> tuple[Array, Array, Array]:
    """Depths and widths of those of n RegNets that have so many stages, equal to `RegNetCfg.stages`.

    Args:
        depth: number of blocks, shape (n,).
        w0, wa, wm: width of the first block, slope above 0, ratio of neighbouring widths; shape (n,).
        stages: the number of stages; networks of another are left out.

    Returns:
        Which of the n networks they are, shape (m,), ascending; depths and widths, int64 of shape (m, stages), before
        group widths are fitted.
    """
    # Exponents without a block and widths that round to the same leave fewer stages than exponents, never more: the
    # last exponent is stages − 1 at least.
    least = math.prod([wm] * (stages - 2), start=np.sqrt(wm)) if stages > 1 else 0.0
    places = np.flatnonzero(1 + wa / w0 * (depth - 1) >= least * (1 - _TIE))
    lines = _Lines(depth[places], w0[places], wa[places], wm[places])
    last = np.log(1 + lines.wa / lines.w0 * (lines.depth - 1)) / np.log(lines.wm)
    exponents = np.rint(last)
    first = lines.first_step()
    expected = np.where(exponents > 0, exponents - first + 2, 1)
    doubtful = lines.may_merge() | lines.may_step_twice() | (_off(last) < _TIE)
    even = np.flatnonzero(~doubtful & (expected == stages))
    unsure = np.flatnonzero(doubtful & (expected >= stages - 1))
    most = int(exponents[unsure].max(initial=0)) + 2
    parts = [
        (places[even], *_settled(lines.take(even), *_columns(lines.take(even), first[even], stages))),
        (places[unsure], *_counted(lines.take(unsure), most, stages)),
    ]
    places, depths, widths = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    kept = np.flatnonzero(depths[:, 0])
    kept = kept[np.argsort(places[kept])]
    return places[kept], depths[kept], widths[kept]


@dataclass(frozen=True, eq=False)
class _Lines:
    """Linear functions to be quantized, shape (n,)."""

    depth: Array
    w0: Array
    wa: Array
    wm: Array

    def take(self, places: Array) -> "_Lines":
        return _Lines(*(array[places] for array in (self.depth, self.w0, self.wa, self.wm)))

    def first_step(self) -> Array:
        """Exponent of the first block that has another than 0: 1, but where the slope steps over that."""
        step = np.ones(len(self.w0))
        steep = np.flatnonzero((1 + self.wa / self.w0) ** 2 > self.wm**3 * (1 - _TIE))
        exponents = np.log(1 + self.wa[steep] / self.w0[steep]) / np.log(self.wm[steep])
        # A tie counts as the lower; boundaries that near are looked at again.
        step[steep] = np.maximum(1, np.rint(exponents))
        return step

    def may_step_twice(self) -> Array:
        """Whether a later block, too, may step over an exponent."""
        slope = self.wa / self.w0
        # From the second block to the third s_j grows by less than from the first to the second, and so on.
        twice = 1 + 2 * slope >= self.wm * (1 + slope)
        near = np.flatnonzero(twice)
        slope, wm = slope[near], self.wm[near]
        second, third = np.log(1 + slope) / np.log(wm), np.log(1 + 2 * slope) / np.log(wm)
        steps_over = np.rint(third + _TIE) - np.rint(second - _TIE) > 1
        twice[near] = steps_over | (1 + 3 * slope >= wm * (1 + 2 * slope))
        return twice

    def may_merge(self) -> Array:
        """Whether neighbouring exponents may give widths that round to the same; widths in quanta."""
        merge = np.zeros(len(self.w0), dtype=bool)
        near = np.flatnonzero(self.w0 * (self.wm - 1) <= QUANTUM)
        width, wm = self.w0[near] / QUANTUM, self.wm[near]
        # Steps between widths grow; one as wide as a quantum separates them.
        while len(near):
            merge[near] |= np.floor(width + 0.5 + _TIE * width) >= np.ceil(width * wm - 0.5 - _TIE * width)
            width = width * wm
            more = width * (wm - 1) <= 1
            near, width, wm = near[more], width[more], wm[more]
        return merge


def _off(exponent: Array) -> Array:
    """How far an exponent is from a tie."""
    return np.abs(np.abs(exponent - np.rint(exponent)) - 0.5)


def _columns(lines: _Lines, first: Array, count: int) -> tuple[Array, Array, Array]:
    """Depths and widths (n, count) of the exponents 0, ``first``, ``first`` + 1, …, and where a tie is near, (n,)."""
    w0, wa, wm, depth = lines.w0, lines.wa, lines.wm, lines.depth
    ratio, nearness, root = w0 / wa, _TIE * (w0 / wa), np.sqrt(wm)
    tied = np.zeros(len(w0), dtype=bool)
    depths, widths = np.empty((2, len(w0), count), dtype=np.int64)
    begin: Any = 0.0
    widths[:, 0] = w0
    power = wm if (first == 1).all() else wm**first
    for k in range(1, count):
        boundary = np.minimum(ratio * (power / root - 1), depth)
        end = np.ceil(boundary)
        tied |= (np.abs(boundary - np.rint(boundary)) < _TIE * boundary + nearness) & (boundary < depth)
        depths[:, k - 1] = end - begin
        width = w0 * power / QUANTUM
        rounded = np.rint(width)
        # A first power is exact.
        tied |= (np.abs(np.abs(width - rounded) - 0.5) < _TIE * width) & (power != wm) & (end < depth)
        widths[:, k] = rounded
        begin, power = end, np.minimum(power * wm, _FAR)
    depths[:, count - 1] = depth - begin
    widths[:, 1:] *= QUANTUM
    return depths, widths, tied


def _counted(lines: _Lines, exponents: int, stages: int) -> tuple[Array, Array]:
    """Depths and widths (n, stages), with exponents that have no blocks left out and those of one width together.

    Depths are 0 where that gives another number of stages.
    """
    by_exponent, wide, tied = _columns(lines, np.ones(len(lines.w0)), exponents)
    rows = np.arange(len(tied))
    # One column more takes what is beyond the number of stages.
    depths, widths = np.zeros((2, len(tied), stages + 1), dtype=np.int64)
    stage, before = np.full(len(tied), -1), np.zeros(len(tied), dtype=np.int64)
    for k in range(exponents):
        there = by_exponent[:, k] > 0
        stage = np.minimum(stage + (there & (wide[:, k] != before)), stages)
        before = np.where(there, wide[:, k], before)
        depths[rows, stage] += by_exponent[:, k]
        widths[rows, stage] = before
    depths[stage != stages - 1] = 0
    return _settled(lines, depths[:, :stages], widths[:, :stages], tied)


def _settled(lines: _Lines, depths: Array, widths: Array, tied: Array) -> tuple[Array, Array]:
    """Depths and widths (n, stages), with those near a tie as `quantized_linear` has them."""
    for i in np.flatnonzero(tied):
        blocks = quantized_linear(*(array[i].item() for array in (lines.depth, lines.w0, lines.wa, lines.wm)))
        runs = [(width, len(list(run))) for width, run in groupby(blocks)]
        widths[i], depths[i] = zip(*runs, strict=True) if len(runs) == depths.shape[1] else (0, 0)
    return depths, widths
