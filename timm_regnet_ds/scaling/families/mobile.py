"""Small networks: GhostNet, RepGhostNet, ReXNet and HRNet."""

import functools
import math
from typing import Any

from timm_regnet_ds.scaling.arithmetic.rounding import nearest_multiple
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers

from .paths import change_at
from .rules import Args, Custom, Depth, MultiplierArg, Repeats
from .specs import SPECS, ScalingSpec


def _ghost_stages(args: Args) -> list[list[Any]]:
    """Return the blocks of each resolution. The family lists a block with a stride apart from its followers."""
    stages: list[list[Any]] = []
    for blocks in args["cfgs"]:
        if not stages or blocks[0][-1] > 1:
            stages.append([])
        stages[-1] += blocks
    return stages


def _ghost_depths(args: Args, by: Multipliers) -> Args:
    blocks = Repeats("stages.*", follower=lambda block: [*block[:-1], 1])
    stages = blocks.scale({"stages": _ghost_stages(args)}, by)["stages"]
    return {**args, "cfgs": [part for first, *others in stages for part in ([first], others) if part]}


_GHOST = ScalingSpec(
    depth=(Custom(_ghost_depths, lambda args: [len(stage) for stage in _ghost_stages(args)]),),
    width=(MultiplierArg("width"),),
)


def _rexnet_stages(depth_mult: float) -> list[int]:
    return [math.ceil(depth * depth_mult) for depth in (1, 2, 2, 3, 3, 5)]


@functools.cache
def _rexnet_depth(depth_mult: float) -> float:
    """Return a depth that is proportional to flops: channels grow linearly over the blocks, from 16 to 196."""
    areas = [
        area
        for area, blocks in zip((64, 16, 4, 1, 1, 0.25), _rexnet_stages(depth_mult), strict=True)
        for _ in range(blocks)
    ]
    return sum(area * (16 + 180 * i / len(areas)) ** 2 for i, area in enumerate(areas))


def _rexnet_depths(args: Args, by: Multipliers) -> Args:
    """Search the multiplier nearest to the wanted depth, since the class rounds up every stage.

    The depth never changes in the opposite direction.
    """
    base = args["depth_mult"]
    choices = [base, *(step / 100 for step in range(1, round(200 * base * by.depth) + 1))]
    wanted = by.depth * _rexnet_depth(base)
    same_side = [mult for mult in choices if (mult - base) * (by.depth - 1) >= 0]
    return {**args, "depth_mult": min(same_side, key=lambda mult: abs(_rexnet_depth(mult) - wanted))}


_HRNET_STAGES = ("stage2", "stage3", "stage4")


def _hrnet_flops(args: Args) -> tuple[float, float]:
    """Estimate flops per position: those that stay (stem, first stage and head) and those of the branches."""
    cfg = args["model_cfg"]
    # The stem and the head have about 365,000; the first stage has three bottlenecks.
    fixed = 365_000 + 3 * 17 * cfg["stage1"]["num_channels"][0] ** 2
    # Each branch of a module has three blocks of two convolutions.
    modules = ((cfg[name]["num_modules"], cfg[name]["num_channels"]) for name in _HRNET_STAGES)
    return fixed, sum(times * 3 * 18 * width**2 / 4**i for times, widths in modules for i, width in enumerate(widths))


def _hrnet_widths(args: Args, by: Multipliers) -> Args:
    """Scale the channels of the branches: a first width, its double, and so on.

    They grow by more than the multiplier to compensate for the parts that the family keeps fixed.
    """
    fixed, grows = _hrnet_flops(args)
    width = math.sqrt(max(0.1, (by.width**2 * (fixed + grows) - fixed) / grows))
    first = args["model_cfg"]["stage2"]["num_channels"][0]
    new = first if by.width == 1 else nearest_multiple(first * width, 2)
    for name in _HRNET_STAGES:
        args = change_at(args, f"model_cfg.{name}.num_channels.*", lambda channels: channels * new // first)
    return args


SPECS |= {
    "ghostnet.GhostNet": _GHOST,
    "repghost.RepGhostNet": _GHOST,
    "rexnet.RexNet": ScalingSpec(
        depth=(Custom(_rexnet_depths, lambda args: [_rexnet_depth(args["depth_mult"])]),),
        width=(MultiplierArg("width_mult"),),
    ),
    # Branches are upsampled to each other's sizes, which must match.
    "hrnet.HighResolutionNet": ScalingSpec(
        depth=(Depth("model_cfg.*.num_blocks"),),
        width=(Custom(_hrnet_widths, lambda args: [math.sqrt(sum(_hrnet_flops(args)))]),),
        multiple=32,
    ),
}
