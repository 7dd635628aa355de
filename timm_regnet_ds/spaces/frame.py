"""What the AnyNets and RegNets of a space have in common."""

from dataclasses import dataclass
from typing import Any

from timm_regnet_ds.models._blocks import BLOCKS, BlockSpec

__all__ = ["Frame"]


@dataclass(frozen=True)
class Frame:
    """Fields that all networks of a space share.

    Args:
        block: ``x``, ``y``, ``z``, ``vanilla`` or ``basic``.
        strides: stride of the first block of each stage.
        stem: ``imagenet`` (stride 2) or ``cifar`` (stride 1).
        stem_width: channels of the stem.
        head_width: channels of a 1×1 convolution before the pooling, 0 for no convolution. ``None``: the block's
            default.
        se_ratio: squeeze width over a block's input width. ``None``: the block's default.
        num_classes: outputs of the classifier; 0 for no classifier.
        in_chans: channels of the images.
    """

    block: str = "x"
    strides: tuple[int, ...] = (2, 2, 2, 2)
    stem: str = "imagenet"
    stem_width: int = 32
    head_width: int | None = None
    se_ratio: float | None = None
    num_classes: int = 1000
    in_chans: int = 3

    @property
    def spec(self) -> BlockSpec:
        """Properties of the block: whether it has a bottleneck, its default ratios and its head."""
        return BLOCKS[self.block]

    def fields(self) -> dict[str, Any]:
        """Those of these fields that `AnyNetCfg` has under the same name, without ``block``."""
        names = ("strides", "stem", "stem_width", "head_width", "se_ratio")
        return {name: getattr(self, name) for name in names}
