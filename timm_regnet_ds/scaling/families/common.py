"""Rules and multiples that the specs of several families share."""

import math
from fractions import Fraction
from functools import partial
from typing import Any

from timm_regnet_ds.scaling.arithmetic.rounding import nearest_multiple
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers

from .rules import Args, Custom

__all__ = ["fits", "norm_unit", "width_multiplier"]


def width_multiplier(name: str, channels: int) -> Custom:
    """Return a rule for an argument by which the class multiplies ``channels``: the product is a multiple of 8."""

    def scale(args: Args, by: Multipliers) -> Args:
        if by.width == 1:
            return args
        return {**args, name: nearest_multiple(channels * args[name] * by.width, 8) / channels}

    return Custom(scale, lambda args: [channels * args[name]])


def fits(unit: int, ratio: float) -> int:
    """Return the smallest number of channels that, times ``ratio``, is a multiple of ``unit``."""
    exact = Fraction(ratio).limit_denominator(1000)
    wanted = unit * exact.denominator
    return wanted // math.gcd(exact.numerator, wanted)


def norm_unit(norm: Any) -> int:
    """Return the multiple that channels need for a norm layer.

    It is 8 for BatchNorm and local response norm, otherwise 32, the usual number of groups of GroupNorm.
    """
    size = norm.keywords.get("group_size") if isinstance(norm, partial) else None
    if size:
        return math.lcm(8, size)
    return 8 if any(kind in str(norm).lower() for kind in ("batch", "response")) else 32
