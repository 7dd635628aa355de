"""timm's RegNet: depths and widths of the stages follow from a linear function that is quantized."""

import math
from dataclasses import replace
from typing import Any

from timm.models.regnet import adjust_widths_groups_comp, generate_regnet

from timm_regnet_ds.scaling.arithmetic.rounding import nearest_multiple, round_depth, round_group_width
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers

from .common import norm_unit
from .rules import Args, Custom, Width
from .specs import SPECS, ScalingSpec


def _regnet_widths(args: Args) -> list[float]:
    cfg = args["model_cfg"]
    widths, stages, groups = generate_regnet(cfg.wa, cfg.w0, cfg.wm, cfg.depth, cfg.group_size)
    ratios = [cfg.bottle_ratio] * stages
    return list(adjust_widths_groups_comp(sorted(set(widths)), ratios, groups, cfg.group_min_ratio)[0])


def _with_line(args: Args, **changes: Any) -> Args:
    """Change fields of the config, and set the slope wa so that the network keeps its number of stages."""
    cfg = args["model_cfg"]
    last = math.log(1 + cfg.wa * (cfg.depth - 1) / cfg.w0) / math.log(cfg.wm)
    new = replace(cfg, **changes)
    slope = new.w0 * (new.wm**last - 1) / (new.depth - 1)
    return {**args, "model_cfg": replace(new, wa=float(f"{slope:.6g}"))}


def _regnet_deeper(args: Args, by: Multipliers) -> Args:
    if by.depth == 1:
        return args
    depth = round_depth(args["model_cfg"].depth * by.depth)
    while len(_regnet_widths(new := _with_line(args, depth=depth))) < 4:
        depth += 1
    return new


def _regnet_wider(args: Args, by: Multipliers) -> Args:
    if by.width == by.group_width == 1:
        return args
    cfg = args["model_cfg"]
    w0 = nearest_multiple(cfg.w0 * by.width, 8)
    group_size, unit = cfg.group_size * by.group_width, norm_unit(cfg.norm_layer)
    size = round_group_width(group_size) if unit == 8 else nearest_multiple(group_size, unit)
    # wm is adjusted to compensate for the rounding of w0, so that the last stage keeps its width.
    wm = float(f"{cfg.wm * (cfg.w0 * by.width / w0) ** (1 / 3):.4g}")
    new = _with_line(args, w0=w0, wm=wm, group_size=size)
    return new if len(_regnet_widths(new)) == 4 else _with_line(args, w0=w0, group_size=size)


SPECS["regnet.RegNet"] = ScalingSpec(
    depth=(Custom(_regnet_deeper, lambda args: [args["model_cfg"].depth]),),
    width=(Custom(_regnet_wider, _regnet_widths), Width("model_cfg.num_features")),
)
