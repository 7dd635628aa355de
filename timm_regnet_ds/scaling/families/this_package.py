"""The networks of this package."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np

from timm_regnet_ds.models.anynet import AnyNet
from timm_regnet_ds.models.channelnet import ChannelNet
from timm_regnet_ds.models.efficientnet import efficientnet_zero_init_last
from timm_regnet_ds.models.nas_cell import CellNet
from timm_regnet_ds.models.rexnet_lite import RexNetLite
from timm_regnet_ds.models.rexnet_plain import RexNetPlain, RexNetPlainCfg
from timm_regnet_ds.scaling.arithmetic.rounding import nearest_multiple
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers
from timm_regnet_ds.scaling.named.anynet import scale_anynet

from .efficientnet import EFFICIENTNET_SPEC
from .rules import Args, Custom, Depth, MultiplierArg, Width
from .specs import SPECS, ScalingSpec


def _anynet_depth(args: Args, multipliers: Multipliers) -> Args:
    return args | {"model_cfg": scale_anynet(args["model_cfg"], Multipliers(depth=multipliers.depth))}


def _anynet_width(args: Args, multipliers: Multipliers) -> Args:
    return args | {"model_cfg": scale_anynet(args["model_cfg"], replace(multipliers, depth=1.0))}


def _split_stages(strides: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Split the strides of a network's blocks into stages: a stage starts at each stride that is not 1."""
    starts = [0, *(i for i, stride in enumerate(strides) if stride != 1 and i), len(strides)]
    return [strides[start:end] for start, end in pairwise(starts)]


def _deeper_strides(strides: tuple[int, ...], multipliers: Multipliers) -> list[int]:
    """Return the strides of the blocks after scaling the depth of each stage."""
    stages = _split_stages(strides)
    depths = Depth("depths").scale({"depths": [len(stage) for stage in stages]}, multipliers)["depths"]
    return [stride for stage, depth in zip(stages, depths, strict=True) for stride in (stage[0], *[1] * (depth - 1))]


def _deeper_channelnet(args: Args, multipliers: Multipliers) -> Args:
    """Scale the depth of each stage; widths are interpolated between those of the first and the last block."""
    cfg = args["model_cfg"]
    strides = _deeper_strides(cfg.strides, multipliers)
    indices = np.linspace(0, len(cfg.widths) - 1, len(strides))
    widths = np.interp(indices, range(len(cfg.widths)), cfg.widths).round().astype(int)
    return args | {"model_cfg": replace(cfg, strides=strides, widths=widths.tolist())}


def _deeper_rexnet(args: Args, multipliers: Multipliers) -> Args:
    """Scale the depth of each stage.

    Widths grow from block to block. In a deeper network the step is so small that the last width stays; in ReXNet-lite
    it is so large that no stage begins with fewer channels than the base's, whose weights it could not hold.
    """
    cfg = args["model_cfg"]
    strides = _deeper_strides(cfg.strides, multipliers)
    new: Args = {"strides": tuple(strides)}
    if len(strides) == len(cfg.strides):
        return args | {"model_cfg": replace(cfg, **new)}
    if isinstance(cfg, RexNetPlainCfg):
        new["width_step"] = nearest_multiple(cfg.width_step * len(cfg.strides) / len(strides), 2)
    elif len(strides) > len(cfg.strides):
        starts, new_starts = (
            [i for i, stride in enumerate(found) if stride != 1 and i] for found in (cfg.strides, strides)
        )
        slower = max((old / new for old, new in zip(starts, new_starts, strict=True)), default=0.0)
        step = (cfg.last_width - cfg.first_width) / max(len(cfg.strides) - 1, 1) * slower
        new["last_width"] = max(cfg.last_width, math.ceil(cfg.first_width + step * (len(strides) - 1)))
    return args | {"model_cfg": replace(cfg, **new)}


def _depths(args: Args) -> list[float]:
    return [len(args["model_cfg"].strides)]


SPECS |= {
    AnyNet: ScalingSpec(
        depth=(Custom(_anynet_depth, lambda args: list(args["model_cfg"].depths)),),
        width=(Custom(_anynet_width, lambda args: list(args["model_cfg"].widths)),),
        round_independently=True,
    ),
    efficientnet_zero_init_last: EFFICIENTNET_SPEC,
    ChannelNet: ScalingSpec(
        depth=(Custom(_deeper_channelnet, _depths),),
        width=(Width("model_cfg.widths"), Width("model_cfg.stem_width"), Width("model_cfg.head_width")),
    ),
    CellNet: ScalingSpec(depth=(Depth("model_cfg.depth"),), width=(Width("model_cfg.width"),)),
    RexNetLite: ScalingSpec(
        depth=(Custom(_deeper_rexnet, _depths),),
        width=(MultiplierArg("model_cfg.width_mult"), Width("model_cfg.hidden_size")),
    ),
    RexNetPlain: ScalingSpec(
        depth=(Custom(_deeper_rexnet, _depths),),
        width=(
            Width("model_cfg.first_width"),
            Width("model_cfg.width_step", multiple=2),
            Width("model_cfg.final_width"),
            Width("model_cfg.stem_width"),
        ),
    ),
}
