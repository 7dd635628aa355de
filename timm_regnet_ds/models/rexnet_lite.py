"""ReXNet-lite: ReXNet without squeeze-and-excitation and SiLU, with a hidden layer before the classifier.

"Rethinking Channel Dimensions for Efficient Model Design", Appendix B.4, Table A2
(https://arxiv.org/abs/2007.00992).
"""

from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import ConvNormAct, SelectAdaptivePool2d, calculate_drop_path_rates, make_divisible
from torch import nn

from timm_regnet_ds.common.check import check_float

from ._blocks import InvertedBottleneck
from ._build import ModelEntry, build, register
from ._staged import Body, StagedNet, make_stages

__all__ = ["RexNetLite", "RexNetLiteCfg"]


@dataclass(frozen=True)
class RexNetLiteCfg:
    """Widths in channels and strides of a ReXNet-lite.

    Every width but ``hidden_size`` is multiplied by ``width_mult`` and rounded to a multiple of ``divisor``.

    Args:
        width_mult: multiplier of the widths.
        stem_width: width of the stem.
        first_width, last_width: widths of the first and last block; those between lie on the line that connects them.
        final_width: width of the 1×1 convolution after the blocks.
        hidden_size: width of the hidden layer in the head.
        expansion: width inside a block divided by the width of its input.
        divisor: divisor of the widths.
        strides: stride of each block.

    Raises:
        ValueError: ``width_mult`` is not a finite number above 0.
    """

    width_mult: float = 1.0
    stem_width: int = 32
    first_width: int = 16
    last_width: int = 180
    final_width: int = 1280
    hidden_size: int = 1024
    expansion: int = 6
    divisor: int = 8
    strides: tuple[int, ...] = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)

    def __post_init__(self) -> None:
        check_float("width_mult", self.width_mult, above=0)

    def scaled(self, width: float) -> int:
        """``width`` times ``width_mult``, rounded to a multiple of ``divisor``."""
        return make_divisible(round(width * self.width_mult), self.divisor)

    @property
    def widths(self) -> tuple[int, ...]:
        """Output channels of each block."""
        step = (self.last_width - self.first_width) / max(len(self.strides) - 1, 1)
        return tuple(self.scaled(self.first_width + i * step) for i in range(len(self.strides)))


class LiteHead(nn.Module):
    """Pooling, hidden layer (1×1 convolution with bias, BatchNorm, ReLU6), dropout, classifier.

    (N, in_features, H, W) → (N, num_classes), or (N, num_classes, H, W) without pooling. With ``num_classes=0`` there
    is no classifier. None of timm's heads has a normalization after its hidden layer.
    """

    def __init__(
        self, in_features: int, hidden_size: int, num_classes: int, pool_type: str, drop_rate: float, **layers: Any
    ) -> None:
        super().__init__()
        self.global_pool = SelectAdaptivePool2d(pool_type=pool_type)
        # A convolution, unlike a linear layer, also takes a map that is not pooled.
        pooled = in_features * self.global_pool.feat_mult()
        self.hidden = ConvNormAct(pooled, hidden_size, 1, bias=True, **layers)
        self.drop = nn.Dropout(drop_rate)
        self.flatten: nn.Module = nn.Identity()
        self.fc: nn.Module = nn.Identity()
        self.reset(num_classes, pool_type)

    def reset(self, num_classes: int, pool_type: str) -> None:
        """Replace the classifier and the pooling. The hidden layer stays.

        Raises:
            ValueError: a pooling whose output has another number of channels than the hidden layer takes.
        """
        pool = SelectAdaptivePool2d(pool_type=pool_type)
        if pool.feat_mult() != self.global_pool.feat_mult():
            raise ValueError(
                f"global_pool {pool_type!r} gives another number of channels than {self.global_pool.pool_type!r}, "
                "which the hidden layer was built for; set global_pool when the model is built"
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
        """(N, in_features, H, W) → (N, num_classes), or with ``pre_logits`` (N, hidden_size)."""
        x = self.drop(self.flatten(self.hidden(self.global_pool(x))))
        return x if pre_logits else self.fc(x)


class RexNetLite(StagedNet):
    """ReXNet-lite; the arguments are those of `StagedNet`.

    The drop path rate grows linearly from 0 in the first block to ``drop_path_rate`` in the last.
    """

    default_drop_rate = 0.2

    def make_body(
        self, cfg: RexNetLiteCfg, in_chans: int, output_stride: int | None, drop_path_rate: float, **dd: Any
    ) -> Body:
        """Stem, inverted bottlenecks and a 1×1 convolution."""
        stem_width, final_width = cfg.scaled(cfg.stem_width), cfg.scaled(cfg.final_width)
        inputs, layers = (stem_width, *cfg.widths), self.layers("relu6") | dd
        drop_paths = calculate_drop_path_rates(drop_path_rate, len(cfg.widths))

        def make_block(i: int, stride: int, dilation: int) -> nn.Module:
            # A block whose stride became dilation still has no shortcut, as in the network without dilation.
            shortcut = cfg.strides[i] == 1 and inputs[i] <= cfg.widths[i]
            expansion = cfg.expansion if i else 1
            return InvertedBottleneck(
                inputs[i], cfg.widths[i], stride, dilation, expansion, shortcut, drop_paths[i], **layers
            )

        stages, feature_info = make_stages(cfg.strides, cfg.widths, make_block, output_stride)
        stem = ConvNormAct(in_chans, stem_width, 3, stride=2, **layers)
        final_conv = ConvNormAct(cfg.widths[-1], final_width, 1, **layers)
        return Body(stem, stages, final_conv, feature_info, final_width)

    def make_head(
        self, cfg: RexNetLiteCfg, num_features: int, num_classes: int, global_pool: str, **dd: Any
    ) -> nn.Module:
        """A `LiteHead`."""
        layers = self.layers("relu6") | dd
        return LiteHead(num_features, cfg.hidden_size, num_classes, global_pool, self.drop_rate, **layers)

    def _head_width(self) -> int:
        return self.head.hidden.out_channels if isinstance(self.head, LiteHead) else super()._head_width()

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier, and the pooling if ``global_pool`` is not ``None``; the hidden layer stays.

        Raises:
            ValueError: a pooling whose output has another number of channels than the hidden layer takes.
        """
        if not isinstance(self.head, LiteHead):  # The network has been pruned.
            return super().reset_classifier(num_classes, global_pool)
        self.head.reset(num_classes, self.head.global_pool.pool_type if global_pool is None else global_pool)
        self.num_classes = num_classes


MODELS = {f"rexnet_lite_{round(100 * m)}": RexNetLiteCfg(width_mult=m) for m in (1.0, 1.3, 1.5, 2.0)}


def _create_rexnet_lite(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    return build(RexNetLite, variant, pretrained, model_cfg=MODELS[variant], **kwargs)


register(
    __name__,
    _create_rexnet_lite,
    {name: ModelEntry(f"ReXNet-lite (×{cfg.width_mult}), Table A2.") for name, cfg in MODELS.items()},
)
