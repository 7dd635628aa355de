"""This project's own networks."""

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

from .axes import AXES, Axes
from .efficientnet import BLOCKS
from .rules import Args, Depth, Factor, Rewrite, Width


def _anynet_depth(args: Args, multipliers: Multipliers) -> Args:
    return args | {"model_cfg": scale_anynet(args["model_cfg"], Multipliers(depth=multipliers.depth))}


def _anynet_width(args: Args, multipliers: Multipliers) -> Args:
    return args | {"model_cfg": scale_anynet(args["model_cfg"], replace(multipliers, depth=1.0))}


def _stages(strides: tuple[int, ...]) -> list[tuple[int, ...]]:
    """A ReXNet's strides, a block each, cut before each that is not 1."""
    starts = [0, *(i for i, stride in enumerate(strides) if stride != 1 and i), len(strides)]
    return [strides[start:end] for start, end in pairwise(starts)]


def _deeper(strides: tuple[int, ...], multipliers: Multipliers) -> list[int]:
    """Strides of as many blocks more in each stage."""
    stages = _stages(strides)
    depths = Depth("depths").scale({"depths": [len(stage) for stage in stages]}, multipliers)["depths"]
    return [stride for stage, depth in zip(stages, depths, strict=True) for stride in (stage[0], *[1] * (depth - 1))]


def _blocks(args: Args, multipliers: Multipliers) -> Args:
    """Each stage deeper, with widths on the same line from the first block to the last."""
    cfg = args["model_cfg"]
    strides = _deeper(cfg.strides, multipliers)
    places = np.linspace(0, len(cfg.widths) - 1, len(strides))
    widths = np.interp(places, range(len(cfg.widths)), cfg.widths).round().astype(int)
    return args | {"model_cfg": replace(cfg, strides=strides, widths=widths.tolist())}


def _strides(args: Args, multipliers: Multipliers) -> Args:
    """Each stage deeper. A plain ReXNet's step from block to block shrinks, so that its widths end where they did."""
    cfg = args["model_cfg"]
    strides = _deeper(cfg.strides, multipliers)
    new: Args = {"strides": tuple(strides)}
    if isinstance(cfg, RexNetPlainCfg) and len(strides) != len(cfg.strides):
        new["width_step"] = nearest_multiple(cfg.width_step * len(cfg.strides) / len(strides), 2)
    return args | {"model_cfg": replace(cfg, **new)}


def _depths(args: Args) -> list[float]:
    return [len(args["model_cfg"].strides)]


AXES |= {
    AnyNet: Axes(
        depth=(Rewrite(_anynet_depth, lambda args: list(args["model_cfg"].depths)),),
        width=(Rewrite(_anynet_width, lambda args: list(args["model_cfg"].widths)),),
        each_by_itself=True,
    ),
    efficientnet_zero_init_last: BLOCKS,
    ChannelNet: Axes(
        depth=(Rewrite(_blocks, _depths),),
        width=(Width("model_cfg.widths"), Width("model_cfg.stem_width"), Width("model_cfg.head_width")),
    ),
    CellNet: Axes(depth=(Depth("model_cfg.depth"),), width=(Width("model_cfg.width"),)),
    RexNetLite: Axes(
        depth=(Rewrite(_strides, _depths),),
        width=(Factor("model_cfg.width_mult"), Width("model_cfg.hidden_size")),
    ),
    RexNetPlain: Axes(
        depth=(Rewrite(_strides, _depths),),
        width=(
            Width("model_cfg.first_width"),
            Width("model_cfg.width_step", multiple=2),
            Width("model_cfg.final_width"),
            Width("model_cfg.stem_width"),
        ),
    ),
}
