"""Scaling an AnyNet: the stem and the head keep their widths (Fast and Accurate Model Scaling, §3.5 and §6)."""

from dataclasses import replace

from timm_regnet_ds.models.anynet import AnyNetCfg
from timm_regnet_ds.models.regnet import fit_group_widths
from timm_regnet_ds.scaling.arithmetic.rounding import round_depth, round_group_width, round_width
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers

__all__ = ["scale_anynet"]


def scale_anynet(cfg: AnyNetCfg, multipliers: Multipliers) -> AnyNetCfg:
    """``cfg`` with every stage deeper and wider; depthwise convolutions stay depthwise, single groups single."""
    depths = tuple(round_depth(d * multipliers.depth) for d in cfg.depths)
    if multipliers.width == multipliers.group_width == 1:
        return replace(cfg, depths=depths)
    widths = tuple(round_width(w * multipliers.width) for w in cfg.widths)
    wanted = [
        None if g == inner else 1 if g == 1 else round_group_width(g * multipliers.group_width)
        for g, inner in zip(cfg.group_widths, cfg.inner_widths, strict=True)
    ]
    widths, group_widths = fit_group_widths(widths, cfg.bottle_ratios, tuple(wanted))
    return replace(cfg, depths=depths, widths=widths, group_widths=group_widths)
