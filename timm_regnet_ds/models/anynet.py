"""AnyNet: a stem, stages of identical blocks and a head.

The network of Designing Network Design Spaces (§3.2, Figure 3) and, with Z blocks, of Fast and Accurate Model
Scaling (§6.1). The parameters have the same names as in timm's RegNet.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from timm.layers import ConvNormAct, calculate_drop_path_rates, get_act_layer, get_norm_act_layer
from timm.models import get_pretrained_cfg
from torch import nn

from timm_regnet_ds.common.check import check_choice, check_float, check_int, check_per_stage
from timm_regnet_ds.common.size_limit import MAX_WIDTH, check_blocks, check_elements

from ._blocks import BLOCKS, Basic, Block, Bottleneck
from ._build import ModelEntry, add_size_overlay, build, register, take_fields
from ._staged import Body, Stage, StagedNet, check_layer, dilated_strides

__all__ = ["MAX_RATIO", "STEM_STRIDES", "AnyNet", "AnyNetCfg", "build_anynet"]

# Largest width inside a block divided by the width outside it.
MAX_RATIO = 1e3

# Stride of the stem's 3×3 convolution. Images of 32×32 are not reduced.
STEM_STRIDES = {"imagenet": 2, "cifar": 1}


@dataclass(frozen=True)
class AnyNetCfg:
    """The stages, stem and head of an AnyNet.

    The first five fields have one value per stage: a list, or one number that holds for all stages. They become
    tuples.

    Args:
        depths: number of blocks.
        widths: number of channels.
        strides: stride of the first block.
        bottle_ratios: width inside a bottleneck divided by the width (1/b of the papers). ``None``: the default of
            the block.
        group_widths: channels per group of the 3×3 convolutions. ``None``: a single group.
        block: ``x``, ``y``, ``z``, ``vanilla`` or ``basic``.
        stem: ``imagenet`` (stride 2) or ``cifar`` (stride 1).
        stem_width: channels of the stem.
        head_width: channels of a 1×1 convolution before the pooling; 0: no such convolution. ``None``: the default of
            the block.
        se_ratio: squeeze width divided by a block's input width. ``None``: the default of the block.
        act_layer: timm's name of an activation. ``None``: the default of the block.
        norm_layer: timm's name of a normalization, or a function that makes a layer.

    Raises:
        ValueError: an invalid value; the message says which values are allowed.
    """

    depths: Any
    widths: Any
    strides: Any = 2
    bottle_ratios: Any = None
    group_widths: Any = None
    block: str = "x"
    stem: str = "imagenet"
    stem_width: int = 32
    head_width: Any = None
    se_ratio: Any = None
    act_layer: Any = None
    norm_layer: str | Callable[..., nn.Module] = "batchnorm2d"

    def __post_init__(self) -> None:
        spec = check_choice("block", self.block, BLOCKS)
        check_choice("stem", self.stem, STEM_STRIDES)
        for name in ("head_width", "se_ratio", "act_layer"):
            self._default(name, getattr(spec, name))
        self._default("bottle_ratios", spec.bottle_ratio)
        stages = len(self.depths) if isinstance(self.depths, (list, tuple)) else 1
        if not stages:
            raise ValueError("depths must have at least one stage, not 0")
        for name, maximum in (("depths", None), ("widths", MAX_WIDTH), ("strides", MAX_WIDTH)):
            self._set(name, check_per_stage(name, getattr(self, name), stages, check_int, maximum=maximum))
        check_blocks("the network", sum(self.depths))
        ratios = check_per_stage("bottle_ratios", self.bottle_ratios, stages, check_float, above=0, maximum=MAX_RATIO)
        self._set("bottle_ratios", ratios)
        self._default("group_widths", self.inner_widths)
        self._set("group_widths", check_per_stage("group_widths", self.group_widths, stages, check_int))
        if not spec.bottleneck:
            self._refuse_bottleneck()
        check_int("stem_width", self.stem_width, maximum=MAX_WIDTH)
        check_int("head_width", self.head_width, minimum=0, maximum=MAX_WIDTH)
        check_float("se_ratio", self.se_ratio, minimum=0, maximum=MAX_RATIO)
        check_elements("the network", self._weights())
        self._check_group_widths()
        check_layer("act_layer", self.act_layer, get_act_layer)
        check_layer("norm_layer", self.norm_layer, get_norm_act_layer)

    def _check_group_widths(self) -> None:
        for stage, (inner, group_width) in enumerate(zip(self.inner_widths, self.group_widths, strict=True), 1):
            if inner % group_width:
                allowed = ", ".join(str(g) for g in range(1, inner + 1) if inner % g == 0)
                raise ValueError(
                    f"group width {group_width} does not divide the {inner} channels inside the blocks of "
                    f"stage {stage}; allowed: {allowed}"
                )

    def _weights(self) -> int:
        """About how many weights the blocks, their squeeze-and-excitation and the head have."""
        stages = zip(self.depths, self.widths, self.inner_widths, self.group_widths, strict=True)
        pairs = 2 * math.ceil(1 + self.se_ratio)  # whole, since a group width may be beyond floating point
        blocks = sum(depth * inner * (pairs * width + 9 * group) for depth, width, inner, group in stages)
        return blocks + self.widths[-1] * self.head_width

    def _refuse_bottleneck(self) -> None:
        defaults = {"bottle_ratios": (1.0,) * len(self.widths), "group_widths": self.widths, "se_ratio": 0.0}
        for name, value in defaults.items():
            if getattr(self, name) != value:
                raise ValueError(f"block {self.block!r} has no bottleneck and so takes no {name}")

    def _default(self, name: str, value: Any) -> None:
        if getattr(self, name) is None:
            self._set(name, value)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def inner_widths(self) -> tuple[int, ...]:
        """Channels of each stage's 3×3 convolutions."""
        pairs = zip(self.widths, self.bottle_ratios, strict=True)
        return tuple(max(1, round(width * ratio)) for width, ratio in pairs)


class AnyNet(StagedNet):
    """An AnyNet as a timm model; further arguments are those of `StagedNet`.

    The drop path rate grows linearly from 0 in the first block to ``drop_path_rate`` in the last.

    Args:
        cfg: the network.
        zero_init_last: initialize residual blocks as their shortcuts.

    Raises:
        ValueError: a value that the network does not allow, or in ``forward`` an image too small for the strides.
    """

    def __init__(self, cfg: AnyNetCfg, *args: Any, zero_init_last: bool = True, **kwargs: Any) -> None:
        super().__init__(cfg, *args, **kwargs)
        if zero_init_last:
            for module in self.modules():
                if isinstance(module, Block):
                    module.zero_init_last()

    def make_body(
        self, cfg: AnyNetCfg, in_chans: int, output_stride: int | None, drop_path_rate: float, **dd: Any
    ) -> Body:
        """Stem, stages of blocks and, if ``cfg.head_width`` is not 0, a 1×1 convolution."""
        dilated = dilated_strides(cfg.strides, STEM_STRIDES[cfg.stem], output_stride)
        layers = {"act_layer": get_act_layer(cfg.act_layer), "norm_layer": cfg.norm_layer, **dd}
        width = cfg.widths[-1]
        return Body(
            ConvNormAct(in_chans, cfg.stem_width, 3, STEM_STRIDES[cfg.stem], **layers),
            _stages(cfg, dilated, drop_path_rate, **layers),
            ConvNormAct(width, cfg.head_width, 1, **layers) if cfg.head_width else nn.Identity(),
            _feature_info(cfg, dilated),
            cfg.head_width or width,
        )


def _feature_info(cfg: AnyNetCfg, dilated: list[tuple[int, int, int]]) -> list[dict[str, Any]]:
    reduction = STEM_STRIDES[cfg.stem]
    info: list[dict[str, Any]] = [{"num_chs": cfg.stem_width, "reduction": reduction, "module": "stem"}]
    for i, (width, (stride, _, _)) in enumerate(zip(cfg.widths, dilated, strict=True), 1):
        reduction *= stride
        info.append({"num_chs": width, "reduction": reduction, "module": f"s{i}"})
    return info


def _stages(cfg: AnyNetCfg, dilated: list[tuple[int, int, int]], drop_path_rate: float, **layers: Any) -> list[Stage]:
    spec = BLOCKS[cfg.block]
    if drop_path_rate and spec.shortcut == "none":
        raise ValueError(f"block {cfg.block!r} has no shortcut to drop: drop_path_rate must be 0, not {drop_path_rate}")
    drop_paths = calculate_drop_path_rates(drop_path_rate, list(cfg.depths), stagewise=True)
    stages, reduction = [], STEM_STRIDES[cfg.stem]
    for i, (stride, first_dilation, dilation) in enumerate(dilated):
        in_chs, out_chs = (cfg.stem_width, *cfg.widths)[i : i + 2]
        changes_shape = in_chs != out_chs or cfg.strides[i] != 1
        block = Bottleneck if spec.bottleneck else Basic
        make_block: Callable[..., nn.Module] = partial(block, out_chs=out_chs, spec=spec, **layers)
        if spec.bottleneck:
            inner = {"inner_chs": cfg.inner_widths[i], "group_width": cfg.group_widths[i], "se_ratio": cfg.se_ratio}
            make_block = partial(make_block, **inner)
        first = make_block(
            in_chs=in_chs,
            stride=stride,
            dilation=first_dilation,
            changes_shape=changes_shape,
            drop_path=drop_paths[i][0],
        )
        rest = [
            make_block(in_chs=out_chs, stride=1, dilation=dilation, changes_shape=False, drop_path=p)
            for p in drop_paths[i][1:]
        ]
        stages.append(Stage([first, *rest], stride, reduction))
        reduction *= stride
    return stages


def build_anynet(variant: str, pretrained: bool, cfg: AnyNetCfg, **kwargs: Any) -> nn.Module:
    """The AnyNet of a config, built by timm under the registered name ``variant``.

    The input size in its pretrained config is 32 with the stem ``cifar``, and otherwise that of ``variant``.
    """
    resolution = 32 if cfg.stem == "cifar" else get_pretrained_cfg(variant).input_size[-1]
    add_size_overlay(kwargs, resolution, (STEM_STRIDES[cfg.stem], *cfg.strides))
    return build(AnyNet, variant, pretrained, feature_maps=len(cfg.depths) + 1, model_cfg=cfg, **kwargs)


# The depths and widths of RegNetX-200MF.
DEFAULT = {"depths": (1, 1, 4, 7), "widths": (24, 56, 152, 368)}


def _create_anynet(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    cfg = AnyNetCfg(**(DEFAULT | take_fields(AnyNetCfg, kwargs)))
    return build_anynet(variant, pretrained, cfg, **kwargs)


register(__name__, _create_anynet, {"anynet": ModelEntry("An AnyNet from the fields of `AnyNetCfg`.")})
