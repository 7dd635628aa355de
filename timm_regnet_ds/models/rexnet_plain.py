"""ReXNet (plain): MobileNetV1 with widths linear in the block index, without shortcuts.

"Rethinking Channel Dimensions for Efficient Model Design", Appendix B.2, Figure A2b, Table A1
(https://arxiv.org/abs/2007.00992). The paper does not print the widths: docs/rexnet.md says how these were
chosen.
"""

from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import ConvNormAct
from torch import nn

from ._build import build, data_cfg, register
from ._staged import StagedNet, classifier_head, stages_of

__all__ = ["RexNetPlain", "RexNetPlainCfg"]


@dataclass(frozen=True)
class RexNetPlainCfg:
    """Widths in channels: of block i, from 0, ``first_width + i * width_step``; of the last ``final_width``."""

    first_width: int = 96
    width_step: int = 48
    final_width: int = 1024
    stem_width: int = 32
    strides: tuple[int, ...] = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)

    @property
    def widths(self) -> tuple[int, ...]:
        """Output channels of each block."""
        linear = (self.first_width + i * self.width_step for i in range(len(self.strides) - 1))
        return (*linear, self.final_width)


class PlainBlock(nn.Module):
    """3×3 depthwise convolution, BN, ReLU; 1×1 convolution, BN, SiLU: (N, in, H, W) → (N, out, H/s, W/s)."""

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        stride: int = 1,
        dilation: int = 1,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        dd = {"device": device, "dtype": dtype}
        self.conv_dw = ConvNormAct(
            in_chs, in_chs, 3, stride=stride, dilation=dilation, groups=in_chs, act_layer="relu", **dd
        )
        self.conv_pw = ConvNormAct(in_chs, out_chs, 1, act_layer="silu", **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv_pw(self.conv_dw(x))


class RexNetPlain(StagedNet):
    """ReXNet (plain), (N, in_chans, H, W) → (N, num_classes); Figure A2b.

    Args:
        cfg: widths and strides.
        num_classes: width of the classifier, 0 for none.
        in_chans: channels of the image.
        global_pool: timm's name of the pooling, '' for none.
        output_stride: 8, 16 or 32; below 32 through dilation.
        drop_rate: dropout before the classifier.
        drop_path_rate: 0 only: there is no shortcut beside which a path could be dropped.
        device, dtype: of the parameters.

    Raises:
        ValueError: ``drop_path_rate`` above 0, another output stride, or an image too small for the strides.
    """

    def __init__(
        self,
        cfg: RexNetPlainCfg,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        output_stride: int = 32,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if drop_path_rate:
            raise ValueError(f"ReXNet (plain) has no shortcut to drop: drop_path_rate must be 0, not {drop_path_rate}")
        dd = {"device": device, "dtype": dtype}

        def block(i: int, stride: int, dilation: int) -> nn.Module:
            return PlainBlock((cfg.stem_width, *cfg.widths)[i], cfg.widths[i], stride, dilation, **dd)

        stages, feature_info = stages_of(cfg.strides, cfg.widths, block, output_stride)
        super().__init__(
            ConvNormAct(in_chans, cfg.stem_width, 3, stride=2, act_layer="relu", **dd),
            stages,
            nn.Identity(),
            classifier_head(cfg.final_width, num_classes, global_pool, drop_rate, **dd),
            feature_info=feature_info,
            num_features=cfg.final_width,
            num_classes=num_classes,
            in_chans=in_chans,
            drop_rate=drop_rate,
        )


MODELS = {"rexnet_plain": RexNetPlainCfg()}


def _create(name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    return build(
        RexNetPlain,
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
    docs={"rexnet_plain": "ReXNet (plain), Table A1: MobileNetV1 with linear widths, without shortcuts."},
)
