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
    """

    complexity: Complexity
    dense: float
    linear: float

    def growth(self, by: Multipliers, area: float) -> float:
        """Return the growth of flops, if the area of feature maps grows by ``area``."""
        return by.depth * area * (self.dense * by.width**2 + self.linear * by.width)

    def width_for(self, factor: float, others: float) -> float:
        """Return the width multiplier needed for flops to grow by ``factor``.

        ``others`` is the growth of flops that depth and resolution already cause.
        """
        wanted = factor / others
        if self.dense < 1e-6:
            return wanted / self.linear
        return (math.sqrt(self.linear**2 + 4 * self.dense * wanted) - self.linear) / (2 * self.dense)


def flops_shares(model: nn.Module, complexity: Complexity) -> FlopsShares:
    """Divide the measured flops of a model by how they grow with the width."""
    linear = sum(part.counts.flops for part in complexity.parts if _grows_linearly(model, part.module, part.kind))
    total = max(1, complexity.flops)
    return FlopsShares(complexity, 1 - linear / total, linear / total)


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
