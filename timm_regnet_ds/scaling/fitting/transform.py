"""From a scaling spec and multipliers to scaled arguments."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from statistics import fmean

from timm_regnet_ds.scaling.arithmetic.rounding import nearest_multiple
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers, Strategy
from timm_regnet_ds.scaling.families.rules import Args, GroupWidth, Rule
from timm_regnet_ds.scaling.families.specs import ScalingSpec

from .flops_shares import FlopsShares

__all__ = ["ScaledArgs", "apply_rules", "fit_to_factor", "scaled_sizes", "shape_cost"]


@dataclass(frozen=True)
class ScaledArgs:
    """Scaled arguments of a model class.

    Attributes:
        args: arguments of the class.
        input_size: (channels, height, width) of images.
        achieved: by how much depth, width and resolution have grown, after rounding.
        area: by how much the area of feature maps has grown, after their sides were rounded up.
        multipliers: those that the rules were given.
    """

    args: Args
    input_size: tuple[int, int, int]
    achieved: Multipliers
    area: float
    multipliers: Multipliers


def apply_rules(
    spec: ScalingSpec, args: Args, input_size: tuple[int, int, int], multipliers: Multipliers
) -> ScaledArgs:
    """Scale every number by its own rule, and the images by the resolution multiplier."""
    new = args
    for rule in (*spec.depth, *spec.width):
        new = rule.scale(new, multipliers)
    size = _resized(spec, args, input_size, multipliers.resolution)
    ratio = size[-1] / input_size[-1]
    if spec.make_consistent is not None:
        new = spec.make_consistent(args, new, ratio)
    depths = scaled_sizes(spec.depth, args, new)
    grouped = [rule for rule in spec.width if isinstance(rule, GroupWidth)]
    widths = scaled_sizes([rule for rule in spec.width if not isinstance(rule, GroupWidth)], args, new)
    width = _width_ratio(widths, depths)
    groups = _width_ratio(scaled_sizes(grouped, args, new), []) if grouped else width
    achieved = Multipliers(_sum_ratio(depths), width, groups, ratio)
    return ScaledArgs(new, size, achieved, _area_ratio(input_size, size), multipliers)


def _resized(spec: ScalingSpec, args: Args, size: tuple[int, int, int], by: float) -> tuple[int, int, int]:
    if by == 1:
        return size
    multiple = spec.resolution_multiple(args)
    channels, height, width = size
    return channels, nearest_multiple(height * by, multiple), nearest_multiple(width * by, multiple)


# Reductions of the feature maps whose areas are averaged. 16 counts twice: in most networks that stage has most blocks.
_REDUCTIONS = (4, 8, 16, 16, 32)


def _area_ratio(before: tuple[int, int, int], after: tuple[int, int, int]) -> float:
    def area(size: tuple[int, int, int], reduction: int) -> int:
        return math.prod(-(-side // reduction) for side in size[1:])

    return fmean(area(after, reduction) / area(before, reduction) for reduction in _REDUCTIONS)


def scaled_sizes(rules: Sequence[Rule], before: Args, after: Args) -> list[tuple[float, float]]:
    """Return (before, after) of each size that the rules scale."""
    return [pair for rule in rules for pair in zip(rule.sizes(before), rule.sizes(after), strict=False)]


def _sum_ratio(depths: list[tuple[float, float]]) -> float:
    """Return the growth of the number of blocks, which all have about the same flops."""
    return sum(after for _, after in depths) / sum(before for before, _ in depths) if depths else 1.0


def _width_ratio(widths: list[tuple[float, float]], depths: list[tuple[float, float]]) -> float:
    """Return the root mean square growth of the widths, weighted by the stages' numbers of blocks if they are known."""
    weights = [after for _, after in depths] if len(depths) == len(widths) else [1.0] * len(widths)
    squares = [weight * (after / before) ** 2 for weight, (before, after) in zip(weights, widths, strict=True)]
    return math.sqrt(sum(squares) / sum(weights)) if widths else 1.0


# Factors by which multipliers may deviate from the ideal ones, nearest first: rounding may fit better there.
_AROUND = sorted((1.02**step for step in range(-14, 15)), key=lambda by: abs(math.log(by)))
_CHOICES = 4  # different results that are tried per axis

# Weight of a deviation from the strategy's multipliers, relative to the same deviation from its flops.
_SHAPE = 0.3


def shape_cost(found: ScaledArgs, ideal: Multipliers) -> float:
    """The cost of a result's deviations from the strategy's multipliers, in units of the logarithm of flops."""
    return _SHAPE * sum(
        power * abs(math.log(getattr(found.achieved, axis) / getattr(ideal, axis)))
        for axis, power in (("depth", 1), ("width", 2), ("resolution", 2))
    )


def fit_to_factor(
    spec: ScalingSpec,
    args: Args,
    input_size: tuple[int, int, int],
    strategy: Strategy,
    factor: float,
    base: FlopsShares,
) -> ScaledArgs:
    """Scale so that flops grow by ``factor``: what rounding does to one axis, another compensates for.

    Try the few nearest roundings of depth and resolution and, for each, the widths that restore the flops. Return the
    result with the lowest cost: the error in flops plus 0.3 times the deviation from the strategy. Axes that the
    strategy does not scale stay unchanged.
    """
    ideal = strategy.multipliers(factor)

    groups = None if strategy.group_width is None else ideal.group_width

    def scaled(depth: float, resolution: float, width: float = 1.0) -> ScaledArgs:
        by = Multipliers(depth, width, width if groups is None else groups, resolution)
        return apply_rules(spec, args, input_size, by)

    def cost(found: ScaledArgs) -> float:
        off = abs(math.log(base.growth(found.achieved, found.area, groups) / factor))
        return round(off + shape_cost(found, ideal), 9)  # the same on every machine

    depths = _choices(ideal.depth, lambda by: scaled(by, 1.0)) if spec.depth else [1.0]
    sides = _choices(ideal.resolution, lambda by: scaled(1.0, by))
    found = []
    for depth, side in product(depths, sides):
        unwidened = scaled(depth, side)
        if ideal.width == 1 or not spec.width:
            found.append(unwidened)
            continue
        width = base.width_for(factor, unwidened.achieved.depth * unwidened.area, groups)
        widen = partial(scaled, depth, side)
        found += map(widen, _choices(width, widen))
    return min(found, key=cost)


def _choices(ideal: float, scaled: Callable[[float], ScaledArgs]) -> list[float]:
    """Return the few multipliers nearest to the ideal one that give different results."""
    if ideal == 1:
        return [1.0]
    seen: list[ScaledArgs] = []
    chosen = []
    for by in _AROUND:
        result = scaled(ideal * by)
        if all((result.args, result.input_size) != (other.args, other.input_size) for other in seen):
            seen.append(result)
            chosen.append(ideal * by)
            if len(chosen) == _CHOICES:
                break
    return chosen
