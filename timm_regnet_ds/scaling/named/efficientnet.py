"""Scaling an EfficientNet: its stem and head grow with the rest (Fast and Accurate Model Scaling, §6)."""

from dataclasses import replace

from timm_regnet_ds.models.efficientnet import EfficientNetCfg
from timm_regnet_ds.scaling.arithmetic.rounding import round_depth, round_width
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers

__all__ = ["scale_efficientnet"]


def scale_efficientnet(cfg: EfficientNetCfg, multipliers: Multipliers) -> EfficientNetCfg:
    """``cfg`` with every stage deeper and wider, and its stem and head wider."""

    def wider(width: int) -> int:
        return round_width(width * multipliers.width)

    stages = tuple(
        replace(stage, depth=round_depth(stage.depth * multipliers.depth), width=wider(stage.width))
        for stage in cfg.stages
    )
    return EfficientNetCfg(stages, wider(cfg.stem_width), wider(cfg.head_width))
