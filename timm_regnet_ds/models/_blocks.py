"""The blocks of AnyNet.

Designing Network Design Spaces, Figure 4 (X, and Y with squeeze-and-excitation); Fast and Accurate Model Scaling,
Figure 3 (Z); On Network Design Spaces, Table 1 (two 3×3 convolutions, with a shortcut or without).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import ConvNormAct, DropPath, SEModule
from timm.models import checkpoint_seq
from torch import nn

__all__ = ["BLOCKS", "Basic", "BlockSpec", "Bottleneck", "Stage"]


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


class Bottleneck(nn.Module):
    """1×1, grouped 3×3 and 1×1 convolutions: the blocks X, Y and Z."""

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
        squeeze = round(in_chs * se_ratio)
        groups = inner_chs // group_width
        self.conv1 = ConvNormAct(in_chs, inner_chs, 1, **layers)
        self.conv2 = ConvNormAct(inner_chs, inner_chs, 3, stride, dilation=dilation, groups=groups, **layers)
        self.se = _squeeze_excitation(inner_chs, squeeze, **layers) if squeeze else nn.Identity()
        self.conv3 = ConvNormAct(inner_chs, out_chs, 1, apply_act=False, **layers)
        # The name that timm's weights have for the shortcut.
        self.downsample = _shortcut(spec, in_chs, out_chs, stride, reshapes, **layers)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.act3 = nn.Identity() if spec.linear_out else layers["act_layer"]()

    def zero_init_last(self) -> None:
        """Let the block begin as its shortcut; one without a shortcut would pass nothing on."""
        if self.downsample is not None:
            nn.init.zeros_(self.conv3.bn.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C_in, H, W) → (N, C_out, H/stride, W/stride)."""
        shortcut = x
        x = self.conv3(self.se(self.conv2(self.conv1(x))))
        if self.downsample is not None:
            x = self.drop_path(x) + self.downsample(shortcut)
        return self.act3(x)


class Basic(nn.Module):
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
        self.downsample = _shortcut(spec, in_chs, out_chs, stride, reshapes, **layers)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.act2 = layers["act_layer"]()

    def zero_init_last(self) -> None:
        """Let the block begin as its shortcut; one without a shortcut would pass nothing on."""
        if self.downsample is not None:
            nn.init.zeros_(self.conv2.bn.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C_in, H, W) → (N, C_out, H/stride, W/stride)."""
        shortcut = x
        x = self.conv2(self.conv1(x))
        if self.downsample is not None:
            x = self.drop_path(x) + self.downsample(shortcut)
        return self.act2(x)


class Stage(nn.Module):
    """``b1``, ``b2``, …: blocks of one width, of which only the first may change the shape."""

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.grad_checkpointing = False
        for i, block in enumerate(blocks, 1):
            self.add_module(f"b{i}", block)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C_in, H, W) → (N, C_out, H/stride, W/stride)."""
        if self.grad_checkpointing and not torch.jit.is_scripting():
            return checkpoint_seq(self.children(), x)
        for block in self.children():
            x = block(x)
        return x


def _squeeze_excitation(channels: int, squeeze: int, *, norm_layer: Any, **layers: Any) -> SEModule:
    return SEModule(channels, rd_channels=squeeze, **layers)


def _shortcut(
    spec: BlockSpec, in_chs: int, out_chs: int, stride: int, reshapes: bool, **layers: Any
) -> nn.Module | None:
    if spec.shortcut == "none" or (reshapes and spec.shortcut == "dropped"):
        return None
    return ConvNormAct(in_chs, out_chs, 1, stride, apply_act=False, **layers) if reshapes else nn.Identity()
