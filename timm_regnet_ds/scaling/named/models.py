"""The scaled models with registered names: ``<base>_<strategy>_<target>``, as in ``regnetz_500mf_dWr_16gf``.

They are those that the scaling paper prints (Tables 7 and 8) and, from the same bases, every strategy at 1 to 16 GF,
as compared in its Figures 4 to 7.
"""

from dataclasses import replace
from typing import Any

from torch import nn

from timm_regnet_ds.common.check import check_choice
from timm_regnet_ds.models._build import ModelEntry, default_cfg, refuse_fields, register, take_fields
from timm_regnet_ds.models.anynet import AnyNetCfg, build_anynet
from timm_regnet_ds.models.efficientnet import EFFICIENTNET_B0, EfficientNetCfg, build_efficientnet
from timm_regnet_ds.models.regnet import REGNET_CFGS, RESOLUTIONS
from timm_regnet_ds.scaling.arithmetic.rounding import round_resolution
from timm_regnet_ds.scaling.arithmetic.strategy import describe_scaling, resolve_strategy

from .anynet import scale_anynet
from .efficientnet import scale_efficientnet

__all__ = ["BASES", "FACTORS", "PAPER", "scaled_cfg"]

BASES: dict[str, tuple[AnyNetCfg | EfficientNetCfg, int]] = {
    "regnety_500mf": (REGNET_CFGS["regnety_500mf"].stages(), 224),
    "regnetz_500mf": (REGNET_CFGS["regnetz_500mf"].stages(), 224),
    "regnetz_4gf": (REGNET_CFGS["regnetz_4gf"].stages(), RESOLUTIONS["regnetz_4gf"]),
    "efficientnet_b0": (EFFICIENTNET_B0, 224),
}

# The factors with which the models have the numbers that the paper prints.
PAPER = {
    "regnety_500mf_dWr_4gf": 8.2,
    "regnety_500mf_dWr_16gf": 32.8,
    "regnetz_500mf_dWr_4gf": 8.1,
    "regnetz_500mf_dWr_16gf": 31.4,
    "regnetz_4gf_dWr_16gf": 3.88,
    "efficientnet_b0_dWr_4gf": 11,
    "efficientnet_b0_dWr_16gf": 48,
}

FIXED_BY_SCALING = ("depths", "widths", "strides", "bottle_ratios", "group_widths", "block")

TARGETS = ("1gf", "2gf", "4gf", "8gf", "16gf")

# The factors that `nearest_factor` finds: one row per base and strategy, one column per target.
_NEAREST = {
    ("regnety_500mf", "d"): (2.13, 4.38, 8.84, 17.9, 35.8),
    ("regnety_500mf", "w"): (1.97, 4.17, 8.27, 16.7, 33.2),
    ("regnety_500mf", "r"): (1.87, 3.9, 7.82, 15.8, 31.4),
    ("regnety_500mf", "dw"): (2.19, 4.23, 8.27, 17.4, 35.4),
    ("regnety_500mf", "dr"): (1.9, 4.23, 8.27, 16.3, 34.6),
    ("regnety_500mf", "wr"): (1.76, 3.87, 7.62, 16.2, 32.7),
    ("regnety_500mf", "dwr"): (2.03, 4.19, 8.19, 15.6, 33.0),
    ("regnety_500mf", "dWr"): (1.92, 4.19, 7.9, 16.8, 31.5),
    ("regnetz_500mf", "d"): (2.08, 4.36, 8.84, 17.9, 35.9),
    ("regnetz_500mf", "w"): (1.9, 4.16, 8.27, 17.2, 34.4),
    ("regnetz_500mf", "r"): (1.87, 3.76, 7.72, 15.6, 31.2),
    ("regnetz_500mf", "dw"): (2.1, 4.09, 8.42, 17.6, 36.7),
    ("regnetz_500mf", "dr"): (1.85, 4.23, 8.58, 16.3, 35.2),
    ("regnetz_500mf", "wr"): (1.88, 3.58, 7.78, 15.8, 34.3),
    ("regnetz_500mf", "dwr"): (1.93, 4.19, 8.27, 15.6, 33.3),
    ("regnetz_500mf", "dWr"): (1.82, 3.79, 8.03, 16.7, 31.1),
    ("efficientnet_b0", "d"): (2.5, 5.13, 10.2, 20.2, 40.4),
    ("efficientnet_b0", "w"): (2.77, 5.53, 11.3, 22.8, 46.4),
    ("efficientnet_b0", "r"): (2.5, 5.11, 10.1, 20.7, 41.3),
    ("efficientnet_b0", "dw"): (2.45, 5.07, 10.9, 21.4, 42.3),
    ("efficientnet_b0", "dr"): (2.26, 4.95, 9.97, 20.1, 39.1),
    ("efficientnet_b0", "wr"): (2.45, 5.11, 10.6, 21.5, 44.2),
    ("efficientnet_b0", "dwr"): (2.53, 4.71, 10.2, 20.4, 42.2),
    ("efficientnet_b0", "dWr"): (2.76, 4.92, 10.4, 21.5, 47.5),
}

FACTORS = {
    f"{base}_{strategy}_{target}": factor
    for (base, strategy), factors in _NEAREST.items()
    for target, factor in zip(TARGETS, factors, strict=True)
} | PAPER


def scaled_cfg(base: str, strategy: str | float, factor: float) -> tuple[AnyNetCfg | EfficientNetCfg, int]:
    """Return config and resolution of a base scaled by a factor.

    Args:
        base: a name of ``BASES``.
        strategy: a name, or α.
        factor: the factor by which flops should grow.

    Raises:
        ValueError: if the base or the strategy is unknown, or the factor is not above 0.
    """
    cfg, resolution = check_choice("base", base, BASES)
    multipliers = resolve_strategy(strategy).multipliers(factor)
    scaled = scale_anynet(cfg, multipliers) if isinstance(cfg, AnyNetCfg) else scale_efficientnet(cfg, multipliers)
    return scaled, round_resolution(resolution * multipliers.resolution)


def build_scaled(variant: str, pretrained: bool, cfg: AnyNetCfg | EfficientNetCfg, **kwargs: Any) -> nn.Module:
    """Build the model of a scaled config through timm.

    Raises:
        ValueError: if ``kwargs`` contain a field of `AnyNetCfg` that scaling sets.
    """
    if isinstance(cfg, EfficientNetCfg):
        return build_efficientnet(variant, pretrained, cfg, **kwargs)
    refuse_fields(variant, kwargs, FIXED_BY_SCALING, "scaling sets it")
    return build_anynet(variant, pretrained, replace(cfg, **take_fields(AnyNetCfg, kwargs)), **kwargs)


def _named(variant: str) -> tuple[AnyNetCfg | EfficientNetCfg, int]:
    base, strategy, _ = variant.rsplit("_", 2)
    return scaled_cfg(base, strategy, FACTORS[variant])


def _build(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    return build_scaled(variant, pretrained, _named(variant)[0], **kwargs)


def _default_cfg(variant: str) -> dict[str, Any]:
    cfg, resolution = _named(variant)
    names = {"first_conv": "conv_stem", "classifier": "classifier"} if isinstance(cfg, EfficientNetCfg) else {}
    return default_cfg(resolution) | names


def _doc(variant: str) -> str:
    base, strategy, target = variant.rsplit("_", 2)
    return f"{describe_scaling(base, f'{strategy} to {target}', FACTORS[variant])}."


register(
    __name__,
    _build,
    {variant: ModelEntry(_doc(variant), {"": _default_cfg(variant)}) for variant in FACTORS},
)
