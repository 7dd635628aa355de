"""Rules and units that rows of several families share."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

from timm_regnet_ds.scaling.arithmetic.rounding import nearest_multiple
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers

from .rules import Args, Rewrite, Rule

__all__ = ["Counted", "Where", "factor_of", "fits", "norm_unit"]


@dataclass(frozen=True)
class Where:
    """A rule for those models of a class whose arguments fulfil a condition."""

    condition: Callable[[Args], bool]
    rule: Rule

    def scale(self, args: Args, multipliers: Multipliers) -> Args:
        return self.rule.scale(args, multipliers) if self.condition(args) else args

    def numbers(self, args: Args) -> list[float]:
        return self.rule.numbers(args) if self.condition(args) else []


@dataclass(frozen=True)
class Counted:
    """Rules whose growth other numbers tell better than those that they scale."""

    rules: tuple[Rule, ...]
    grown: Callable[[Args], list[float]]

    def scale(self, args: Args, multipliers: Multipliers) -> Args:
        for rule in self.rules:
            args = rule.scale(args, multipliers)
        return args

    def numbers(self, args: Args) -> list[float]:
        return self.grown(args)


def factor_of(name: str, channels: int) -> Rewrite:
    """A factor that the class applies to so many channels, of which multiples of 8 become."""

    def scale(args: Args, by: Multipliers) -> Args:
        if by.width == 1:
            return args
        return {**args, name: nearest_multiple(channels * args[name] * by.width, 8) / channels}

    return Rewrite(scale, lambda args: [channels * args[name]])


def fits(unit: int, ratio: float) -> int:
    """The least number of channels which times ``ratio`` is a multiple of ``unit``."""
    exact = Fraction(ratio).limit_denominator(1000)
    wanted = unit * exact.denominator
    return wanted // math.gcd(exact.numerator, wanted)


def norm_unit(norm: Any) -> int:
    """Of what channels are multiples under a norm: most that are not by batch have 32 groups."""
    size = norm.keywords.get("group_size") if isinstance(norm, partial) else None
    if size:
        return math.lcm(8, size)
    return 8 if any(kind in str(norm).lower() for kind in ("batch", "response")) else 32
