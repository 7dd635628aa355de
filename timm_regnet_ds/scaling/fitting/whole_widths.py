"""Fits multipliers so that widths grow by whole numbers: such models can inherit their base's weights exactly."""

import math
from itertools import product

from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers, Strategy
from timm_regnet_ds.scaling.families.rules import Args
from timm_regnet_ds.scaling.families.specs import ScalingSpec

from .flops_shares import FlopsShares
from .transform import ScaledArgs, apply_rules, scaled_sizes, shape_cost

__all__ = ["fit_whole_widths", "whole_ratio"]

# Multipliers of depth and resolution that are tried, relative to the ideal ones.
_AROUND = tuple(1.06**step for step in range(-3, 4))


def fit_whole_widths(
    spec: ScalingSpec,
    args: Args,
    input_size: tuple[int, int, int],
    strategy: Strategy,
    factor: float,
    base: FlopsShares,
) -> ScaledArgs:
    """Scale so that flops grow by about ``factor``, with each width a whole multiple of the base's.

    Depth and resolution do not shrink while flops grow. Where rounding leaves a width that is no multiple, the result
    has as few of them as possible.
    """
    ideal = strategy.multipliers(factor)
    grows = factor >= 1
    whole = {1.0} if ideal.width == 1 or not spec.width else {max(1.0, math.floor(ideal.width)), math.ceil(ideal.width)}

    def cost(found: ScaledArgs) -> float:
        off = abs(math.log(base.growth(found.achieved, found.area) / factor))
        return round(10 * _share_of_fractions(spec, args, found.args) + off + shape_cost(found, ideal), 9)

    found: list[ScaledArgs] = []
    for width in sorted(whole if grows else {1.0, ideal.width}):
        rest = factor / base.growth(Multipliers(1.0, width, width, 1.0), 1.0)
        depths = _around(ideal.depth, rest**0.5, bool(spec.depth), grows)
        sides = _around(ideal.resolution, rest**0.25, True, grows)
        for depth, side, group in product(depths, sides, sorted({1.0, width})):
            found.append(apply_rules(spec, args, input_size, Multipliers(depth, width, group, side)))
    return min(found, key=cost)


def whole_ratio(spec: ScalingSpec, args: Args, input_size: tuple[int, int, int], ratio: float) -> int | None:
    """The whole number nearest to a ratio by which all widths grow without rounding; None if there is none."""
    for whole in sorted({max(2, math.floor(ratio)), max(2, math.ceil(ratio))}, key=lambda n: abs(n - ratio)):
        grown = apply_rules(spec, args, input_size, Multipliers(1.0, whole, whole, 1.0))
        if not _share_of_fractions(spec, args, grown.args):
            return whole
    return None


def _around(ideal: float, rest: float, scales: bool, grows: bool) -> list[float]:
    """Multipliers near the strategy's, and as large as the rest of the growth may need."""
    if ideal == 1 or not scales:
        return [1.0]
    wanted = {1.0, *(by * start for start in (ideal, rest) for by in _AROUND)}
    return sorted(by for by in wanted if by >= 1 or not grows)


def _share_of_fractions(spec: ScalingSpec, before: Args, after: Args) -> float:
    """The share of the widths that are no whole multiples of the base's."""
    fractions = [abs(new / old - round(new / old)) > 1e-6 for old, new in scaled_sizes(spec.width, before, after)]
    return sum(fractions) / len(fractions) if fractions else 0.0
