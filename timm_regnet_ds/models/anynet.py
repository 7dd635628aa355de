"""AnyNet: a stem, stages of identical blocks and a head.

The network of Designing Network Design Spaces (§3.2, Figure 3) and, with Z blocks, of Fast and Accurate Model
Scaling (§6.1). Its parameters carry the names of timm's RegNet.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import partial
from types import NoneType
from typing import Any

from timm.layers import (
    ConvNormAct,
    calculate_drop_path_rates,
    get_act_layer,
    get_norm_act_layer,
)
from timm.models import get_pretrained_cfg
from torch import nn

from timm_regnet_ds._check import check_choice, check_float, check_int, check_per_stage

from ._blocks import BLOCKS, Basic, Block, Bottleneck
from ._build import build, data_cfg, output_size, register
from ._staged import Stage, StagedNet, classifier_head, dilate

__all__ = ["STEMS", "AnyNet", "AnyNetCfg"]

# Stride of the stem's 3×3 convolution: ImageNet's images are halved, images of 32×32 are not.
STEMS = {"imagenet": 2, "cifar": 1}


@dataclass(frozen=True)
class AnyNetCfg:
    """An AnyNet, stage by stage. One value for all stages, or a list, becomes a tuple of one a stage.

    Args:
        depths: number of blocks.
        widths: number of channels.
        strides: stride of the first block.
        bottle_ratios: width inside a bottleneck over the width (1/b of the papers). ``None``: the block's own.
        group_widths: channels per group of the 3×3 convolutions. ``None``: a single group.
        block: ``x``, ``y``, ``z``, ``vanilla`` or ``basic``.
        stem: ``imagenet`` (stride 2) or ``cifar`` (stride 1).
        stem_width: channels of the stem.
        head_width: channels of a 1×1 convolution before the pooling, 0 for none. ``None``: the block's own.
        se_ratio: squeeze width over a block's input width. ``None``: the block's own.
        act_layer: timm's name of an activation. ``None``: the block's own.
        norm_layer: timm's name of a normalization, or what makes one.

    Raises:
        ValueError: a value that no network can have; the message says which are allowed.
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
        check_choice("stem", self.stem, STEMS)
        for name in ("head_width", "se_ratio", "act_layer"):
            self._default(name, getattr(spec, name))
        self._default("bottle_ratios", spec.bottle_ratio)
        stages = len(self.depths) if isinstance(self.depths, (list, tuple)) else 1
        if not stages:
            raise ValueError("depths must have at least one stage, not none")
        for name in ("depths", "widths", "strides"):
            self._set(name, check_per_stage(name, getattr(self, name), stages, check_int))
        self._set("bottle_ratios", check_per_stage("bottle_ratios", self.bottle_ratios, stages, check_float, above=0))
        self._default("group_widths", self.inner_widths)
        self._set("group_widths", check_per_stage("group_widths", self.group_widths, stages, check_int))
        if not spec.bottleneck:
            self._refuse_bottleneck()
        self._check_group_widths()
        _check_layer("act_layer", self.act_layer, get_act_layer)
        _check_layer("norm_layer", self.norm_layer, get_norm_act_layer)
        check_int("stem_width", self.stem_width)
        check_int("head_width", self.head_width, minimum=0)
        check_float("se_ratio", self.se_ratio, minimum=0)

    def _check_group_widths(self) -> None:
        for stage, (inner, group_width) in enumerate(zip(self.inner_widths, self.group_widths, strict=True), 1):
            if inner % group_width:
                allowed = ", ".join(str(g) for g in range(1, inner + 1) if inner % g == 0)
                raise ValueError(
                    f"group width {group_width} does not divide the {inner} channels inside the blocks of "
                    f"stage {stage}; allowed: {allowed}"
                )

    def _refuse_bottleneck(self) -> None:
        without = {"bottle_ratios": (1.0,) * len(self.widths), "group_widths": self.widths, "se_ratio": 0.0}
        for name, value in without.items():
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


def _check_layer(what: str, name: Any, get: Callable[[Any], Any]) -> None:
    try:
        known = get(name) is not None
    except (KeyError, AssertionError):
        known = False
    if not known:
        raise ValueError(f"timm has no {what} {name!r}")


class AnyNet(StagedNet):
    """An AnyNet as a timm model.

    Args:
        cfg: the network.
        num_classes: outputs of the classifier; 0 for none.
        in_chans: channels of the images.
        global_pool: timm's name of a pooling; '' for none.
        output_stride: largest reduction; strides beyond it become dilation. ``None``: the network's own.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth of the last block; it grows linearly from stage to stage.
        zero_init_last: begin residual blocks as their shortcuts.
        device, dtype: of the parameters.

    Raises:
        ValueError: a value that is not allowed, or an image too small for the strides.
    """

    def __init__(
        self,
        cfg: AnyNetCfg,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        output_stride: int | None = None,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        zero_init_last: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        dilated = dilate(cfg.strides, STEMS[cfg.stem], output_stride)
        dd = {"device": device, "dtype": dtype}
        layers = {"act_layer": get_act_layer(cfg.act_layer), "norm_layer": cfg.norm_layer, **dd}
        width = cfg.widths[-1]
        num_features = cfg.head_width or width
        super().__init__(
            ConvNormAct(in_chans, cfg.stem_width, 3, STEMS[cfg.stem], **layers),
            _stages(cfg, dilated, drop_path_rate, **layers),
            ConvNormAct(width, cfg.head_width, 1, **layers) if cfg.head_width else nn.Identity(),
            classifier_head(num_features, num_classes, global_pool, drop_rate, **dd),
            feature_info=_feature_info(cfg, dilated),
            num_features=num_features,
            num_classes=num_classes,
            in_chans=in_chans,
            drop_rate=drop_rate,
        )
        self.cfg = cfg
        if zero_init_last:
            for module in self.modules():
                if isinstance(module, Block):
                    module.zero_init_last()


def _feature_info(cfg: AnyNetCfg, dilated: list[tuple[int, int, int]]) -> list[dict[str, Any]]:
    reduction = STEMS[cfg.stem]
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
    stages, reduction = [], STEMS[cfg.stem]
    for i, (stride, first_dilation, dilation) in enumerate(dilated):
        in_chs, out_chs = (cfg.stem_width, *cfg.widths)[i : i + 2]
        reshapes = in_chs != out_chs or cfg.strides[i] != 1
        block = Bottleneck if spec.bottleneck else Basic
        make: Callable[..., nn.Module] = partial(block, out_chs=out_chs, spec=spec, **layers)
        if spec.bottleneck:
            inner = {"inner_chs": cfg.inner_widths[i], "group_width": cfg.group_widths[i], "se_ratio": cfg.se_ratio}
            make = partial(make, **inner)
        first = make(
            in_chs=in_chs, stride=stride, dilation=first_dilation, reshapes=reshapes, drop_path=drop_paths[i][0]
        )
        rest = [
            make(in_chs=out_chs, stride=1, dilation=dilation, reshapes=False, drop_path=p) for p in drop_paths[i][1:]
        ]
        stages.append(Stage([first, *rest], stride, reduction))
        reduction *= stride
    return stages


def build_anynet(variant: str, pretrained: bool, cfg: AnyNetCfg, **kwargs: Any) -> nn.Module:
    """The AnyNet of a config, built by timm."""
    if isinstance(kwargs.get("pretrained_cfg"), (str, NoneType)):  # otherwise it comes from saved weights
        kwargs["pretrained_cfg_overlay"] = _data_overlay(variant, cfg) | (kwargs.get("pretrained_cfg_overlay") or {})
    return build(AnyNet, variant, pretrained, feature_maps=len(cfg.depths) + 1, model_cfg=cfg, **kwargs)


def _data_overlay(variant: str, cfg: AnyNetCfg) -> dict[str, Any]:
    """Image size and last map of a config whose stem or strides are not those that the name stands for."""
    size = (3, 32, 32) if cfg.stem == "cifar" else get_pretrained_cfg(variant).input_size
    side = output_size(size[-1], (STEMS[cfg.stem], *cfg.strides))
    return {"input_size": size, "pool_size": (side, side)}


def refuse_fields(variant: str, kwargs: dict[str, Any], names: Iterable[str], reason: str) -> None:
    """Raise a ValueError for one of ``names`` among ``kwargs``."""
    for name in names:
        if name in kwargs:
            raise ValueError(f"{variant} takes no {name}: {reason}")


def take_fields(cfg_cls: type, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Those of ``kwargs`` that are fields of a config; they are removed from ``kwargs``."""
    return {f.name: kwargs.pop(f.name) for f in fields(cfg_cls) if f.name in kwargs}


# The depths and widths of RegNetX-200MF.
DEFAULT = {"depths": (1, 1, 4, 7), "widths": (24, 56, 152, 368)}


def _anynet(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    cfg = AnyNetCfg(**(DEFAULT | take_fields(AnyNetCfg, kwargs)))
    return build_anynet(variant, pretrained, cfg, **kwargs)


register(__name__, _anynet, {"anynet": data_cfg()}, {"anynet": "An AnyNet from the fields of `AnyNetCfg`."})
