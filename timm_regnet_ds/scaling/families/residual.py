"""Residual networks that are configured by lists of depths and widths of the stages."""

import math
from dataclasses import dataclass, replace
from typing import Any

from timm_regnet_ds.scaling.arithmetic.rounding import nearest_multiple
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers

from .common import fits, norm_unit, width_multiplier
from .rules import Args, Custom, Depth, GroupWidth, Width
from .specs import SPECS, ScalingSpec
from .wrappers import WRAPPERS, Wrapper


def _resnet_unit(args: Args) -> int:
    splits = (args["block_args"] or {}).get("radix", 1) * args["block_reduce_first"]
    grouped = fits(splits, args["base_width"] / 64) if args["cardinality"] * splits > 1 else 1
    return math.lcm(norm_unit(args["norm_layer"]), grouped)


def _resnetv2_unit(args: Args, ratio: float) -> int:
    return math.lcm(8, fits(norm_unit(args["norm_layer"]), ratio * args["width_factor"]))


def _nfnet_unit(args: Args) -> int:
    cfg = args["model_cfg"]
    return math.lcm(8, fits(cfg.group_size, cfg.bottle_ratio)) if cfg.group_size and not cfg.reg else 8


SPECS |= {
    "resnet.ResNet": ScalingSpec(
        depth=(Depth("layers"),),
        width=(
            Width("channels", _resnet_unit),
            Width("stem_width").when(lambda args: "deep" in args["stem_type"]),  # other stems have 64 channels in code
        ),
        multiple=lambda args: 32 if "Avg" in str(args["aa_layer"]) else 4,  # average pooling drops a last odd row
    ),
    "resnetv2.ResNetV2": ScalingSpec(
        depth=(Depth("layers"),),
        width=(
            Width("channels", lambda args: _resnetv2_unit(args, args["bottle_ratio"])),
            Width("stem_chs", lambda args: _resnetv2_unit(args, 0.5 if args["stem_type"] in ("deep", "tiered") else 1)),
        ),
    ),
    "nfnet.NormFreeNet": ScalingSpec(
        depth=(Depth("model_cfg.depths"),),
        width=(
            GroupWidth("model_cfg.group_size"),
            Width("model_cfg.channels", _nfnet_unit),
            Width("model_cfg.stem_chs", lambda args: 32 if "quad" in args["model_cfg"].stem_type else 8),
            Width("model_cfg.num_features"),
        ),
    ),
    "tresnet.TResNet": ScalingSpec(depth=(Depth("layers"),), width=(width_multiplier("width_factor", 64),)),
}


@dataclass(frozen=True)
class _Expansion:
    """Stands for a block's ``expansion``: turns the planes in SENet's code into a wider block's output channels."""

    wider: "_Wider"

    def __rmul__(self, planes: int) -> int:
        return self.wider.planes(planes) * int(self.wider.block.expansion)


@dataclass(frozen=True)
class _Wider:
    """Stands for a block class: makes blocks of that class with more planes than SENet's code asks for."""

    block: Any
    width: float
    multiple: int

    @property
    def expansion(self) -> _Expansion:
        return _Expansion(self)

    def planes(self, planes: int) -> int:
        return nearest_multiple(planes * self.width, self.multiple)

    def __call__(self, inplanes: int, planes: int, *args: Any, **kwargs: Any) -> Any:
        return self.block(inplanes, self.planes(planes), *args, **kwargs)


def _senet_wider(args: Args, by: Multipliers) -> Args:
    if by.width == 1:
        return args
    block = _as_wider(args)
    return {**args, "block": replace(block, width=float(f"{block.width * by.width:.6g}"))}


def _as_wider(args: Args) -> _Wider:
    block = args["block"]
    return block if isinstance(block, _Wider) else _Wider(block, 1.0, math.lcm(8, fits(args["groups"], 2)))


WRAPPERS["wider_block"] = Wrapper(_Wider, _as_wider)


SPECS["senet.SENet"] = ScalingSpec(
    depth=(Depth("layers"),),
    width=(
        Custom(_senet_wider, lambda args: [planes * args["block"].expansion for planes in (64, 128, 256, 512)]),
        Width("inplanes"),
    ),
)
