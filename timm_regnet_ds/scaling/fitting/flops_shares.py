"""How a model's flops would grow with its width: the share that grows as w², as w, and not at all."""

import math
from dataclasses import dataclass
from typing import Any

from torch import nn

from timm_regnet_ds.complexity import Complexity
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers

__all__ = ["Profile", "profile"]


@dataclass(frozen=True)
class Profile:
    """A model's complexity, and how its flops share out.

    Attributes:
        complexity: of the model.
        dense: share of flops that grow with the square of the width: convolutions and linear layers.
        linear: share that grows with the width: depthwise convolutions, attention's products, what reads the image
            and what gives the classes.
    """

    complexity: Complexity
    dense: float
    linear: float

    def growth(self, by: Multipliers, area: float) -> float:
        """By how much flops would grow, feature maps growing by ``area``."""
        return by.depth * area * (self.dense * by.width**2 + self.linear * by.width)

    def width_for(self, factor: float, others: float) -> float:
        """By how much widths have to grow for flops to grow by ``factor``, all else making them grow by ``others``."""
        wanted = factor / others
        if self.dense < 1e-6:
            return wanted / self.linear
        return (math.sqrt(self.linear**2 + 4 * self.dense * wanted) - self.linear) / (2 * self.dense)


def profile(model: nn.Module, complexity: Complexity) -> Profile:
    """Share out the flops that were measured of a model."""
    linear = sum(part.counts.flops for part in complexity.parts if _grows_linearly(model, part.module, part.kind))
    total = max(1, complexity.flops)
    return Profile(complexity, 1 - linear / total, linear / total)


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
