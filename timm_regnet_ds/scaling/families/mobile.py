"""Networks of inverted bottlenecks and other small ones."""

import functools
import math
from typing import Any

from timm_regnet_ds.scaling.arithmetic.rounding import nearest_multiple
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers

from .axes import AXES, Axes
from .paths import change_at
from .rules import Args, Depth, Factor, Repeats, Rewrite


def _ghost_stages(args: Args) -> list[list[Any]]:
    """The blocks of each resolution: the family lists the one with a stride apart from those that follow it."""
    stages: list[list[Any]] = []
    for blocks in args["cfgs"]:
        if not stages or blocks[0][-1] > 1:
            stages.append([])
        stages[-1] += blocks
    return stages


def _ghost_depths(args: Args, by: Multipliers) -> Args:
    blocks = Repeats("stages.*", again=lambda block: [*block[:-1], 1])
    stages = blocks.scale({"stages": _ghost_stages(args)}, by)["stages"]
    return {**args, "cfgs": [part for first, *others in stages for part in ([first], others) if part]}


_GHOST = Axes(
    depth=(Rewrite(_ghost_depths, lambda args: [len(stage) for stage in _ghost_stages(args)]),),
    width=(Factor("width"),),
)


def _rexnet_stages(depth_mult: float) -> list[int]:
    return [math.ceil(depth * depth_mult) for depth in (1, 2, 2, 3, 3, 5)]


@functools.cache
def _rexnet_depth(depth_mult: float) -> float:
    """All stages' depth as flops see it: channels grow from block to block, from 16 to 196."""
    areas = [
        area
        for area, blocks in zip((64, 16, 4, 1, 1, 0.25), _rexnet_stages(depth_mult), strict=True)
        for _ in range(blocks)
    ]
    return sum(area * (16 + 180 * i / len(areas)) ** 2 for i, area in enumerate(areas))


def _rexnet_depths(args: Args, by: Multipliers) -> Args:
    """The class rounds up every stage: the multiplier that comes nearest, on the side to which the depth is to go."""
    base = args["depth_mult"]
    choices = [base, *(step / 100 for step in range(1, round(200 * base * by.depth) + 1))]
    wanted = by.depth * _rexnet_depth(base)
    same_side = [mult for mult in choices if (mult - base) * (by.depth - 1) >= 0]
    return {**args, "depth_mult": min(same_side, key=lambda mult: abs(_rexnet_depth(mult) - wanted))}


_HRNET_STAGES = ("stage2", "stage3", "stage4")


def _hrnet_flops(args: Args) -> tuple[float, float]:
    """About those that do not grow, of the stem, the first stage and the head, and those of the branches."""
    cfg = args["model_cfg"]
    fixed = 365_000 + 3 * 17 * cfg["stage1"]["num_channels"][0] ** 2
    # Three blocks of two convolutions to a branch.
    modules = ((cfg[name]["num_modules"], cfg[name]["num_channels"]) for name in _HRNET_STAGES)
    return fixed, sum(times * 3 * 18 * width**2 / 4**i for times, widths in modules for i, width in enumerate(widths))


def _hrnet_widths(args: Args, by: Multipliers) -> Args:
    """The branches' channels: a first number, its double, and so on. They make up for what the family keeps fixed."""
    fixed, grows = _hrnet_flops(args)
    width = math.sqrt(max(0.1, (by.width**2 * (fixed + grows) - fixed) / grows))
    first = args["model_cfg"]["stage2"]["num_channels"][0]
    new = first if by.width == 1 else nearest_multiple(first * width, 2)
    for name in _HRNET_STAGES:
        args = change_at(args, f"model_cfg.{name}.num_channels.*", lambda channels: channels * new // first)
    return args


AXES |= {
    "ghostnet.GhostNet": _GHOST,
    "repghost.RepGhostNet": _GHOST,
    "rexnet.RexNet": Axes(
        depth=(Rewrite(_rexnet_depths, lambda args: [_rexnet_depth(args["depth_mult"])]),),
        width=(Factor("width_mult"),),
    ),
    # Branches are upsampled to each other's sizes.
    "hrnet.HighResolutionNet": Axes(
        depth=(Depth("model_cfg.*.num_blocks"),),
        width=(Rewrite(_hrnet_widths, lambda args: [math.sqrt(sum(_hrnet_flops(args)))]),),
        multiple=32,
    ),
}
