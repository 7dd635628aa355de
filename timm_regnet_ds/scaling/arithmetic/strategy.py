"""Scaling strategies as arithmetic: Fast and Accurate Model Scaling, §3 and §5, Tables 1 to 4."""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from timm_regnet_ds.common.check import check_choice, check_float

__all__ = ["STRATEGIES", "Growth", "Multipliers", "Strategy", "resolve_strategy"]


@dataclass(frozen=True)
class Growth:
    """By how much the complexity of a stage grows."""

    flops: float
    params: float
    acts: float


@dataclass(frozen=True)
class Multipliers:
    """By how much depth, width, group width and resolution grow."""

    depth: float = 1.0
    width: float = 1.0
    group_width: float = 1.0
    resolution: float = 1.0

    def growth(self, grouped: bool = False) -> Growth:
        """Predicted growth of a stage of d convolutions of width w at resolution r, rounding aside.

        Dense, it is f = d·w²·r², p = d·w², a = d·w·r² (Eq. 2; Tables 1, 2 and 4). ``grouped``, with group width g,
        it is f = d·w·g·r², p = d·w·g, a = d·w·r² (Eq. 3; Table 3).
        """
        channels = self.width * (self.group_width if grouped else self.width)
        area = self.resolution**2
        return Growth(self.depth * channels * area, self.depth * channels, self.depth * self.width * area)


@dataclass(frozen=True)
class Strategy:
    """How the growth of flops by a factor s is shared: s^e_d to depth, s^e_w to width, s^e_r to resolution.

    The three exponents add up to 1. Group widths grow as widths do.
    """

    name: str
    depth: float
    width: float
    resolution: float

    @property
    def alpha(self) -> float | None:
        """α, where depth and resolution share alike what width leaves (Eq. 4)."""
        return self.width if self.depth == self.resolution else None

    def multipliers(self, factor: float) -> Multipliers:
        """d' = s^e_d · d, w' = s^(e_w/2) · w, g' = s^(e_w/2) · g, r' = s^(e_r/2) · r (Eq. 5).

        Raises:
            ValueError: a factor that is not a number above 0.
        """
        factor = check_float("factor", factor, above=0)
        width = factor ** (self.width / 2)
        return Multipliers(factor**self.depth, width, width, factor ** (self.resolution / 2))

    def growth(self, factor: float) -> Growth:
        """Predicted growth of flops, params and acts (Eq. 6; Tables 1, 2 and 4): the flops' is ``factor``."""
        return self.multipliers(factor).growth()


def _of_alpha(name: str, alpha: float) -> Strategy:
    # Eq. 4
    return Strategy(name, (1 - alpha) / 2, alpha, (1 - alpha) / 2)


STRATEGIES = {
    "d": Strategy("d", 1.0, 0.0, 0.0),
    "w": _of_alpha("w", 1.0),
    "r": Strategy("r", 0.0, 0.0, 1.0),
    "dw": Strategy("dw", 0.5, 0.5, 0.0),
    "dr": _of_alpha("dr", 0.0),
    "wr": Strategy("wr", 0.0, 0.5, 0.5),
    "dwr": _of_alpha("dwr", 1 / 3),
    "dWr": _of_alpha("dWr", 0.8),
}


def resolve_strategy(strategy: str | float | Strategy | Mapping[str, Any]) -> Strategy:
    """A strategy by its name, by α in [0, 1] (Eq. 4), or by its fields.

    Raises:
        ValueError: another name, or a number outside [0, 1].
    """
    if isinstance(strategy, Strategy):
        return strategy
    if isinstance(strategy, Real) and not isinstance(strategy, bool):
        alpha = check_float("alpha", strategy, minimum=0, maximum=1)
        return _of_alpha(f"alpha={alpha:g}", alpha)
    if isinstance(strategy, Mapping):
        if strategy.keys() != {"name", "depth", "width", "resolution"}:
            raise ValueError(f"a strategy has name, depth, width and resolution, not {', '.join(strategy)}")

        exponents = {axis: check_float(axis, strategy[axis], minimum=0) for axis in ("depth", "width", "resolution")}
        return Strategy(str(strategy["name"]), **exponents)
    found: Strategy = check_choice("strategy", strategy, STRATEGIES)
    return found
