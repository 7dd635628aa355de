"""AnyNet: a stem, stages of identical blocks and a head.

The network of Designing Network Design Spaces (§3.2, Figure 3) and, with Z blocks, of Fast and Accurate Model
Scaling (§6.1). Its parameters carry the names of timm's RegNet.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch
from timm.layers import ClassifierHead, ConvNormAct, calculate_drop_path_rates, get_act_layer
from timm.models import named_apply
from timm.models._features import feature_take_indices
from torch import nn

from timm_regnet_ds._check import lookup, number, per_stage, whole

from ._blocks import BLOCKS, Basic, Bottleneck, Stage
from ._build import build, data_cfg, register

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

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    strides: tuple[int, ...] = 2  # type: ignore[assignment]
    bottle_ratios: tuple[float, ...] = None  # type: ignore[assignment]
    group_widths: tuple[int, ...] = None  # type: ignore[assignment]
    block: str = "x"
    stem: str = "imagenet"
    stem_width: int = 32
    head_width: int = None  # type: ignore[assignment]
    se_ratio: float = None  # type: ignore[assignment]
    act_layer: str = None  # type: ignore[assignment]
    norm_layer: str | Callable[..., nn.Module] = "batchnorm2d"

    def __post_init__(self) -> None:
        spec = lookup("block", self.block, BLOCKS)
        lookup("stem", self.stem, STEMS)
        for name in ("head_width", "se_ratio", "act_layer"):
            self._default(name, getattr(spec, name))
        self._default("bottle_ratios", spec.bottle_ratio)
        stages = len(self.depths) if isinstance(self.depths, (list, tuple)) else 1
        for name in ("depths", "widths", "strides"):
            self._set(name, per_stage(name, getattr(self, name), stages, whole))
        self._set("bottle_ratios", per_stage("bottle_ratios", self.bottle_ratios, stages, number, above=0))
        self._default("group_widths", self.inner_widths)
        self._set("group_widths", per_stage("group_widths", self.group_widths, stages, whole))
        if not spec.bottleneck:
            self._refuse_bottleneck()
        self._check_group_widths()
        whole("stem_width", self.stem_width)
        whole("head_width", self.head_width, least=0)
        number("se_ratio", self.se_ratio, least=0)

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

    @property
    def reductions(self) -> tuple[int, ...]:
        """Side of the input over the side of the stem's feature map and of each stage's."""
        stem = STEMS[self.stem]
        return tuple(stem * math.prod(self.strides[:i]) for i in range(len(self.strides) + 1))


class AnyNet(nn.Module):
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
        super().__init__()
        dd = {"device": device, "dtype": dtype}
        self.cfg = cfg
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.num_stages = len(cfg.depths)
        # Below this side the last stride has nothing left to reduce.
        self.min_side = cfg.reductions[-1] // 2 + 1
        layers = {"act_layer": get_act_layer(cfg.act_layer), "norm_layer": cfg.norm_layer, **dd}
        strides = _dilated_strides(cfg, output_stride)

        reduction = cfg.reductions[0]
        self.stem = ConvNormAct(in_chans, cfg.stem_width, 3, stride=reduction, **layers)
        self.feature_info = [{"num_chs": cfg.stem_width, "reduction": reduction, "module": "stem"}]
        for i, stage in enumerate(_stages(cfg, strides, drop_path_rate, **layers)):
            reduction *= strides[i][0]
            self.add_module(f"s{i + 1}", stage)
            self.feature_info.append({"num_chs": cfg.widths[i], "reduction": reduction, "module": f"s{i + 1}"})

        width = cfg.widths[-1]
        self.final_conv = ConvNormAct(width, cfg.head_width, 1, **layers) if cfg.head_width else nn.Identity()
        self.num_features = cfg.head_width or width
        self.head = ClassifierHead(self.num_features, num_classes, global_pool, drop_rate, **dd)
        self.head_hidden_size = self.num_features * self.head.global_pool.feat_mult()
        named_apply(_init_weights, self)
        if zero_init_last:
            for module in self.modules():
                if isinstance(module, (Bottleneck, Basic)):
                    module.zero_init_last()

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Regular expressions that group the parameters by depth, for layer decay."""
        return {"stem": r"^stem", "blocks": r"^s(\d+)" if coarse else r"^s(\d+)\.b(\d+)"}

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the stages' activations in the backward pass instead of keeping them."""
        for module in self.children():
            if isinstance(module, Stage):
                module.grad_checkpointing = enable

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier, and the pooling where ``global_pool`` is not ``None``."""
        self.num_classes = num_classes
        weight = self.stem.conv.weight
        pool_type = self.head.global_pool.pool_type if global_pool is None else global_pool
        self.head = ClassifierHead(
            self.num_features,
            num_classes,
            pool_type,
            self.drop_rate,
            device=weight.device,
            dtype=weight.dtype,
        ).train(self.training)
        self.head_hidden_size = self.num_features * self.head.global_pool.feat_mult()

    def forward_intermediates(
        self,
        x: torch.Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[torch.Tensor] | tuple[torch.Tensor, list[torch.Tensor]]:
        """The last feature map and those that ``feature_info`` lists.

        Args:
            x: images, (N, C, H, W).
            indices: which maps; the last n if an int, all if ``None``.
            norm: has no effect here: every map is already normalized.
            stop_early: compute nothing beyond the last map asked for.
            output_fmt: ``NCHW``.
            intermediates_only: leave the last feature map out.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt must be NCHW, not {output_fmt}")
        take, last = feature_take_indices(self.num_stages + 1, indices)
        if not stop_early:
            _check_side(x, self.min_side)
        intermediates = []
        for i, (name, module) in enumerate(self.named_children()):
            if name != "head" and (i <= last or not stop_early):
                x = module(x)
            if i in take:
                intermediates.append(x)
        if intermediates_only:
            return intermediates
        return x, intermediates

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove what the feature maps ``indices`` do not need; return them as absolute indices."""
        take, last = feature_take_indices(self.num_stages + 1, indices)
        for i in range(last, self.num_stages):
            setattr(self, f"s{i + 1}", nn.Identity())
        headless = isinstance(self.final_conv, nn.Identity)
        prune_end = last < self.num_stages or (not headless and (prune_norm or prune_head))
        if prune_end:
            self.final_conv = nn.Identity()
            self.num_features = self.feature_info[last]["num_chs"]
        if prune_head or prune_end:
            self.reset_classifier(0, "")
        return take

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → (N, num_features, H/reduction, W/reduction)."""
        _check_side(x, self.min_side)
        for name, module in self.named_children():
            if name != "head":
                x = module(x)
        return x

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """(N, num_features, h, w) → (N, num_classes), or with ``pre_logits`` (N, head_hidden_size)."""
        return self.head(x, pre_logits=pre_logits) if pre_logits else self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → (N, num_classes)."""
        return self.forward_head(self.forward_features(x))


def _check_side(x: torch.Tensor, min_side: int) -> None:
    height, width = x.shape[-2], x.shape[-1]
    if min(height, width) < min_side:
        raise ValueError(f"an image of {height}×{width} is too small: this network needs {min_side}×{min_side}")


# torch.fx cannot follow a comparison of sizes: to it the check is one node.
torch.fx.wrap("_check_side")


def _dilated_strides(cfg: AnyNetCfg, output_stride: int | None) -> list[tuple[int, int, int]]:
    """(stride, dilation of the first block, dilation of the others) of each stage.

    Strides beyond ``output_stride`` become dilation. 32, the default elsewhere in timm, is always allowed.
    """
    if output_stride is not None and output_stride not in (*cfg.reductions, 32):
        allowed = sorted({*cfg.reductions, 32})
        raise ValueError(f"output_stride {output_stride!r} is not possible here; allowed: {allowed}")
    reduction, dilation, strides = cfg.reductions[0], 1, []
    for stride in cfg.strides:
        first_dilation = dilation
        if output_stride is not None and reduction >= output_stride:
            dilation *= stride
            stride = 1
        reduction *= stride
        strides.append((stride, first_dilation, dilation))
    return strides


def _stages(cfg: AnyNetCfg, strides: list[tuple[int, int, int]], drop_path_rate: float, **layers: Any) -> list[Stage]:
    spec = BLOCKS[cfg.block]
    if drop_path_rate and spec.shortcut == "none":
        raise ValueError(f"block {cfg.block!r} has no shortcut to drop: drop_path_rate must be 0, not {drop_path_rate}")
    drop_paths = calculate_drop_path_rates(drop_path_rate, list(cfg.depths), stagewise=True)
    stages = []
    for i, (stride, first_dilation, dilation) in enumerate(strides):
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
        stages.append(Stage([first, *rest]))
    return stages


def _init_weights(module: nn.Module, name: str = "") -> None:
    """The initialization of the papers: fan-out normal convolutions, a narrow classifier."""
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)


def build_anynet(variant: str, pretrained: bool, cfg: AnyNetCfg, **kwargs: Any) -> nn.Module:
    """The AnyNet of a config, built by timm."""
    return build(AnyNet, variant, pretrained, feature_maps=len(cfg.depths) + 1, model_cfg=cfg, **kwargs)


def take_fields(cfg_cls: type, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Those of ``kwargs`` that are fields of a config; they are removed from ``kwargs``."""
    return {f.name: kwargs.pop(f.name) for f in fields(cfg_cls) if f.name in kwargs}


# The depths and widths of RegNetX-200MF.
DEFAULT = {"depths": (1, 1, 4, 7), "widths": (24, 56, 152, 368)}


def _anynet(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    cfg = AnyNetCfg(**(DEFAULT | take_fields(AnyNetCfg, kwargs)))
    return build_anynet(variant, pretrained, cfg, **kwargs)


register(__name__, _anynet, {"anynet": data_cfg()}, {"anynet": "An AnyNet from the fields of `AnyNetCfg`."})
