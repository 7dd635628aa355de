"""EfficientNet-B0 as data, and any EfficientNet of that form as timm's own class.

EfficientNet is a baseline of Fast and Accurate Model Scaling (§6.1).
"""

from dataclasses import dataclass
from typing import Any

from timm.layers import get_act_layer
from timm.models import EfficientNet
from timm.models._efficientnet_builder import decode_arch_def
from torch import nn

from ._build import build, check_output_stride

__all__ = ["EFFICIENTNET_B0", "EfficientNetCfg", "MBConv", "build_efficientnet"]


@dataclass(frozen=True)
class MBConv:
    """A stage of inverted bottlenecks with depthwise convolution and squeeze-and-excitation."""

    depth: int
    width: int
    kernel: int
    stride: int
    expand: int

    def arch_def(self) -> list[str]:
        """The stage in the notation of timm."""
        kind = "ir" if self.expand > 1 else "ds"
        return [f"{kind}_r{self.depth}_k{self.kernel}_s{self.stride}_e{self.expand}_c{self.width}_se0.25"]


@dataclass(frozen=True)
class EfficientNetCfg:
    """An EfficientNet, stage by stage."""

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
    """The EfficientNet of a config, as timm's own class.

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
        begun_as_shortcuts,
        variant,
        pretrained,
        feature_maps=5,
        feature_cfg={"feature_cls": "getter"},
        **(arguments | kwargs),
    )


def begun_as_shortcuts(**kwargs: Any) -> EfficientNet:
    # Each residual block of timm's initialization doubles the variance: too much for hundreds of them.
    model = EfficientNet(**kwargs)
    for block in model.modules():
        if getattr(block, "has_skip", False):
            norm: Any = block.bn3 if hasattr(block, "bn3") else block.bn2
            nn.init.zeros_(norm.weight)
    return model
