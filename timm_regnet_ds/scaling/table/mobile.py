"""Networks of inverted bottlenecks and other small ones."""

import math
from typing import Any

from ..axes import AXES, Axes
from ..rules import Args, Depth, Factor, Repeats, Rewrite, Width
from ..strategy import Multipliers


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
    depth=(Rewrite(_ghost_depths, lambda args: [len(stage) for stage in _ghost_stages(args)]),), width=(Factor("width"),)
)


def _rexnet_stages(depth_mult: float) -> list[float]:
    return [math.ceil(depth * depth_mult) for depth in (1, 2, 2, 3, 3, 5)]


def _rexnet_depths(args: Args, by: Multipliers) -> Args:
    """The class rounds up every stage: of the multipliers that give the nearest number of blocks, the nearest."""
    if by.depth == 1:
        return args
    ideal = args["depth_mult"] * by.depth
    blocks = sum(_rexnet_stages(args["depth_mult"])) * by.depth
    choices = [step / 100 for step in range(1, math.ceil(ideal * 100) + 100)]
    return {**args, "depth_mult": min(choices, key=lambda mult: abs(sum(_rexnet_stages(mult)) - blocks))}


AXES |= {
    "ghostnet.GhostNet": _GHOST,
    "repghost.RepGhostNet": _GHOST,
    "rexnet.RexNet": Axes(
        depth=(Rewrite(_rexnet_depths, lambda args: _rexnet_stages(args["depth_mult"])),),
        width=(Factor("width_mult"),),
    ),
    # Branches are upsampled to each other's sizes.
    "hrnet.HighResolutionNet": Axes(
        depth=(Depth("model_cfg.*.num_blocks"),), width=(Width("model_cfg.*.num_channels", 2),), multiple=32
    ),
}
