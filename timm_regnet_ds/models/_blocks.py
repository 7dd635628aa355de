"""The blocks of AnyNet.

Designing Network Design Spaces, Figure 4 (X, and Y with squeeze-and-excitation); Fast and Accurate Model Scaling,
Figure 3 (Z); On Network Design Spaces, §3 (two 3×3 convolutions, with a shortcut or without).
"""

from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import ConvNormAct, DropPath, SEModule
from torch import nn

__all__ = ["BLOCKS", "Basic", "Block", "BlockSpec", "Bottleneck"]


@dataclass(frozen=True)
class BlockSpec:
    """What sets one type of block apart.

    Args:
        shortcut: what becomes of it where a block changes the shape of its input: it is ``projected`` by a 1×1
            convolution or ``dropped``; ``none`` where no block has one.
        bottleneck: 1×1, grouped 3×3 and 1×1 convolutions; otherwise two dense 3×3 convolutions.
        bottle_ratio: default width inside the bottleneck over the block's width (1/b of the papers).
        se_ratio: default squeeze width over the block's input width; 0 for no squeeze-and-excitation.
        act_layer: default activation.
        linear_out: no activation at the end of the block.
        head_width: default width of the network's 1×1 convolution before the pooling; 0 for none.
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
    """A branch of convolutions, beside it a shortcut if the type of block has one, and an activation."""

    def _close(
        self, in_chs: int, out_chs: int, spec: BlockSpec, stride: int, reshapes: bool, drop_path: float, **layers: Any
    ) -> None:
        # The name that timm's weights have for the shortcut.
        self.downsample: nn.Module | None = None
        if reshapes and spec.shortcut == "projected":
            self.downsample = ConvNormAct(in_chs, out_chs, 1, stride, apply_act=False, **layers)
        elif not reshapes and spec.shortcut != "none":
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
        """Let the block begin as its shortcut; one without a shortcut would pass nothing on."""
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
        group_width: channels per group of it.
        se_ratio: squeeze width over ``in_chs``, 0 for no squeeze-and-excitation.
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
        reshapes: bool,
        drop_path: float,
        **layers: Any,
    ) -> None:
        super().__init__()
        groups = inner_chs // group_width
        self.conv1 = ConvNormAct(in_chs, inner_chs, 1, **layers)
        self.conv2 = ConvNormAct(inner_chs, inner_chs, 3, stride, dilation=dilation, groups=groups, **layers)
        self.se: nn.Module = nn.Identity()
        if se_ratio:
            plain = {name: value for name, value in layers.items() if name != "norm_layer"}
            self.se = SEModule(inner_chs, rd_channels=max(1, round(in_chs * se_ratio)), **plain)
        self.conv3 = ConvNormAct(inner_chs, out_chs, 1, apply_act=False, **layers)
        self._close(in_chs, out_chs, spec, stride, reshapes, drop_path, **layers)

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
        reshapes: bool,
        drop_path: float,
        **layers: Any,
    ) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(in_chs, out_chs, 3, stride, dilation=dilation, **layers)
        self.conv2 = ConvNormAct(out_chs, out_chs, 3, dilation=dilation, apply_act=False, **layers)
        self._close(in_chs, out_chs, spec, stride, reshapes, drop_path, **layers)

    def last_norm(self) -> nn.Module:
        return self.conv2.bn

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv2(self.conv1(x))
