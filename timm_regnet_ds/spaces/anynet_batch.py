"""Many AnyNets as arrays, and their complexity.

A stage costs its first block, and then depth − 1 times a block that keeps the shape.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from timm_regnet_ds.models._build import output_size
from timm_regnet_ds.models.anynet import STEM_STRIDES, AnyNetCfg

from ._types import Array
from .complexities import Complexities, ComplexitySums, Number
from .frame import Frame
from .space import ConfigBatch

__all__ = ["AnyNetBatch"]

_ARRAYS = ("depths", "widths", "bottle_ratios", "group_widths")


@dataclass(frozen=True, eq=False, repr=False)
class AnyNetBatch(ConfigBatch):
    """n AnyNets as arrays of shape (n, stages), and the fields that they share.

    Attributes:
        depths, widths, group_widths: int64, shape (n, stages).
        bottle_ratios: width inside a bottleneck over the width (1/b of the papers), shape (n, stages).
        frame: the fields that all n networks share.
    """

    depths: Array
    widths: Array
    bottle_ratios: Array
    group_widths: Array
    frame: Frame

    @classmethod
    def of(cls, cfgs: Sequence[AnyNetCfg], frame: Frame) -> "AnyNetBatch":
        """From configs that have this frame and the same number of stages."""
        return cls(**{name: np.array([getattr(cfg, name) for cfg in cfgs]) for name in _ARRAYS}, frame=frame)

    def __len__(self) -> int:
        return len(self.depths)

    def __getitem__(self, index: Any) -> AnyNetCfg:
        values = {name: getattr(self, name)[index].tolist() for name in _ARRAYS}
        if not self.frame.spec.bottleneck:
            values = {name: values[name] for name in ("depths", "widths")}
        return AnyNetCfg(**values, block=self.frame.block, **self.frame.fields())

    def take(self, indices: Array) -> "AnyNetBatch":
        return replace(self, **{name: getattr(self, name)[indices] for name in _ARRAYS})

    def join(self, others: Any) -> "AnyNetBatch":
        batches = (self, *others)
        arrays: Any = {name: np.concatenate([getattr(batch, name) for batch in batches]) for name in _ARRAYS}
        return replace(self, **arrays)

    def inner_widths(self) -> Array:
        """Channels of the 3×3 convolutions inside bottlenecks, shape (n, stages)."""
        return np.maximum(1, np.rint(self.widths * self.bottle_ratios)).astype(np.int64)

    def complexity(self, resolution: int | Array = 224) -> Complexities:
        """Flops, params and acts for one image.

        Args:
            resolution: side of the images, one for all networks or one for each, shape (n,).
        """
        sums = ComplexitySums(len(self))
        frame, spec = self.frame, self.frame.spec
        side: Any = np.asarray(resolution, dtype=np.int64)
        side = output_size(side, (STEM_STRIDES[frame.stem],))
        sums.conv(3, frame.in_chans, frame.stem_width, side)
        inputs: Number = frame.stem_width
        stage = _bottleneck if spec.bottleneck else _basic
        se_ratio = spec.se_ratio if frame.se_ratio is None else frame.se_ratio
        inner_widths = self.inner_widths()
        for i, stride in enumerate(frame.strides):
            depth, width, in_side = self.depths[:, i], self.widths[:, i], side
            side = output_size(side, (stride,))
            shape = _StageShape(inner_widths[:, i], self.group_widths[:, i], se_ratio)
            stage(sums, inputs, width, in_side, side, shape, times=1)
            stage(sums, width, width, side, side, shape, times=depth - 1)
            if spec.shortcut == "projected":
                sums.conv(1, inputs, width, side, times=1 if stride != 1 else width != inputs)
            inputs = width
        head_width = spec.head_width if frame.head_width is None else frame.head_width
        if head_width:
            sums.conv(1, inputs, head_width, side)
            inputs = head_width
        if frame.num_classes:
            sums.linear(inputs, frame.num_classes)
        return sums.complexities()


@dataclass(frozen=True)
class _StageShape:
    """Dimensions inside the bottlenecks of one stage; the arrays have shape (n,)."""

    width: Array
    group_width: Array
    se_ratio: float


def _bottleneck(
    sums: ComplexitySums, inputs: Number, outputs: Array, in_side: Array, side: Array, shape: _StageShape, times: Number
) -> None:
    sums.conv(1, inputs, shape.width, in_side, times=times)
    sums.conv(3, shape.group_width, shape.width, side, times=times)
    if shape.se_ratio:
        squeezed = np.maximum(1, np.rint(inputs * shape.se_ratio)).astype(np.int64)
        sums.linear(shape.width, squeezed, times=times)
        sums.linear(squeezed, shape.width, times=times)
    sums.conv(1, shape.width, outputs, side, times=times)


def _basic(
    sums: ComplexitySums, inputs: Number, outputs: Array, in_side: Array, side: Array, shape: _StageShape, times: Number
) -> None:
    sums.conv(3, inputs, outputs, side, times=times)
    sums.conv(3, outputs, outputs, side, times=times)
