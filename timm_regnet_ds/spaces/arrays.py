"""Complexity of many AnyNets at once, without building one.

Fast and Accurate Model Scaling, §3 (Eqs. 1 to 3), summed over the operations of a network: a stage costs its first
block and then so many times a block that keeps the shape. What comes out equals `timm_regnet_ds.measure` of the model
built, to the integer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timm_regnet_ds.models._blocks import BLOCKS, BlockSpec
from timm_regnet_ds.models._build import output_size
from timm_regnet_ds.models.anynet import STEM_STRIDES, AnyNetCfg

from .space import Complexities, Configs

__all__ = ["AnyNets", "Frame", "Tally"]

Array = NDArray[Any]
Number = Any  # or an array of shape (n,)


@dataclass(frozen=True)
class Frame:
    """What the networks of a space have in common.

    Args:
        block: ``x``, ``y``, ``z``, ``vanilla`` or ``basic``.
        strides: of each stage's first block.
        stem: ``imagenet`` (stride 2) or ``cifar`` (stride 1).
        stem_width: channels of the stem.
        head_width: channels of a 1×1 convolution before the pooling, 0 for none. ``None``: the block's own.
        se_ratio: squeeze width over a block's input width. ``None``: the block's own.
        num_classes: outputs of the classifier; 0 for none.
        in_chans: channels of the images.
    """

    block: str = "x"
    strides: tuple[int, ...] = (2, 2, 2, 2)
    stem: str = "imagenet"
    stem_width: int = 32
    head_width: int | None = None
    se_ratio: float | None = None
    num_classes: int = 1000
    in_chans: int = 3

    @property
    def spec(self) -> BlockSpec:
        """What sets the block apart."""
        return BLOCKS[self.block]

    def fields(self) -> dict[str, Any]:
        """The fields of `AnyNetCfg` among these."""
        names = ("strides", "stem", "stem_width", "head_width", "se_ratio")
        return {name: getattr(self, name) for name in names}


_ARRAYS = ("depths", "widths", "bottle_ratios", "group_widths")


@dataclass(frozen=True, eq=False)
class AnyNets(Configs):
    """AnyNets as arrays of shape (n, stages), with what they have in common.

    Attributes:
        depths, widths, group_widths: int64.
        bottle_ratios: width inside a bottleneck over the width (1/b of the papers).
        frame: the rest of a config.
    """

    depths: Array
    widths: Array
    bottle_ratios: Array
    group_widths: Array
    frame: Frame = Frame()

    @classmethod
    def of(cls, cfgs: Sequence[AnyNetCfg], frame: Frame) -> "AnyNets":
        """From configs of one frame and one number of stages."""
        return cls(**{name: np.array([getattr(cfg, name) for cfg in cfgs]) for name in _ARRAYS}, frame=frame)

    def __len__(self) -> int:
        return len(self.depths)

    def __getitem__(self, place: Any) -> AnyNetCfg:
        values = {name: getattr(self, name)[place].tolist() for name in _ARRAYS}
        if not self.frame.spec.bottleneck:
            values = {name: values[name] for name in ("depths", "widths")}
        return AnyNetCfg(**values, block=self.frame.block, **self.frame.fields())

    def take(self, places: Array) -> "AnyNets":
        return replace(self, **{name: getattr(self, name)[places] for name in _ARRAYS})

    def joined(self, others: Any) -> "AnyNets":
        parts = (self, *others)
        arrays: Any = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS}
        return replace(self, **arrays)

    def inner_widths(self) -> Array:
        """Channels of the 3×3 convolutions inside bottlenecks, (n, stages)."""
        return np.maximum(1, np.rint(self.widths * self.bottle_ratios)).astype(np.int64)

    def complexity(self, resolution: int | Array = 224) -> Complexities:
        """Flops, params and acts for one image of a resolution, or of a resolution each, shape (n,)."""
        tally = Tally(len(self))
        frame, spec = self.frame, self.frame.spec
        side: Any = np.asarray(resolution, dtype=np.int64)
        side = output_size(side, (STEM_STRIDES[frame.stem],))
        tally.conv(3, frame.in_chans, frame.stem_width, side)
        inputs: Number = frame.stem_width
        stage = _bottleneck if spec.bottleneck else _basic
        se_ratio = spec.se_ratio if frame.se_ratio is None else frame.se_ratio
        inner_widths = self.inner_widths()
        for i, stride in enumerate(frame.strides):
            depth, width, coming = self.depths[:, i], self.widths[:, i], side
            side = output_size(side, (stride,))
            shape = _Shape(inner_widths[:, i], self.group_widths[:, i], se_ratio)
            stage(tally, inputs, width, coming, side, shape, times=1)
            stage(tally, width, width, side, side, shape, times=depth - 1)
            if spec.shortcut == "projected":
                tally.conv(1, inputs, width, side, times=1 if stride != 1 else width != inputs)
            inputs = width
        head_width = spec.head_width if frame.head_width is None else frame.head_width
        if head_width:
            tally.conv(1, inputs, head_width, side)
            inputs = head_width
        if frame.num_classes:
            tally.linear(inputs, frame.num_classes)
        return tally.complexities()


@dataclass(frozen=True)
class _Shape:
    """Inside of a bottleneck."""

    width: Array
    group_width: Array
    se_ratio: float


class Tally:
    """Running totals of n networks."""

    def __init__(self, n: int) -> None:
        self.flops, self.params, self.acts = (np.zeros(n, dtype=np.int64) for _ in range(3))

    def complexities(self) -> Complexities:
        """What has been counted."""
        return Complexities(self.flops, self.params, self.acts)

    def conv(self, kernel: int, group_width: Number, outputs: Number, side: Number, *, times: Number = 1) -> None:
        """A convolution of ``group_width`` inputs a group, and its BatchNorm's two parameters a channel."""
        outputs = outputs * times
        weights = kernel**2 * group_width * outputs
        acts = outputs * side**2
        self.flops += kernel**2 * group_width * acts
        self.params += weights + 2 * outputs
        self.acts += acts

    def linear(self, inputs: Number, outputs: Number, *, times: Number = 1) -> None:
        """A linear layer with bias, or what is one: a 1×1 convolution of a single place."""
        outputs = outputs * times
        weights = inputs * outputs
        self.flops += weights
        self.params += weights + outputs
        self.acts += outputs


def _bottleneck(
    tally: Tally, inputs: Number, outputs: Array, coming: Array, side: Array, inside: _Shape, times: Number
) -> None:
    tally.conv(1, inputs, inside.width, coming, times=times)
    tally.conv(3, inside.group_width, inside.width, side, times=times)
    if inside.se_ratio:
        squeezed = np.maximum(1, np.rint(inputs * inside.se_ratio)).astype(np.int64)
        tally.linear(inside.width, squeezed, times=times)
        tally.linear(squeezed, inside.width, times=times)
    tally.conv(1, inside.width, outputs, side, times=times)


def _basic(
    tally: Tally, inputs: Number, outputs: Array, coming: Array, side: Array, inside: _Shape, times: Number
) -> None:
    tally.conv(3, inputs, outputs, side, times=times)
    tally.conv(3, outputs, outputs, side, times=times)
