"""ReXNet (plain): MobileNetV1 with widths linear in the block index, without shortcuts.

"Rethinking Channel Dimensions for Efficient Model Design", Appendix B.2, Figure A2b, Table A1
(https://arxiv.org/abs/2007.00992). The paper does not print the widths; docs/rexnet.md says how these were chosen.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import ConvNormAct
from torch import nn

from ._build import ModelEntry, build, register
from ._staged import Body, StagedNet, make_stages

__all__ = ["RexNetPlain", "RexNetPlainCfg"]


@dataclass(frozen=True)
class RexNetPlainCfg:
    """Widths in channels and strides of a ReXNet (plain).

    Block i, counted from 0, has ``first_width + i * width_step`` channels, and the last block ``final_width``.
    """

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
    """3×3 depthwise convolution, BN, ReLU; 1×1 convolution, BN, SiLU."""

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        stride: int = 1,
        dilation: int = 1,
        *,
        layers_dw: dict[str, Any],
        layers_pw: dict[str, Any],
    ) -> None:
        super().__init__()
        depthwise: dict[str, Any] = {"stride": stride, "dilation": dilation, "groups": in_chs}
        self.conv_dw = ConvNormAct(in_chs, in_chs, 3, **depthwise, **layers_dw)
        self.conv_pw = ConvNormAct(in_chs, out_chs, 1, **layers_pw)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, in_chs, H, W) → (N, out_chs, H/stride, W/stride)."""
        return self.conv_pw(self.conv_dw(x))


class RexNetPlain(StagedNet):
    """ReXNet (plain), Figure A2b; the arguments are those of `StagedNet`.

    A ``drop_path_rate`` has no effect, with a warning: there are no shortcuts, so a dropped path would drop the image.
    """

    def make_body(
        self, cfg: RexNetPlainCfg, in_chans: int, output_stride: int | None, drop_path_rate: float, **dd: Any
    ) -> Body:
        """Stem and depthwise separable convolutions."""
        if drop_path_rate:
            warnings.warn(
                f"ReXNet (plain) has no shortcuts, so drop_path_rate={drop_path_rate} has no effect", stacklevel=2
            )

        relu, silu = self.layers("relu") | dd, self.layers("silu") | dd

        def make_block(i: int, stride: int, dilation: int) -> nn.Module:
            in_chs, out_chs = (cfg.stem_width, *cfg.widths)[i], cfg.widths[i]
            return PlainBlock(in_chs, out_chs, stride, dilation, layers_dw=relu, layers_pw=silu)

        stages, feature_info = make_stages(cfg.strides, cfg.widths, make_block, output_stride)
        stem = ConvNormAct(in_chans, cfg.stem_width, 3, stride=2, **relu)
        return Body(stem, stages, nn.Identity(), feature_info, cfg.final_width)


MODELS = {"rexnet_plain": RexNetPlainCfg()}


def _create_rexnet_plain(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    return build(RexNetPlain, variant, pretrained, model_cfg=MODELS[variant], **kwargs)


register(
    __name__,
    _create_rexnet_plain,
    {"rexnet_plain": ModelEntry("ReXNet (plain), Table A1: MobileNetV1 with linear widths, without shortcuts.")},
)
