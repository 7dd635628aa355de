"""The blocks that families share: those of AnyNet, and MobileNetV2's inverted bottleneck.

AnyNet's are those of Designing Network Design Spaces, Figure 4 (X, and Y with squeeze-and-excitation), Fast and
Accurate Model Scaling, Figure 3 (Z), and On Network Design Spaces, §3 (two 3×3 convolutions, with or without a
shortcut).
"""

from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import ConvNormAct, DropPath, SEModule
from torch import nn
from torch.nn.functional import pad

__all__ = ["BLOCKS", "Basic", "Block", "BlockSpec", "Bottleneck", "InvertedBottleneck"]


@dataclass(frozen=True)
class BlockSpec:
    """The properties and defaults of a type of block.

    Args:
        shortcut: the shortcut of a block that changes the shape of its input: ``projected`` by a 1×1 convolution or
            ``dropped``; ``none``: no block of this type has a shortcut.
        bottleneck: the branch has 1×1, grouped 3×3 and 1×1 convolutions; otherwise two dense 3×3 convolutions.
        bottle_ratio: default width inside the bottleneck divided by the block's width (1/b of the papers).
        se_ratio: default squeeze width divided by the block's input width; 0: no squeeze-and-excitation.
        act_layer: default activation.
        linear_out: there is no activation at the end of the block.
        head_width: default width of the network's 1×1 convolution before the pooling; 0: no such convolution.
    """

    shortcut: str
    bottleneck: bool = True
    bottle_ratio: float = 1.0
    se_ratio: float = 0.0
    act_layer: str = "relu"
    linear_out: bool = False
    head_width: int = 0


BLOCKS = {
    "x": BlockSpec("projected"),
    "y": BlockSpec("projected", se_ratio=0.25),
    "z": BlockSpec("dropped", bottle_ratio=4.0, se_ratio=0.25, act_layer="silu", linear_out=True, head_width=1000),
    "vanilla": BlockSpec("none", bottleneck=False),
    "basic": BlockSpec("projected", bottleneck=False),
}


class Block(nn.Module):
    """The sum of a branch of convolutions and a shortcut, if the type of block has one, and an activation."""

    def _add_shortcut_and_act(
        self,
        in_chs: int,
        out_chs: int,
        spec: BlockSpec,
        stride: int,
        changes_shape: bool,
        drop_path: float,
        **layers: Any,
    ) -> None:
        # timm's weights use this name for the shortcut.
        self.downsample: nn.Module | None = None
        if changes_shape and spec.shortcut == "projected":
            self.downsample = ConvNormAct(in_chs, out_chs, 1, stride, apply_act=False, **layers)
        elif not changes_shape and spec.shortcut != "none":
            self.downsample = nn.Identity()
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.act3 = nn.Identity() if spec.linear_out else layers["act_layer"]()

    def last_norm(self) -> nn.Module:
        """The normalization at the end of the branch."""
        raise NotImplementedError

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C_in, H, W) → (N, C_out, H/stride, W/stride)."""
        raise NotImplementedError

    @torch.jit.ignore
    def zero_init_last(self) -> None:
        """Initialize the block as its shortcut. A block without a shortcut keeps its weights: it would output zeros."""
        if self.downsample is not None:
            norm: Any = self.last_norm()
            nn.init.zeros_(norm.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C_in, H, W) → (N, C_out, H/stride, W/stride)."""
        y = self.branch(x)
        if self.downsample is not None:
            y = self.drop_path(y) + self.downsample(x)
        return self.act3(y)


class Bottleneck(Block):
    """1×1, grouped 3×3 and 1×1 convolutions: the blocks X, Y and Z.

    Args:
        inner_chs: channels of the 3×3 convolution.
        group_width: channels per group of the 3×3 convolution.
        se_ratio: squeeze width divided by ``in_chs``; 0: no squeeze-and-excitation.
        changes_shape: whether the output has another width or resolution than the input.
    """

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        spec: BlockSpec,
        *,
        inner_chs: int,
        group_width: int,
        se_ratio: float,
        stride: int,
        dilation: int,
        changes_shape: bool,
        drop_path: float,
        **layers: Any,
    ) -> None:
        super().__init__()
        groups = inner_chs // group_width
        self.conv1 = ConvNormAct(in_chs, inner_chs, 1, **layers)
        self.conv2 = ConvNormAct(inner_chs, inner_chs, 3, stride, dilation=dilation, groups=groups, **layers)
        self.se: nn.Module = nn.Identity()
        if se_ratio:
            without_norm = {name: value for name, value in layers.items() if name != "norm_layer"}
            self.se = SEModule(inner_chs, rd_channels=max(1, round(in_chs * se_ratio)), **without_norm)
        self.conv3 = ConvNormAct(inner_chs, out_chs, 1, apply_act=False, **layers)
        self._add_shortcut_and_act(in_chs, out_chs, spec, stride, changes_shape, drop_path, **layers)

    def last_norm(self) -> nn.Module:
        return self.conv3.bn

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv3(self.se(self.conv2(self.conv1(x))))


class Basic(Block):
    """Two dense 3×3 convolutions: the blocks ``vanilla`` and, with a shortcut, ``basic``."""

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        spec: BlockSpec,
        *,
        stride: int,
        dilation: int,
        changes_shape: bool,
        drop_path: float,
        **layers: Any,
    ) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(in_chs, out_chs, 3, stride, dilation=dilation, **layers)
        self.conv2 = ConvNormAct(out_chs, out_chs, 3, dilation=dilation, apply_act=False, **layers)
        self._add_shortcut_and_act(in_chs, out_chs, spec, stride, changes_shape, drop_path, **layers)

    def last_norm(self) -> nn.Module:
        return self.conv2.bn

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv2(self.conv1(x))


class InvertedBottleneck(nn.Module):
    """MobileNetV2's block f(x), or f(x) + x with ``shortcut``, where zeros extend x to the channels of f(x).

    f is a 1×1 convolution to ``expansion`` times the channels (left out if that is 1) and a 3×3 depthwise convolution,
    each with BN and ReLU6 (or other ``layers``), then a 1×1 convolution with BN.
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
        **layers: Any,
    ) -> None:
        super().__init__()
        layers = {"act_layer": "relu6", **layers}
        mid_chs = in_chs * expansion
        self.shortcut = shortcut
        self.extra_chs = out_chs - in_chs
        self.conv_exp = ConvNormAct(in_chs, mid_chs, 1, **layers) if expansion != 1 else nn.Identity()
        self.conv_dw = ConvNormAct(mid_chs, mid_chs, 3, stride=stride, dilation=dilation, groups=mid_chs, **layers)
        self.conv_pwl = ConvNormAct(mid_chs, out_chs, 1, apply_act=False, **layers)
        self.drop_path = DropPath(drop_path) if shortcut and drop_path > 0 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, in_chs, H, W) → (N, out_chs, H/stride, W/stride)."""
        y = self.conv_pwl(self.conv_dw(self.conv_exp(x)))
        if not self.shortcut:
            return y
        # Rethinking Channel Dimensions, B.1: "the expanded channel dimensions are padded with zeros".
        return self.drop_path(y) + pad(x, (0, 0, 0, 0, 0, self.extra_chs))
