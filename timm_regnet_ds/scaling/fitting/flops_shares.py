"""Shares of a model's flops that grow quadratically and linearly with the width."""

import math
from dataclasses import dataclass
from typing import Any

from torch import nn

from timm_regnet_ds.complexity import Complexity
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers

__all__ = ["FlopsShares", "flops_shares"]


@dataclass(frozen=True)
class FlopsShares:
    """A model's complexity, and the shares of its flops by how they grow with the width.

    Attributes:
        complexity: complexity of the model.
        dense: share of flops that grow quadratically: convolutions and linear layers.
        linear: share of flops that grow linearly: depthwise convolutions, matrix products of attention, the first
            convolution and the classifier.
        grouped: the part of ``dense`` in convolutions with groups of several channels. It grows as the width and as
            the group width.
    """

    complexity: Complexity
    dense: float
    linear: float
    grouped: float = 0.0

    def growth(self, by: Multipliers, area: float, group_width: float | None = None) -> float:
        """Return the growth of flops, if the area of feature maps grows by ``area``.

        Args:
            by: the growth of depth and width.
            area: the growth of the area.
            group_width: the growth of group widths. None: as the widths.
        """
        channels = self.dense * by.width**2 + self.linear * by.width
        if group_width is not None:
            channels += self.grouped * by.width * (group_width - by.width)
        return by.depth * area * channels

    def width_for(self, factor: float, others: float, group_width: float | None = None) -> float:
        """Return the width multiplier needed for flops to grow by ``factor``.

        Args:
            factor: the growth of flops.
            others: the growth of flops that depth and resolution already cause.
            group_width: the growth of group widths. None: as the widths.
        """
        wanted, dense, linear = factor / others, self.dense, self.linear
        if group_width is not None:
            dense, linear = dense - self.grouped, linear + self.grouped * group_width
        if dense < 1e-6:
            return wanted / linear
        return (math.sqrt(linear**2 + 4 * dense * wanted) - linear) / (2 * dense)


def flops_shares(model: nn.Module, complexity: Complexity) -> FlopsShares:
    """Divide the measured flops of a model by how they grow with the width."""
    linear = sum(part.counts.flops for part in complexity.parts if _grows_linearly(model, part.module, part.kind))
    total = max(1, complexity.flops)
    return FlopsShares(complexity, 1 - linear / total, linear / total, complexity.grouped_flops / total)


def _grows_linearly(model: nn.Module, path: str, kind: str) -> bool:
    if kind in ("attention", "matmul"):
        return True
    module = model.get_submodule(path)
    if path in _classifiers(model):
        return True
    return isinstance(module, nn.Conv2d) and (
        module.groups == module.in_channels or module.in_channels == getattr(model, "in_chans", 3)
    )


def _classifiers(model: Any) -> tuple[str, ...]:
    names = (getattr(model, "pretrained_cfg", None) or {}).get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)
