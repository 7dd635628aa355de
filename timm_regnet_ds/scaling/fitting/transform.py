"""From a row of the table and multipliers to scaled arguments."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from statistics import fmean

from timm_regnet_ds.scaling.arithmetic.rounding import nearest_multiple
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers, Strategy
from timm_regnet_ds.scaling.families.axes import Axes
from timm_regnet_ds.scaling.families.rules import Args, Grouped, Rule

from .flops_shares import Profile

__all__ = ["Scaled", "balance", "rewrite"]


@dataclass(frozen=True)
class Scaled:
    """Scaled arguments.

    Attributes:
        args: of the model's class.
        input_size: (channels, height, width) of images.
        reached: by how much depth, width and resolution have grown, after rounding.
        area: by how much the area of feature maps has grown; they have whole sides.
    """

    args: Args
    input_size: tuple[int, int, int]
    reached: Multipliers
    area: float


def rewrite(axes: Axes, args: Args, input_size: tuple[int, int, int], multipliers: Multipliers) -> Scaled:
    """Scale by a row: every number by its own rule."""
    new = args
    for rule in (*axes.depth, *axes.width):
        new = rule.scale(new, multipliers)
    size = _resized(axes, args, input_size, multipliers.resolution)
    ratio = size[-1] / input_size[-1]
    if axes.finish is not None:
        new = axes.finish(args, new, ratio)
    depths = _grown(axes.depth, args, new)
    grouped = [rule for rule in axes.width if isinstance(rule, Grouped)]
    widths = _grown([rule for rule in axes.width if not isinstance(rule, Grouped)], args, new)
    width = _width_ratio(widths, depths)
    groups = _width_ratio(_grown(grouped, args, new), []) if grouped else width
    reached = Multipliers(_sum_ratio(depths), width, groups, ratio)
    return Scaled(new, size, reached, _area_ratio(input_size, size))


def _resized(axes: Axes, args: Args, size: tuple[int, int, int], by: float) -> tuple[int, int, int]:
    if by == 1:
        return size
    multiple = axes.unit(args)
    channels, height, width = size
    return channels, nearest_multiple(height * by, multiple), nearest_multiple(width * by, multiple)


# Of feature maps, as their share of flops goes: the stage of reduction 16 has the most blocks in most networks.
_REDUCTIONS = (4, 8, 16, 16, 32)


def _area_ratio(before: tuple[int, int, int], after: tuple[int, int, int]) -> float:
    def area(size: tuple[int, int, int], reduction: int) -> int:
        return math.prod(-(-side // reduction) for side in size[1:])

    return fmean(area(after, reduction) / area(before, reduction) for reduction in _REDUCTIONS)


def _grown(rules: Sequence[Rule], before: Args, after: Args) -> list[tuple[float, float]]:
    """Each number that rules scale, (before, after)."""
    return [pair for rule in rules for pair in zip(rule.numbers(before), rule.numbers(after), strict=False)]


def _sum_ratio(depths: list[tuple[float, float]]) -> float:
    """Growth of the number of blocks, which have about the same flops each."""
    return sum(after for _, after in depths) / sum(before for before, _ in depths) if depths else 1.0


def _width_ratio(widths: list[tuple[float, float]], depths: list[tuple[float, float]]) -> float:
    """Growth of the widths as flops see it: of their squares, a stage as much as it has blocks where that is known."""
    weights = [after for _, after in depths] if len(depths) == len(widths) else [1.0] * len(widths)
    squares = [weight * (after / before) ** 2 for weight, (before, after) in zip(weights, widths, strict=True)]
    return math.sqrt(sum(squares) / sum(weights)) if widths else 1.0


# Multipliers around the ideal ones, nearest first, in which rounding may find a better fit.
_AROUND = sorted((1.02**step for step in range(-14, 15)), key=lambda by: abs(math.log(by)))
_CHOICES = 4  # of each axis

# How much a deviation from the strategy's multipliers weighs beside the same deviation from its flops.
_SHAPE = 0.3


def balance(
    axes: Axes, args: Args, input_size: tuple[int, int, int], strategy: Strategy, factor: float, base: Profile
) -> Scaled:
    """Scale by a row so that flops grow by ``factor``: what rounding does to one axis, another makes up for.

    Of the roundings of depth and resolution nearest to the strategy's, and of the widths that then give the flops,
    the best: little off in flops, and near to the strategy. Axes that the strategy leaves alone stay as they are.
    """
    ideal = strategy.multipliers(factor)

    def scaled(depth: float, resolution: float, width: float = 1.0) -> Scaled:
        return rewrite(axes, args, input_size, Multipliers(depth, width, width, resolution))

    def cost(found: Scaled) -> float:
        off = abs(math.log(base.growth(found.reached, found.area) / factor))
        shape = sum(
            power * abs(math.log(getattr(found.reached, axis) / getattr(ideal, axis)))
            for axis, power in (("depth", 1), ("width", 2), ("resolution", 2))
        )
        return round(off + _SHAPE * shape, 9)  # the same on every machine

    depths = _choices(ideal.depth, lambda by: scaled(by, 1.0)) if axes.depth else [1.0]
    sides = _choices(ideal.resolution, lambda by: scaled(1.0, by))
    found = []
    for depth, side in product(depths, sides):
        unwidened = scaled(depth, side)
        if ideal.width == 1 or not axes.width:
            found.append(unwidened)
            continue
        width = base.width_for(factor, unwidened.reached.depth * unwidened.area)
        widen = partial(scaled, depth, side)
        found += map(widen, _choices(width, widen))
    return min(found, key=cost)


def _choices(ideal: float, scaled: Callable[[float], Scaled]) -> list[float]:
    """The few multipliers nearest to the ideal one that give different results."""
    if ideal == 1:
        return [1.0]
    seen: list[Scaled] = []
    chosen = []
    for by in _AROUND:
        result = scaled(ideal * by)
        if all((result.args, result.input_size) != (other.args, other.input_size) for other in seen):
            seen.append(result)
            chosen.append(ideal * by)
            if len(chosen) == _CHOICES:
                break
    return chosen
