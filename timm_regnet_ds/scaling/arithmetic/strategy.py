"""Scaling strategies as arithmetic: Fast and Accurate Model Scaling, §3 and §5, Tables 1 to 4."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from timm_regnet_ds.common.check import check_choice, check_float

__all__ = ["STRATEGIES", "Growth", "Multipliers", "Strategy", "describe_scaling", "resolve_strategy"]


@dataclass(frozen=True)
class Growth:
    """Ratios of the complexity of a scaled stage or model to that of its base."""

    flops: float
    params: float
    acts: float


@dataclass(frozen=True)
class Multipliers:
    """Ratios of depth, width, group width and resolution of a scaled model to those of its base."""

    depth: float = 1.0
    width: float = 1.0
    group_width: float = 1.0
    resolution: float = 1.0

    def growth(self, grouped: bool = False) -> Growth:
        """Return the predicted growth of a stage of d convolutions of width w at resolution r, without rounding.

        The flops f, params p and acts a of dense convolutions are proportional to d·w²·r², d·w² and d·w·r² (Eq. 2;
        Tables 1, 2 and 4).

        Args:
            grouped: whether the convolutions have groups of width g. Then f, p and a are proportional to d·w·g·r²,
                d·w·g and d·w·r² (Eq. 3; Table 3).
        """
        channels = self.width * (self.group_width if grouped else self.width)
        area = self.resolution**2
        return Growth(self.depth * channels * area, self.depth * channels, self.depth * self.width * area)


@dataclass(frozen=True)
class Strategy:
    """How the growth of flops by a factor s is shared between depth, width and resolution.

    Attributes:
        name: name of the strategy.
        depth: exponent e_d: depth makes flops grow by s^e_d.
        width: exponent e_w: width makes flops grow by s^e_w.
        resolution: exponent e_r: resolution makes flops grow by s^e_r. In the paper's strategies, the three exponents
            add up to 1.
        group_width: exponent e_g: group widths grow by s^(e_g/2) (Table 3). None: they grow as widths do.
    """

    name: str
    depth: float
    width: float
    resolution: float
    group_width: float | None = None

    @property
    def alpha(self) -> float | None:
        """The share α of the growth that goes to width, if depth and resolution share the rest equally (Eq. 4)."""
        return self.width if self.depth == self.resolution else None

    def multipliers(self, factor: float) -> Multipliers:
        """Return the multipliers of Eq. 5: d' = s^e_d · d, w' = s^(e_w/2) · w, g' = s^(e_w/2) · g, r' = s^(e_r/2) · r.

        If the strategy has an exponent e_g of its own for group widths, g' = s^(e_g/2) · g.

        Raises:
            ValueError: if the factor is not a number above 0.
        """
        factor = check_float("factor", factor, above=0)
        width = factor ** (self.width / 2)
        groups = width if self.group_width is None else factor ** (self.group_width / 2)
        return Multipliers(factor**self.depth, width, groups, factor ** (self.resolution / 2))

    def growth(self, factor: float) -> Growth:
        """Return the predicted growth of flops (``factor``), params and acts (Eq. 6; Tables 1, 2 and 4)."""
        return self.multipliers(factor).growth()


def _of_alpha(name: str, alpha: float) -> Strategy:
    # Eq. 4
    return Strategy(name, (1 - alpha) / 2, alpha, (1 - alpha) / 2)


def _of_ratios(name: str, depth: float, width: float, resolution: float) -> Strategy:
    """Grow by powers of these ratios, as EfficientNet's compound scaling does (``orig`` in Figures 4 and 8)."""
    logs = [math.log(depth), 2 * math.log(width), 2 * math.log(resolution)]
    return Strategy(name, *(log / sum(logs) for log in logs))


STRATEGIES = {
    "d": Strategy("d", 1.0, 0.0, 0.0),
    "w": _of_alpha("w", 1.0),
    "r": Strategy("r", 0.0, 0.0, 1.0),
    "dw": Strategy("dw", 0.5, 0.5, 0.0),
    "dr": _of_alpha("dr", 0.0),
    "wr": Strategy("wr", 0.0, 0.5, 0.5),
    "dwr": _of_alpha("dwr", 1 / 3),
    "dWr": _of_alpha("dWr", 0.8),
    "orig": _of_ratios("orig", depth=1.2, width=1.1, resolution=1.15),
}


def resolve_strategy(strategy: str | float | Strategy | Mapping[str, Any]) -> Strategy:
    """Return the strategy with a name, with an α in [0, 1] (Eq. 4), or with the given fields of `Strategy`.

    Raises:
        ValueError: if the name is unknown, the number is outside [0, 1], or the fields are not those of a strategy.
    """
    if isinstance(strategy, Strategy):
        return strategy
    if isinstance(strategy, Real) and not isinstance(strategy, bool):
        alpha = check_float("alpha", strategy, minimum=0, maximum=1)
        return _of_alpha(f"alpha={alpha:g}", alpha)
    if isinstance(strategy, Mapping):
        if strategy.keys() - {"group_width"} != {"name", "depth", "width", "resolution"}:
            raise ValueError(
                f"a strategy has name, depth, width, resolution and, if wanted, group_width, not {', '.join(strategy)}"
            )
        exponents = {axis: check_float(axis, strategy[axis], minimum=0) for axis in ("depth", "width", "resolution")}
        groups = strategy.get("group_width")
        return Strategy(
            str(strategy["name"]),
            **exponents,
            group_width=None if groups is None else check_float("group_width", groups, minimum=0),
        )
    found: Strategy = check_choice("strategy", strategy, STRATEGIES)
    return found


def describe_scaling(base: str, strategy: str, factor: float) -> str:
    """Return the title of a scaled model, such as ``resnet50 scaled by dWr, factor 4``."""
    return f"{base} scaled by {strategy}, factor {factor:g}"
