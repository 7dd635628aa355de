"""ReXNet's space of channel configurations: Rethinking Channel Dimensions for Efficient Model Design, §4.1 and §4.2.

The widths of a network's blocks ascend as a piecewise linear function of the block index. The paper searches among
them under limits on params and flops: ``space.sample(200, params=(None, '0.5mp'), flops=('90mf', '110mf'))``.
"""

import math
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from timm.models import create_model
from torch import nn

from timm_regnet_ds.models._build import output_size, size_overlay
from timm_regnet_ds.models.channelnet import ChannelNetCfg

from .arrays import Tally
from .space import Complexities, Configs, Ints, Membership, Space
from .values import Values, steps

__all__ = ["CHANNELS", "ChannelSpace", "Channels", "PiecewiseLinear"]

Array = NDArray[Any]


@dataclass(frozen=True)
class PiecewiseLinear:
    """Widths of blocks 0 to the last of ``blocks``, linear between those; halves round up, as in Table 3.

    Args:
        blocks: the first block, the last, and some between them, ascending.
        widths: channels of these blocks.
    """

    blocks: tuple[int, ...]
    widths: tuple[int, ...]

    def block_widths(self) -> tuple[int, ...]:
        """Output channels of each block, to the nearest whole number."""
        every = np.arange(self.blocks[-1] + 1)
        return tuple(np.floor(np.interp(every, self.blocks, self.widths) + 0.5).astype(int).tolist())


@dataclass(frozen=True, eq=False)
class Channels(Configs):
    """Channel configurations as arrays.

    Attributes:
        knots: blocks between which widths are linear, (n, knots).
        ends: widths of these, (n, knots).
        widths: of every block, (n, depth).
    """

    knots: Array
    ends: Array
    widths: Array

    def __len__(self) -> int:
        return len(self.knots)

    def __getitem__(self, place: Any) -> PiecewiseLinear:
        return PiecewiseLinear(tuple(self.knots[place].tolist()), tuple(self.ends[place].tolist()))

    def take(self, places: Array) -> "Channels":
        return Channels(self.knots[places], self.ends[places], self.widths[places])

    def joined(self, others: Any) -> "Channels":
        parts = (self, *others)
        knots, ends, widths = ([getattr(part, name) for part in parts] for name in ("knots", "ends", "widths"))
        return Channels(np.concatenate(knots), np.concatenate(ends), np.concatenate(widths))


@dataclass(frozen=True)
class ChannelSpace(Space):
    """Inverted bottlenecks whose widths ascend in linear pieces.

    Args:
        depth: number of blocks.
        widths: values of the width at the first block, at the last and where a piece ends.
        pieces: number of linear pieces; their ends are any blocks between, drawn uniformly.
        frame: strides, stem and head; its widths are not used.
        resolution: side of the images.
        num_classes: outputs of the classifier.
        in_chans: channels of the images.

    Raises:
        ValueError: more pieces than the depth has room for.
    """

    depth: int
    widths: Values
    pieces: int = 3
    frame: ChannelNetCfg | None = None
    resolution: int = 32
    num_classes: int = 100
    in_chans: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.pieces < self.depth:
            raise ValueError(f"pieces must be from 1 to {self.depth - 1}, one less than the depth, not {self.pieces}")

    def _cfg(self, widths: tuple[int, ...]) -> ChannelNetCfg:
        return ChannelNetCfg(widths) if self.frame is None else replace(self.frame, widths=widths)

    def draw(self, rng: np.random.Generator, n: int) -> tuple[Channels, Ints]:
        between = rng.random((n, self.depth - 2)).argsort(axis=1)[:, : self.pieces - 1] + 1
        first, last = np.zeros((n, 1), dtype=np.int64), np.full((n, 1), self.depth - 1)
        knots = np.concatenate([first, np.sort(between, axis=1), last], axis=1)
        ends = self.widths.draw(rng, n, self.pieces + 1)
        places = np.flatnonzero((np.diff(ends, axis=1) >= 0).all(axis=1))
        knots, ends = knots[places], ends[places]
        return Channels(knots, ends, _interpolated(knots, ends, self.depth)), places

    def complexity(self, configs: Any) -> Complexities:
        cfg = self._cfg((1,) * self.depth)
        tally, side = Tally(len(configs)), output_size(self.resolution, (cfg.stem_stride,))
        tally.conv(3, self.in_chans, cfg.stem_width, side)
        inputs: Any = cfg.stem_width
        for width, stride in zip(configs.widths.T, cfg.strides, strict=True):
            inner = inputs * cfg.expansion
            if cfg.expansion != 1:
                tally.conv(1, inputs, inner, side)
            side = output_size(side, (stride,))
            tally.conv(3, 1, inner, side)
            tally.conv(1, inner, width, side)
            inputs = width
        tally.conv(1, inputs, cfg.head_width, side)
        if self.num_classes:
            tally.linear(cfg.head_width, self.num_classes)
        return tally.complexities()

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
        """Choices of blocks and of ascending widths; some of them give the same widths block by block."""
        ends = self.pieces + 1
        return math.comb(self.depth - 2, self.pieces - 1) * math.comb(len(self.widths) + ends - 1, ends)

    def build(self, config: PiecewiseLinear, **kwargs: Any) -> nn.Module:
        in_chans = kwargs.get("in_chans", self.in_chans)
        cfg = self._cfg(config.block_widths())
        overlay = size_overlay(self.resolution, (cfg.stem_stride, *cfg.strides), in_chans)
        arguments = {
            "num_classes": self.num_classes,
            "in_chans": in_chans,
            "pretrained_cfg_overlay": overlay | (kwargs.pop("pretrained_cfg_overlay", None) or {}),
        }
        return create_model("channelnet", **asdict(cfg), **(arguments | kwargs))

    def to_json(self, config: PiecewiseLinear) -> dict[str, Any]:
        return {name: list(values) for name, values in asdict(config).items()}

    def from_json(self, row: dict[str, Any]) -> PiecewiseLinear:
        names = [f.name for f in fields(PiecewiseLinear)]
        if row.keys() != set(names):
            raise ValueError(f"a configuration of {self.name} has {' and '.join(names)}, not {', '.join(row)}")
        return PiecewiseLinear(*(tuple(row[name]) for name in names))


def _interpolated(knots: Array, ends: Array, depth: int) -> Array:
    """Widths of every block, (n, depth), as `PiecewiseLinear.block_widths` has them."""
    widths = np.empty((len(knots), depth))
    rows = np.arange(len(knots))
    for block in range(depth):
        piece = np.minimum((knots <= block).sum(axis=1), knots.shape[1] - 1) - 1
        left, right = knots[rows, piece], knots[rows, piece + 1]
        low, high = ends[rows, piece], ends[rows, piece + 1]
        # In the order of numpy.interp, so that ties round alike.
        widths[:, block] = np.where(block == right, high, (high - low) / (right - left) * (block - left) + low)
    return np.floor(widths + 0.5).astype(np.int64)


# Figure 2 and Table 3: 5, 9 and 13 blocks.
CHANNELS = {f"rexnet_{depth}": ChannelSpace(f"rexnet_{depth}", depth, steps(16, 512)) for depth in (5, 9, 13)}
