"""EfficientNet-B0 as a config, and timm's ``EfficientNet`` built from such configs.

EfficientNet is a baseline of Fast and Accurate Model Scaling (§6.1).
"""

from dataclasses import dataclass
from typing import Any

from timm.layers import get_act_layer
from timm.models import EfficientNet
from timm.models._efficientnet_builder import decode_arch_def
from torch import nn

from ._build import build, check_output_stride

__all__ = ["EFFICIENTNET_B0", "EfficientNetCfg", "MBConv", "build_efficientnet", "efficientnet_zero_init_last"]


@dataclass(frozen=True)
class MBConv:
    """A stage of inverted bottlenecks with depthwise convolution and squeeze-and-excitation.

    Args:
        depth: number of blocks.
        width: output channels.
        kernel: side of the depthwise convolution's kernel.
        stride: stride of the first block.
        expand: width inside a block divided by the width of its input.
    """

    depth: int
    width: int
    kernel: int
    stride: int
    expand: int

    def arch_def(self) -> list[str]:
        """The stage in timm's notation of architectures."""
        kind = "ir" if self.expand > 1 else "ds"
        return [f"{kind}_r{self.depth}_k{self.kernel}_s{self.stride}_e{self.expand}_c{self.width}_se0.25"]


@dataclass(frozen=True)
class EfficientNetCfg:
    """The stages of an EfficientNet and the widths of its stem and of its last convolution."""

    stages: tuple[MBConv, ...]
    stem_width: int = 32
    head_width: int = 1280


EFFICIENTNET_B0 = EfficientNetCfg(
    (
        MBConv(1, 16, kernel=3, stride=1, expand=1),
        MBConv(2, 24, kernel=3, stride=2, expand=6),
        MBConv(2, 40, kernel=5, stride=2, expand=6),
        MBConv(3, 80, kernel=3, stride=2, expand=6),
        MBConv(3, 112, kernel=5, stride=1, expand=6),
        MBConv(4, 192, kernel=5, stride=2, expand=6),
        MBConv(1, 320, kernel=3, stride=1, expand=6),
    )
)


def build_efficientnet(variant: str, pretrained: bool, cfg: EfficientNetCfg, **kwargs: Any) -> nn.Module:
    """The EfficientNet of a config, of timm's class, built under the registered name ``variant``.

    Raises:
        ValueError: an output stride other than 8, 16 and 32.
    """
    check_output_stride(kwargs)
    arguments: dict[str, Any] = {
        "block_args": decode_arch_def([stage.arch_def() for stage in cfg.stages]),
        "stem_size": cfg.stem_width,
        "num_features": cfg.head_width,
        "act_layer": get_act_layer("silu"),
    }
    return build(
        efficientnet_zero_init_last,
        variant,
        pretrained,
        feature_cfg={"feature_cls": "getter"},
        **(arguments | kwargs),
    )


def efficientnet_zero_init_last(**kwargs: Any) -> EfficientNet:
    """timm's ``EfficientNet`` whose residual blocks are initialized as their shortcuts.

    With timm's initialization each residual block doubles the variance, and hundreds of them overflow.
    """
    model = EfficientNet(**kwargs)
    for block in model.modules():
        if getattr(block, "has_skip", False):
            norm: Any = block.bn3 if hasattr(block, "bn3") else block.bn2
            nn.init.zeros_(norm.weight)
    return model
