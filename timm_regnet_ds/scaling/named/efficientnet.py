"""Scaling an EfficientNet: its stem and head grow with the rest (Fast and Accurate Model Scaling, §6)."""

from dataclasses import replace

from timm_regnet_ds.models.efficientnet import EfficientNetCfg
from timm_regnet_ds.scaling.arithmetic.rounding import nearest_multiple, round_depth
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers

__all__ = ["scale_depth", "scale_efficientnet", "scale_width"]


def scale_depth(depth: int, multipliers: Multipliers) -> int:
    """Return the scaled number of blocks of a stage, at least 1."""
    return round_depth(depth * multipliers.depth)


def scale_width(width: int, multipliers: Multipliers, multiple: int = 8) -> int:
    """Return the scaled width of a stage, the stem or the head, a multiple of ``multiple``: 8 in the paper's models."""
    return nearest_multiple(width * multipliers.width, multiple)


def scale_efficientnet(cfg: EfficientNetCfg, multipliers: Multipliers) -> EfficientNetCfg:
    """Return ``cfg`` with the depths of all stages scaled, and the widths of all stages, the stem and the head."""
    stages = tuple(
        replace(stage, depth=scale_depth(stage.depth, multipliers), width=scale_width(stage.width, multipliers))
        for stage in cfg.stages
    )
    return EfficientNetCfg(stages, scale_width(cfg.stem_width, multipliers), scale_width(cfg.head_width, multipliers))
