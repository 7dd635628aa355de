"""ReXNet-lite: ReXNet without squeeze-and-excitation and SiLU, with a hidden layer before the classifier.

"Rethinking Channel Dimensions for Efficient Model Design", Appendix B.4, Table A2
(https://arxiv.org/abs/2007.00992).
"""

from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import ConvNormAct, DropPath, make_divisible
from torch import nn
from torch.nn.functional import pad

from timm_regnet_ds._check import number

from ._build import build, data_cfg, register
from ._sequential import SequentialNet, place

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
        number("width_mult", self.width_mult, above=0)

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


class RexNetLite(SequentialNet):
    """ReXNet-lite, (N, in_chans, H, W) → (N, num_classes)."""

    def __init__(
        self,
        cfg: RexNetLiteCfg,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        output_stride: int = 32,
        drop_rate: float = 0.2,
        drop_path_rate: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        """
        Args:
            cfg: widths and strides.
            in_chans: channels of the image.
            num_classes: width of the classifier, 0 for none.
            global_pool: timm's name of the pooling, '' for none.
            output_stride: 8, 16 or 32; below 32 through dilation.
            drop_rate: dropout before the classifier.
            drop_path_rate: stochastic depth, growing linearly from 0 in the first block to this in the last.
            device: of the parameters.
            dtype: of the parameters.

        Raises:
            ValueError: another output stride, unknown pooling.
        """
        dd = {"device": device, "dtype": dtype}
        placements = place(cfg.strides, output_stride)
        stem_width, final_width = cfg.scaled(cfg.stem_width), cfg.scaled(cfg.final_width)
        inputs = (stem_width, *cfg.widths[:-1])
        blocks = [
            LiteBlock(
                in_chs,
                out_chs,
                placed.stride,
                placed.dilation,
                expansion=cfg.expansion if i > 0 else 1,
                # A stride that became dilation does not earn the block a shortcut.
                shortcut=stride == 1 and in_chs <= out_chs,
                drop_path=drop_path_rate * i / max(len(cfg.strides) - 1, 1),
                **dd,
            )
            for i, (in_chs, out_chs, stride, placed) in enumerate(
                zip(inputs, cfg.widths, cfg.strides, placements, strict=True)
            )
        ]
        super().__init__(
            ConvNormAct(in_chans, stem_width, 3, stride=2, act_layer="relu6", **dd),
            blocks,
            cfg.widths,
            placements,
            final=ConvNormAct(cfg.widths[-1], final_width, 1, act_layer="relu6", **dd),
            num_features=final_width,
            hidden_size=cfg.hidden_size,
            in_chans=in_chans,
            num_classes=num_classes,
            global_pool=global_pool,
            drop_rate=drop_rate,
            **dd,
        )


MODELS = {f"rexnet_lite_{round(100 * m)}": RexNetLiteCfg(width_mult=m) for m in (1.0, 1.3, 1.5, 2.0)}


def _create(name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    return build(
        RexNetLite,
        name,
        pretrained,
        feature_maps=5,
        model_cfg=MODELS[name],
        feature_cfg={"flatten_sequential": True},
        **kwargs,
    )


register(
    __name__,
    _create,
    cfgs={name: data_cfg() for name in MODELS},
    docs={name: f"ReXNet-lite (×{cfg.width_mult}), Table A2." for name, cfg in MODELS.items()},
)
