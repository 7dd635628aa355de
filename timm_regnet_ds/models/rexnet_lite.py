"""ReXNet-lite: ReXNet without squeeze-and-excitation and SiLU, with a hidden layer before the classifier.

"Rethinking Channel Dimensions for Efficient Model Design", Appendix B.4, Table A2
(https://arxiv.org/abs/2007.00992).
"""

from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import ConvNormAct, DropPath, SelectAdaptivePool2d, calculate_drop_path_rates, make_divisible
from torch import nn
from torch.nn.functional import pad

from timm_regnet_ds._check import check_float

from ._build import build, data_cfg, register
from ._staged import StagedNet, stages_of

__all__ = ["RexNetLite", "RexNetLiteCfg"]


@dataclass(frozen=True)
class RexNetLiteCfg:
    """Widths in channels before ``width_mult``; those of the blocks grow linearly from ``first`` to ``last``.

    Raises:
        ValueError: ``width_mult`` is not a finite number above 0.
    """

    width_mult: float = 1.0
    stem_width: int = 32
    first_width: int = 16
    last_width: int = 180
    final_width: int = 1280
    hidden_size: int = 1024  # not multiplied
    expansion: int = 6
    divisor: int = 8
    strides: tuple[int, ...] = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)

    def __post_init__(self) -> None:
        check_float("width_mult", self.width_mult, above=0)

    def scaled(self, width: float) -> int:
        """``width`` times ``width_mult``, to a multiple of ``divisor``."""
        return make_divisible(round(width * self.width_mult), self.divisor)

    @property
    def widths(self) -> tuple[int, ...]:
        """Output channels of each block."""
        step = (self.last_width - self.first_width) / max(len(self.strides) - 1, 1)
        return tuple(self.scaled(self.first_width + i * step) for i in range(len(self.strides)))


class LiteBlock(nn.Module):
    """Inverted bottleneck, (N, in, H, W) → (N, out, H/s, W/s): f(x), with ``shortcut`` f(x) + zero-padded x.

    f is a 1×1 convolution to ``expansion`` times the channels (none for 1) and a 3×3 depthwise one, each with
    BN and ReLU6, then a 1×1 convolution with BN.
    """

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        stride: int = 1,
        dilation: int = 1,
        expansion: int = 6,
        shortcut: bool = True,
        drop_path: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        dd = {"device": device, "dtype": dtype}
        mid_chs = in_chs * expansion
        self.shortcut = shortcut
        self.extra_chs = out_chs - in_chs
        self.conv_exp = ConvNormAct(in_chs, mid_chs, 1, act_layer="relu6", **dd) if expansion != 1 else nn.Identity()
        self.conv_dw = ConvNormAct(
            mid_chs, mid_chs, 3, stride=stride, dilation=dilation, groups=mid_chs, act_layer="relu6", **dd
        )
        self.conv_pwl = ConvNormAct(mid_chs, out_chs, 1, apply_act=False, **dd)
        self.drop_path = DropPath(drop_path) if shortcut and drop_path > 0 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv_pwl(self.conv_dw(self.conv_exp(x)))
        if not self.shortcut:
            return y
        # B.1: "the expanded channel dimensions are padded with zeros".
        return self.drop_path(y) + pad(x, (0, 0, 0, 0, 0, self.extra_chs))


class LiteHead(nn.Module):
    """Pooling, hidden layer (1×1 convolution with bias, BatchNorm, ReLU6), dropout, classifier.

    (N, in_features, H, W) → (N, num_classes), or (N, num_classes, H, W) without pooling. ``num_classes=0`` leaves the
    classifier out.
    """

    def __init__(
        self, in_features: int, hidden_size: int, num_classes: int, pool_type: str, drop_rate: float, **dd: Any
    ) -> None:
        super().__init__()
        self.global_pool = SelectAdaptivePool2d(pool_type=pool_type)
        # A convolution rather than a linear layer, so that it serves with and without pooling.
        pooled = in_features * self.global_pool.feat_mult()
        self.hidden = ConvNormAct(pooled, hidden_size, 1, bias=True, act_layer="relu6", **dd)
        self.drop = nn.Dropout(drop_rate)
        self.flatten: nn.Module = nn.Identity()
        self.fc: nn.Module = nn.Identity()
        self.reset(num_classes, pool_type)

    def reset(self, num_classes: int, pool_type: str) -> None:
        """Replace the classifier and the pooling. The hidden layer stays.

        Raises:
            ValueError: a pooling of another width than the hidden layer takes.
        """
        pool = SelectAdaptivePool2d(pool_type=pool_type)
        if pool.feat_mult() != self.global_pool.feat_mult():
            raise ValueError(
                f"global_pool {pool_type!r} gives another number of channels than {self.global_pool.pool_type!r}, "
                "which the hidden layer is made for; give it when the model is built"
            )
        self.global_pool = pool
        self.flatten = nn.Identity() if pool.is_identity() else nn.Flatten(1)
        self.fc = nn.Identity()
        if num_classes:
            weight = self.hidden.conv.weight
            size: tuple[int, ...] = (1,) if pool.is_identity() else ()
            layer: Any = nn.Conv2d if pool.is_identity() else nn.Linear
            self.fc = layer(weight.shape[0], num_classes, *size, device=weight.device, dtype=weight.dtype)
        self.train(self.training)

    def forward(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.drop(self.flatten(self.hidden(self.global_pool(x))))
        return x if pre_logits else self.fc(x)


class RexNetLite(StagedNet):
    """ReXNet-lite, (N, in_chans, H, W) → (N, num_classes).

    Args:
        cfg: widths and strides.
        num_classes: width of the classifier, 0 for none.
        in_chans: channels of the image.
        global_pool: timm's name of the pooling, '' for none.
        output_stride: 8, 16 or 32; below 32 through dilation.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth, growing linearly from 0 in the first block to this in the last.
        device, dtype: of the parameters.

    Raises:
        ValueError: another output stride, or an image too small for the strides.
    """

    def __init__(
        self,
        cfg: RexNetLiteCfg,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        output_stride: int = 32,
        drop_rate: float = 0.2,
        drop_path_rate: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        dd = {"device": device, "dtype": dtype}
        stem_width, final_width = cfg.scaled(cfg.stem_width), cfg.scaled(cfg.final_width)
        inputs = (stem_width, *cfg.widths)
        drop_paths = calculate_drop_path_rates(drop_path_rate, len(cfg.widths))

        def block(i: int, stride: int, dilation: int) -> nn.Module:
            # A stride that became dilation does not earn the block a shortcut.
            shortcut = cfg.strides[i] == 1 and inputs[i] <= cfg.widths[i]
            expansion = cfg.expansion if i else 1
            return LiteBlock(inputs[i], cfg.widths[i], stride, dilation, expansion, shortcut, drop_paths[i], **dd)

        stages, feature_info = stages_of(cfg.strides, cfg.widths, block, output_stride)
        super().__init__(
            ConvNormAct(in_chans, stem_width, 3, stride=2, act_layer="relu6", **dd),
            stages,
            ConvNormAct(cfg.widths[-1], final_width, 1, act_layer="relu6", **dd),
            LiteHead(final_width, cfg.hidden_size, num_classes, global_pool, drop_rate, **dd),
            feature_info=feature_info,
            num_features=final_width,
            num_classes=num_classes,
            in_chans=in_chans,
            drop_rate=drop_rate,
        )

    def _head_width(self) -> int:
        return self.head.hidden.out_channels if isinstance(self.head, LiteHead) else super()._head_width()

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier, and the pooling where ``global_pool`` is not ``None``; the hidden layer stays.

        Raises:
            ValueError: a pooling of another width than the hidden layer takes.
        """
        if not isinstance(self.head, LiteHead):  # pruned
            return super().reset_classifier(num_classes, global_pool)
        self.head.reset(num_classes, self.head.global_pool.pool_type if global_pool is None else global_pool)
        self.num_classes = num_classes


MODELS = {f"rexnet_lite_{round(100 * m)}": RexNetLiteCfg(width_mult=m) for m in (1.0, 1.3, 1.5, 2.0)}


def _create(name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    return build(
        RexNetLite,
        name,
        pretrained,
        feature_maps=5,
        model_cfg=MODELS[name],
        **kwargs,
    )


register(
    __name__,
    _create,
    cfgs={name: data_cfg() for name in MODELS},
    docs={name: f"ReXNet-lite (×{cfg.width_mult}), Table A2." for name, cfg in MODELS.items()},
)
