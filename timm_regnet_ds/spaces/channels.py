"""ReXNet's space of channel configurations: Rethinking Channel Dimensions for Efficient Model Design, §4.1 and §4.2.

The widths of a network's blocks ascend as a piecewise linear function of the block index. The paper searches among
them under limits on params and flops: ``space.sample(200, params=(None, '0.5mp'), flops=('90mf', '110mf'))``.
"""

import math
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
from torch import nn

from timm_regnet_ds.models._build import output_size
from timm_regnet_ds.models.channelnet import ChannelNetCfg

from ._types import Array, Ints
from .build import build_model
from .complexities import Complexities, ComplexitySums
from .space import ConfigBatch, Membership, Space
from .values import Values, steps

__all__ = ["CHANNEL_SPACES", "ChannelBatch", "ChannelSpace", "PiecewiseLinear"]


@dataclass(frozen=True)
class PiecewiseLinear:
    """Widths of blocks 0 to ``blocks[-1]``, linear between the given blocks; halves round up, as in Table 3.

    Args:
        blocks: ascending indices of blocks, from 0 to the last block.
        widths: channels of these blocks.
    """

    blocks: tuple[int, ...]
    widths: tuple[int, ...]

    def block_widths(self) -> tuple[int, ...]:
        """Output channels of each block, rounded to integers."""
        knots, ends = np.array([self.blocks]), np.array([self.widths])
        return tuple(_interpolate(knots, ends, self.blocks[-1] + 1)[0].tolist())


@dataclass(frozen=True, eq=False, repr=False)
class ChannelBatch(ConfigBatch):
    """n channel configurations as arrays.

    Attributes:
        knots: indices of the blocks between which widths are linear, shape (n, pieces + 1).
        ends: widths of these blocks, shape (n, pieces + 1).
        widths: width of every block, shape (n, depth).
    """

    knots: Array
    ends: Array
    widths: Array

    def __len__(self) -> int:
        return len(self.knots)

    def __getitem__(self, index: Any) -> PiecewiseLinear:
        return PiecewiseLinear(tuple(self.knots[index].tolist()), tuple(self.ends[index].tolist()))

    def take(self, indices: Array) -> "ChannelBatch":
        return ChannelBatch(self.knots[indices], self.ends[indices], self.widths[indices])

    def join(self, others: Any) -> "ChannelBatch":
        batches = (self, *others)
        knots, ends, widths = ([getattr(batch, name) for batch in batches] for name in ("knots", "ends", "widths"))
        return ChannelBatch(np.concatenate(knots), np.concatenate(ends), np.concatenate(widths))


@dataclass(frozen=True)
class ChannelSpace(Space):
    """Inverted bottlenecks whose widths ascend in linear pieces.

    Args:
        depth: number of blocks.
        widths: values of the width of the first block, of the last block, and of each block at which a piece ends.
        pieces: number of linear pieces; the blocks at which they end are drawn uniformly.
        template: strides, stem and head of the networks; its widths are replaced. ``None``: those of `ChannelNetCfg`.
        resolution: side of the images.
        num_classes: outputs of the classifier.
        in_chans: channels of the images.

    Raises:
        ValueError: less than one piece, or as many pieces as blocks or more.
    """

    depth: int
    widths: Values
    pieces: int = 3
    template: ChannelNetCfg | None = None
    resolution: int = 32
    num_classes: int = 100
    in_chans: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.pieces < self.depth:
            raise ValueError(f"pieces must be from 1 to {self.depth - 1}, one less than the depth, not {self.pieces}")

    def _cfg(self, widths: tuple[int, ...]) -> ChannelNetCfg:
        return ChannelNetCfg(widths) if self.template is None else replace(self.template, widths=widths)

    def draw(self, rng: np.random.Generator, n: int) -> tuple[ChannelBatch, Ints]:
        between = rng.random((n, self.depth - 2)).argsort(axis=1)[:, : self.pieces - 1] + 1
        first, last = np.zeros((n, 1), dtype=np.int64), np.full((n, 1), self.depth - 1)
        knots = np.concatenate([first, np.sort(between, axis=1), last], axis=1)
        ends = self.widths.draw(rng, n, self.pieces + 1)
        indices = np.flatnonzero((np.diff(ends, axis=1) >= 0).all(axis=1))
        knots, ends = knots[indices], ends[indices]
        return ChannelBatch(knots, ends, _interpolate(knots, ends, self.depth)), indices

    def complexity(self, configs: Any) -> Complexities:
        cfg = self._cfg((1,) * self.depth)
        sums, side = ComplexitySums(len(configs)), output_size(self.resolution, (cfg.stem_stride,))
        sums.conv(3, self.in_chans, cfg.stem_width, side)
        inputs: Any = cfg.stem_width
        for width, stride in zip(configs.widths.T, cfg.strides, strict=True):
            inner = inputs * cfg.expansion
            if cfg.expansion != 1:
                sums.conv(1, inputs, inner, side)
            side = output_size(side, (stride,))
            sums.conv(3, 1, inner, side)
            sums.conv(1, inner, width, side)
            inputs = width
        sums.conv(1, inputs, cfg.head_width, side)
        if self.num_classes:
            sums.linear(cfg.head_width, self.num_classes)
        return sums.complexities()

    def contains(self, config: PiecewiseLinear) -> Membership:
        if not isinstance(config, PiecewiseLinear):
            return Membership(f"a configuration of {self.name} is a PiecewiseLinear, not a {type(config).__name__}")
        blocks, widths = list(config.blocks), list(config.widths)
        if len(blocks) != self.pieces + 1 or len(widths) != self.pieces + 1:
            return Membership(f"it has {len(blocks)} blocks and {len(widths)} widths, not {self.pieces + 1} of each")
        if (blocks[0], blocks[-1]) != (0, self.depth - 1) or any(a >= b for a, b in pairwise(blocks)):
            return Membership(f"the blocks {blocks} do not ascend from 0 to {self.depth - 1}")
        for width in widths:
            if width not in self.widths:
                return Membership(f"width {width} is not one of {self.widths}")
        decrease = any(a > b for a, b in pairwise(widths))
        return Membership(f"the widths {widths} decrease" if decrease else "")

    def count(self) -> int:
        """Number of choices of blocks and of ascending widths; some give the same widths block by block."""
        ends = self.pieces + 1
        return math.comb(self.depth - 2, self.pieces - 1) * math.comb(len(self.widths) + ends - 1, ends)

    def build(self, config: PiecewiseLinear, **kwargs: Any) -> nn.Module:
        cfg = self._cfg(config.block_widths())
        return build_model(
            "channelnet",
            asdict(cfg),
            kwargs,
            resolution=self.resolution,
            strides=(cfg.stem_stride, *cfg.strides),
            num_classes=self.num_classes,
            in_chans=self.in_chans,
        )

    def to_json(self, config: PiecewiseLinear) -> dict[str, Any]:
        return {name: list(values) for name, values in asdict(config).items()}

    def from_json(self, row: dict[str, Any]) -> PiecewiseLinear:
        names = [f.name for f in fields(PiecewiseLinear)]
        if row.keys() != set(names):
            raise ValueError(f"a configuration of {self.name} has {' and '.join(names)}, not {', '.join(row)}")
        return PiecewiseLinear(*(tuple(row[name]) for name in names))


def _interpolate(knots: Array, ends: Array, depth: int) -> Array:
    """Widths of every block, shape (n, depth), from knots and ends of shape (n, pieces + 1)."""
    widths = np.empty((len(knots), depth))
    rows = np.arange(len(knots))
    for block in range(depth):
        piece = np.minimum((knots <= block).sum(axis=1), knots.shape[1] - 1) - 1
        left, right = knots[rows, piece], knots[rows, piece + 1]
        low, high = ends[rows, piece], ends[rows, piece + 1]
        widths[:, block] = np.where(block == right, high, (high - low) / (right - left) * (block - left) + low)
    return np.floor(widths + 0.5).astype(np.int64)


# Figure 2 and Table 3: 5, 9 and 13 blocks.
CHANNEL_SPACES = {f"rexnet_{depth}": ChannelSpace(f"rexnet_{depth}", depth, steps(16, 512)) for depth in (5, 9, 13)}
