"""A network of inverted bottlenecks with any channel configuration.

"Rethinking Channel Dimensions for Efficient Model Design", §4.1 and §4.2 (https://arxiv.org/abs/2007.00992): the
networks among which the paper searches for a channel configuration. The blocks are MobileNetV2's with expansion 6, and
the stem has 16 channels. The paper prints neither the strides nor the width of the layer before the classifier. Here
the blocks at a third and at two thirds of the depth have stride 2, and a width of 512 gives the params of Table 3.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from timm.layers import ConvNormAct, calculate_drop_path_rates
from torch import nn

from timm_regnet_ds.common.check import check_int, check_per_stage
from timm_regnet_ds.common.size_limit import MAX_WIDTH, check_blocks, check_elements

from ._blocks import InvertedBottleneck
from ._build import ModelEntry, add_size_overlay, build, default_cfg, register, take_fields
from ._staged import Body, StagedNet, make_stages, thirds

__all__ = ["ChannelNet", "ChannelNetCfg"]

# Default side of the images.
RESOLUTION = 32


@dataclass(frozen=True)
class ChannelNetCfg:
    """Widths and strides of a network of inverted bottlenecks.

    Args:
        widths: output channels of each block.
        strides: stride of each block. ``None``: 2 at a third and at two thirds of the depth, otherwise 1.
        stem_width: channels of the stem's 3×3 convolution.
        stem_stride: stride of the stem.
        head_width: channels of the 1×1 convolution before the pooling.
        expansion: width inside a block divided by the width of its input.

    Raises:
        ValueError: an empty list of widths, another number of strides than of widths, or a number below 1.
    """

    widths: Any = (34, 34, 45, 55, 66)
    strides: Any = None
    stem_width: int = 16
    stem_stride: int = 1
    head_width: int = 512
    expansion: int = 6

    def __post_init__(self) -> None:
        depth = len(self.widths)
        if not depth:
            raise ValueError("widths must have at least one block, not 0")
        reducing = {*thirds(depth)} - {0}
        strides = self.strides or [2 if i in reducing else 1 for i in range(depth)]
        check_blocks("the network", depth)
        for name, value in (("widths", list(self.widths)), ("strides", strides)):
            object.__setattr__(self, name, check_per_stage(name, value, depth, check_int, maximum=MAX_WIDTH))
        for name in ("stem_width", "stem_stride", "head_width", "expansion"):
            check_int(name, getattr(self, name), maximum=MAX_WIDTH)
        pairs = pairwise((self.stem_width, *self.widths))
        check_elements("the network", sum(before * self.expansion * (before + after) for before, after in pairs))


class ChannelNet(StagedNet):
    """Inverted bottlenecks between a stem and a 1×1 convolution; the arguments are those of `StagedNet`.

    The drop path rate grows linearly from 0 in the first block to ``drop_path_rate`` in the last.
    """

    def make_body(
        self, cfg: ChannelNetCfg, in_chans: int, output_stride: int | None, drop_path_rate: float, **dd: Any
    ) -> Body:
        """Stem, inverted bottlenecks and a 1×1 convolution."""
        layers = self.layers("relu6") | dd
        drop_paths = calculate_drop_path_rates(drop_path_rate, len(cfg.widths))

        def make_block(i: int, stride: int, dilation: int) -> nn.Module:
            in_chs, out_chs = (cfg.stem_width, *cfg.widths)[i : i + 2]
            shortcut = in_chs == out_chs and cfg.strides[i] == 1
            return InvertedBottleneck(
                in_chs, out_chs, stride, dilation, cfg.expansion, shortcut, drop_paths[i], **layers
            )

        stages, feature_info = make_stages(cfg.strides, cfg.widths, make_block, output_stride, cfg.stem_stride)
        stem = ConvNormAct(in_chans, cfg.stem_width, 3, stride=cfg.stem_stride, **self.layers("relu"), **dd)
        final_conv = ConvNormAct(cfg.widths[-1], cfg.head_width, 1, **layers)
        return Body(stem, stages, final_conv, feature_info, cfg.head_width)


def _create_channelnet(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    cfg = ChannelNetCfg(**take_fields(ChannelNetCfg, kwargs))
    add_size_overlay(kwargs, RESOLUTION, (cfg.stem_stride, *cfg.strides))
    feature_maps = 1 + sum(stride > 1 for stride in cfg.strides[1:])
    return build(ChannelNet, variant, pretrained, feature_maps=feature_maps, model_cfg=cfg, **kwargs)


register(
    __name__,
    _create_channelnet,
    {
        "channelnet": ModelEntry(
            "Inverted bottlenecks from the fields of `ChannelNetCfg`.", {"": default_cfg(RESOLUTION)}
        )
    },
)
