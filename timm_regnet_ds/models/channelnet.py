"""A network of inverted bottlenecks with any channel configuration.

"Rethinking Channel Dimensions for Efficient Model Design", §4.1 and §4.2 (https://arxiv.org/abs/2007.00992): the
networks among which the paper searches for a channel configuration. Blocks are MobileNetV2's, of expansion 6; the stem
is 16 wide. The paper prints neither the strides nor the width of the layer before the classifier: here two blocks, at
a third and at two thirds of the depth, reduce the resolution, and 512 gives the params that Table 3 prints.
"""

from dataclasses import dataclass
from typing import Any

from timm.layers import ConvNormAct
from torch import nn

from timm_regnet_ds._check import check_int, check_per_stage

from ._build import build, check_output_stride, data_cfg, output_size, register
from ._staged import StagedNet, classifier_head, stages_of
from .anynet import take_fields
from .rexnet_lite import LiteBlock

__all__ = ["ChannelNet", "ChannelNetCfg"]


@dataclass(frozen=True)
class ChannelNetCfg:
    """Widths and strides block by block.

    Args:
        widths: output channels of each block.
        strides: of each block. ``None``: 2 at a third and at two thirds of the depth.
        stem_width: channels of the stem's 3×3 convolution.
        stem_stride: its stride.
        head_width: channels of the 1×1 convolution before the pooling.
        expansion: width inside a block over its input's.

    Raises:
        ValueError: a value that no network can have.
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
            raise ValueError("widths must have at least one block, not none")
        reducing = {depth // 3, 2 * depth // 3} - {0}
        strides = self.strides or [2 if i in reducing else 1 for i in range(depth)]
        object.__setattr__(self, "widths", check_per_stage("widths", list(self.widths), depth, check_int))
        object.__setattr__(self, "strides", check_per_stage("strides", strides, depth, check_int))
        for name in ("stem_width", "stem_stride", "head_width", "expansion"):
            check_int(name, getattr(self, name))


class ChannelNet(StagedNet):
    """Inverted bottlenecks, (N, in_chans, H, W) → (N, num_classes).

    Args:
        cfg: widths and strides.
        num_classes, in_chans, global_pool, drop_rate: as in timm.
        output_stride: 8, 16 or 32; below the network's own through dilation.
        drop_path_rate: stochastic depth of the last block; it grows linearly from block to block.
        device, dtype: of the parameters.
    """

    def __init__(
        self,
        cfg: ChannelNetCfg,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        output_stride: int = 32,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        dd = {"device": device, "dtype": dtype}
        last = max(len(cfg.widths) - 1, 1)

        def block(i: int, stride: int, dilation: int) -> nn.Module:
            in_chs, out_chs = (cfg.stem_width, *cfg.widths)[i : i + 2]
            shortcut = in_chs == out_chs and cfg.strides[i] == 1
            return LiteBlock(
                in_chs, out_chs, stride, dilation, cfg.expansion, shortcut, drop_path_rate * i / last, **dd
            )

        stages, feature_info = stages_of(cfg.strides, cfg.widths, block, output_stride, cfg.stem_stride)
        super().__init__(
            ConvNormAct(in_chans, cfg.stem_width, 3, stride=cfg.stem_stride, act_layer="relu", **dd),
            stages,
            ConvNormAct(cfg.widths[-1], cfg.head_width, 1, act_layer="relu6", **dd),
            classifier_head(cfg.head_width, num_classes, global_pool, drop_rate, **dd),
            feature_info=feature_info,
            num_features=cfg.head_width,
            num_classes=num_classes,
            in_chans=in_chans,
            drop_rate=drop_rate,
        )


def _channelnet(variant: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    check_output_stride(kwargs)
    cfg = ChannelNetCfg(**take_fields(ChannelNetCfg, kwargs))
    side = output_size(32, (cfg.stem_stride, *cfg.strides))
    overlay = {"pool_size": (side, side)} | (kwargs.pop("pretrained_cfg_overlay", None) or {})
    maps = 1 + sum(stride != 1 for stride in cfg.strides[1:])
    return build(
        ChannelNet, variant, pretrained, feature_maps=maps, model_cfg=cfg, pretrained_cfg_overlay=overlay, **kwargs
    )


register(
    __name__,
    _channelnet,
    {"channelnet": data_cfg(32)},
    {"channelnet": "Inverted bottlenecks from the fields of `ChannelNetCfg`."},
)
